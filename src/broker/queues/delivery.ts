/**
 * What a consumer gets. One object per subscription part is used again for every message: copy what must live longer than
 * the call. Bytes stay valid as long as the chunk is pinned.
 */
import type { BrokerError } from '../../core/errors.ts';
import type { BatchRecord } from '../../log/batch-records.ts';
import { type Chunk, noChunk } from '../../shard/shard-log.ts';
import { batchRecordForm, type Message, type MessageForm } from '../message.ts';
import type { SubscriptionPart } from './subscription-part.ts';

export class Delivery {
  /** With `offset` it names the delivery; both are given back to settle it. */
  readonly part: SubscriptionPart;
  offset = 0;
  redelivered = false;
  /** `batchRecordForm`: use message(). Else the stored bytes are buffer[start, end). */
  form: number = batchRecordForm;
  buffer: Buffer = emptyBuffer;
  start = 0;
  end = 0;
  chunk: Chunk = noChunk;
  /** Time of the append, or of the producer for a record of a batch. */
  timestampMs = 0;
  record: BatchRecord | undefined;
  readonly #forms: ReadonlyMap<number, MessageForm>;

  constructor(part: SubscriptionPart, forms: ReadonlyMap<number, MessageForm>) {
    this.part = part;
    this.#forms = forms;
  }

  /** Keeps no memory from being freed. */
  forget(): void {
    this.buffer = emptyBuffer;
    this.chunk = noChunk;
    this.record = undefined;
  }

  /** The neutral view, for heads that do not know the form. */
  message(): Message {
    if (this.record !== undefined) {
      const { key, value, headers, timestampMs } = this.record;
      return { key, body: value, headers, timestampMs };
    }
    const form = this.#forms.get(this.form);
    if (form === undefined) throw new Error(`no protocol reads messages of form ${this.form}`);
    return form.decode(this.buffer, this.start, this.end, this.timestampMs);
  }
}

const emptyBuffer = Buffer.alloc(0);

/** A consumer, as the subscription sees it. */
export interface Sink {
  /** Room for one more? Asked before each delivery. */
  hasCredit(): boolean;
  deliver(delivery: Delivery): void;
  /** The queue is gone; nothing more comes. */
  onCancelled(): void;
  /** The next message cannot be read: it is damaged. The sink is detached, and nothing more comes. */
  onDamaged(error: BrokerError): void;
  /** Deliveries are settled at once. */
  readonly autoAck: boolean;
  readonly exclusive: boolean;
  /** Higher ones are served first while they have credit. */
  readonly priority: number;
}
