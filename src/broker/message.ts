/**
 * The neutral view of one message, for crossing from one protocol to another. Messages that stay within a protocol never
 * become one: they travel as the bytes that were received.
 */
export type HeaderValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | Date
  | HeaderValue[]
  | { [name: string]: HeaderValue };

export interface MessageHeader {
  readonly name: string;
  readonly value: HeaderValue;
}

export interface Message {
  /** Kafka's record key; other protocols carry it in a header. */
  readonly key: Buffer | null;
  /** Null: a tombstone. */
  readonly body: Buffer | null;
  /** In order; names may repeat. */
  readonly headers: readonly MessageHeader[];
  /** Time that the producer gave, or that of the append. */
  readonly timestampMs: number | undefined;
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly correlationId?: Buffer;
  readonly replyTo?: string;
  readonly messageId?: string;
  /** Milliseconds as decimal text. */
  readonly expiration?: string;
  readonly priority?: number;
  readonly type?: string;
  readonly userId?: string;
  readonly appId?: string;
  readonly persistent?: boolean;
  readonly exchange?: string;
  readonly routingKey?: string;
}

/** A head's stored representation of a message. Its id is stored with every message block and never changes. */
export interface MessageForm {
  readonly id: number;
  /** bytes [start, end) are the message as stored; timestampMs is the time of its append. */
  decode(buffer: Buffer, start: number, end: number, timestampMs: number): Message;
}

/** Form of the records of a Kafka batch, which are not messages of a block. */
export const batchRecordForm = 0;
