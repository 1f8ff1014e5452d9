/**
 * The stored form of messages that were published through AMQP 0-9-1: the frames as they were received - basic.publish,
 * content header, bodies - with whatever channel number they came on. Here they are read for the other protocols.
 */
import type { HeaderValue, Message, MessageForm, MessageHeader } from '../../broker/message.ts';
import { decodeProperties } from './content-header.ts';
import { frameHeaderBytes, frameOverheadBytes } from './frames.ts';

export const amqpFormId = 1;

/** Headers that stand for something that AMQP has no property for. */
export const keyHeader = 'x-key';
export const tombstoneHeader = 'x-tombstone';
export const timestampHeader = 'timestamp_in_ms';
export const streamOffsetHeader = 'x-stream-offset';
export const partitionHeader = 'x-partition';
/** How many record headers a delivery is without. */
export const omittedHeadersHeader = 'x-omitted-headers';
/** How many bytes the key has that a delivery is without. */
export const omittedKeyHeader = 'x-omitted-key';

const reservedNames: ReadonlySet<string> = new Set([
  keyHeader,
  tombstoneHeader,
  timestampHeader,
  streamOffsetHeader,
  partitionHeader,
  omittedHeadersHeader,
  omittedKeyHeader,
]);
/** Before the names of record headers that would be mistaken for one of ours. */
const recordHeaderPrefix = 'x-kafka-header-';

/** Also with prefixes before it, so that each name has one of its own behind the prefix. */
const isReserved = (name: string): boolean => {
  let at = 0;
  while (name.startsWith(recordHeaderPrefix, at)) at += recordHeaderPrefix.length;
  return reservedNames.has(name.slice(at));
};

/** What the header of a record is called in AMQP. */
export const amqpHeaderName = (name: string): string => (isReserved(name) ? recordHeaderPrefix + name : name);

const recordHeaderName = (name: string): string => {
  if (!name.startsWith(recordHeaderPrefix)) return name;
  const own = name.slice(recordHeaderPrefix.length);
  return isReserved(own) ? own : name;
};

/** One past the frame that starts at `at`. */
export const frameEndAt = (buffer: Buffer, at: number): number => at + buffer.readUInt32BE(at + 3) + frameOverheadBytes;

const collectBody = (buffer: Buffer, start: number, end: number): Buffer => {
  const parts: Buffer[] = [];
  for (let at = start; at < end; ) {
    const next = frameEndAt(buffer, at);
    parts.push(buffer.subarray(at + frameHeaderBytes, next - 1));
    at = next;
  }
  return Buffer.concat(parts);
};

/** Text, bytes and numbers are keys; null: the value is none. */
export const asKey = (value: HeaderValue | undefined): Buffer | null => {
  if (Buffer.isBuffer(value)) return value;
  const isText = typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint';
  return isText ? Buffer.from(String(value)) : null;
};

/** Where the message was read from, and not a part of it. */
const isPlace = ({ name, value }: MessageHeader): boolean =>
  (name === streamOffsetHeader || name === partitionHeader) && (typeof value === 'number' || typeof value === 'bigint');

export const amqpForm: MessageForm = {
  id: amqpFormId,

  decode(buffer: Buffer, start: number, end: number, timestampMs: number): Message {
    const exchangeAt = start + frameHeaderBytes + 6;
    const keyAt = exchangeAt + 1 + buffer[exchangeAt]!;
    const headerAt = frameEndAt(buffer, start);
    const bodyAt = frameEndAt(buffer, headerAt);
    const properties = decodeProperties(buffer, headerAt, bodyAt);
    const body = collectBody(buffer, bodyAt, end);
    const headers: MessageHeader[] = [];
    let key: Buffer | null = null;
    let isTombstone = false;
    let sentMs = properties.timestamp === undefined ? timestampMs : properties.timestamp * 1000;
    for (const header of properties.headers ?? []) {
      const { name, value } = header;
      if (name === keyHeader && asKey(value) !== null) key = asKey(value);
      else if (name === tombstoneHeader && value === true && body.length === 0) isTombstone = true;
      else if (name === timestampHeader && typeof value === 'number' && value >= 0) sentMs = value;
      else if (!isPlace(header)) headers.push({ name: recordHeaderName(name), value });
    }
    const { contentType, contentEncoding, correlationId, replyTo, messageId } = properties;
    const { expiration, priority, type, userId, appId, deliveryMode } = properties;
    return {
      key,
      body: isTombstone ? null : body,
      headers,
      timestampMs: Number.isSafeInteger(sentMs) ? sentMs : timestampMs,
      exchange: buffer.toString('utf8', exchangeAt + 1, keyAt),
      routingKey: buffer.toString('utf8', keyAt + 1, keyAt + 1 + buffer[keyAt]!),
      persistent: deliveryMode === 2,
      ...(contentType !== undefined && { contentType }),
      ...(contentEncoding !== undefined && { contentEncoding }),
      ...(correlationId !== undefined && { correlationId }),
      ...(replyTo !== undefined && { replyTo }),
      ...(messageId !== undefined && { messageId }),
      ...(expiration !== undefined && { expiration }),
      ...(priority !== undefined && { priority }),
      ...(type !== undefined && { type }),
      ...(userId !== undefined && { userId }),
      ...(appId !== undefined && { appId }),
    };
  },
};
