/**
 * A message of another protocol as AMQP content: the documented mapping of key, headers, timestamp and the rest. The body
 * is identical. A content header is one frame whatever is in it, so what exceeds the peer's frame_max is left out, and said
 * to be: a message that no client can take would come again and again.
 */
import type { HeaderValue, Message } from '../../broker/message.ts';
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Topic } from '../../broker/topic.ts';
import {
  amqpHeaderName,
  keyHeader,
  omittedHeadersHeader,
  omittedKeyHeader,
  partitionHeader,
  streamOffsetHeader,
  timestampHeader,
  tombstoneHeader,
} from './amqp-form.ts';
import { propertyFlag } from './content-header.ts';
import { basicClass, frameOverheadBytes, frameType } from './frames.ts';
import { MethodWriter } from './method-writer.ts';
import type { ContentAddress, ContentCopy } from './stored-content.ts';

/** A header value that is written as a long string of exactly these bytes, whatever they are. */
class LongString {
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

/** A content header frame first, at 0. */
const writer = new MethodWriter();
/** Properties that follow the header table, written before it to know how much room it has. */
const tail = new MethodWriter();

/** Kafka's header values are bytes; as long strings they are what AMQP's users expect of text. */
const asLongString = (value: HeaderValue): HeaderValue | LongString =>
  Buffer.isBuffer(value) ? new LongString(value) : value;

const writeValue = (value: HeaderValue | LongString): void => {
  if (value instanceof LongString) {
    writer.octet(0x53);
    writer.longbytes(value.bytes);
  } else {
    writer.value(value);
  }
};

const writeEntry = (name: string, value: HeaderValue | LongString): void => {
  writer.shortstr(name);
  writeValue(value);
};

/** Kafka's headers may repeat a name; a table's may not, so their values become an array under it. */
const valuesByName = (headers: Message['headers']): Map<string, HeaderValue[]> => {
  const byName = new Map<string, HeaderValue[]>();
  for (const header of headers) {
    const name = amqpHeaderName(header.name);
    const { value } = header;
    const values = byName.get(name);
    if (values === undefined) byName.set(name, [value]);
    else values.push(value);
  }
  return byName;
};

const writeHeader = (name: string, values: readonly HeaderValue[]): void => {
  if (values.length === 1) {
    writeEntry(name, asLongString(values[0]!));
    return;
  }
  writer.shortstr(name);
  writer.octet(0x41);
  const array = writer.beginTable();
  for (const value of values) writeValue(asLongString(value));
  writer.endTable(array);
};

/** Of a short string. */
const nameBytesMax = 255;

/** The headers that tell what was left out: names, types, int32 values. */
const omissionsBytes = 2 * (1 + 1 + 4) + omittedHeadersHeader.length + omittedKeyHeader.length;

/** Keeps what `write` writes if the table then ends before `end`, with room to tell of omissions. */
const fits = (end: number, write: () => void): boolean => {
  const before = writer.length;
  write();
  if (writer.length + omissionsBytes <= end) return true;
  writer.rewind(before);
  return false;
};

interface HeaderTableOptions {
  readonly delivery: Delivery;
  readonly topic: Topic;
  /** Where in the writer the table has to end. */
  readonly end: number;
}

const writeHeaders = (message: Message, { delivery, topic, end }: HeaderTableOptions): void => {
  const table = writer.beginTable();
  if (message.body === null) writeEntry(tombstoneHeader, true);
  if (message.timestampMs !== undefined && message.timestampMs >= 0) {
    writeEntry(timestampHeader, BigInt(Math.floor(message.timestampMs)));
  }
  writeEntry(streamOffsetHeader, BigInt(delivery.offset));
  writeEntry(partitionHeader, Math.max(0, topic.partitions.indexOf(delivery.part.log)));
  const { key } = message;
  if (key !== null && !fits(end, () => writeEntry(keyHeader, new LongString(key)))) {
    writeEntry(omittedKeyHeader, key.length);
  }
  let omitted = 0;
  for (const [name, values] of valuesByName(message.headers)) {
    const isWritten = Buffer.byteLength(name) <= nameBytesMax && fits(end, () => writeHeader(name, values));
    if (!isWritten) omitted += values.length;
  }
  if (omitted > 0) writeEntry(omittedHeadersHeader, omitted);
  writer.endTable(table);
};

const writeText = (to: MethodWriter, flag: number, value: string | undefined): number => {
  if (value === undefined) return 0;
  to.shortstr(value);
  return flag;
};

/** Into `tail`, in the order of the flags that it returns. */
const writeBehindHeaders = (message: Message): number => {
  tail.reset();
  let flags: number = propertyFlag.deliveryMode;
  tail.octet(message.persistent === false ? 1 : 2);
  if (message.priority !== undefined) {
    flags |= propertyFlag.priority;
    tail.octet(message.priority);
  }
  if (message.correlationId !== undefined && message.correlationId.length <= 255) {
    flags |= propertyFlag.correlationId;
    tail.octet(message.correlationId.length);
    tail.raw(message.correlationId);
  }
  flags |= writeText(tail, propertyFlag.replyTo, message.replyTo);
  flags |= writeText(tail, propertyFlag.expiration, message.expiration);
  flags |= writeText(tail, propertyFlag.messageId, message.messageId);
  if (message.timestampMs !== undefined && message.timestampMs >= 0) {
    flags |= propertyFlag.timestamp;
    tail.longlong(Math.floor(message.timestampMs / 1000));
  }
  flags |= writeText(tail, propertyFlag.type, message.type);
  flags |= writeText(tail, propertyFlag.userId, message.userId);
  flags |= writeText(tail, propertyFlag.appId, message.appId);
  return flags;
};

/** Properties in the order of the flags that it returns. */
const writeProperties = (message: Message, delivery: Delivery, { topic, frameBytesMax }: ContentAddress): number => {
  let flags = propertyFlag.headers | writeBehindHeaders(message);
  flags |= writeText(writer, propertyFlag.contentType, message.contentType);
  flags |= writeText(writer, propertyFlag.contentEncoding, message.contentEncoding);
  writeHeaders(message, { delivery, topic, end: frameBytesMax - tail.length - 1 });
  writer.raw(tail.bytes());
  return flags;
};

/** Allocates: for messages that cross from another protocol only. */
export const encodeForeignContent = (delivery: Delivery, to: ContentAddress): ContentCopy => {
  const { channel, frameBytesMax } = to;
  const message = delivery.message();
  writer.reset();
  writer.shortstr(message.exchange ?? '');
  writer.shortstr(message.routingKey ?? to.topic.name);
  const names = Buffer.from(writer.bytes());

  const body = message.body ?? Buffer.alloc(0);
  writer.reset();
  const frame = writer.beginFrame(frameType.header, channel);
  writer.short(basicClass);
  writer.short(0);
  writer.longlong(body.length);
  const flagsAt = writer.length;
  writer.short(0);
  const flags = writeProperties(message, delivery, to);
  writer.setShort(flagsAt, flags);
  writer.endFrame(frame);
  const pieceBytesMax = frameBytesMax - frameOverheadBytes;
  for (let from = 0; from < body.length; from += pieceBytesMax) {
    const bodyFrame = writer.beginFrame(frameType.body, channel);
    writer.raw(body.subarray(from, from + pieceBytesMax));
    writer.endFrame(bodyFrame);
  }
  const content = Buffer.from(writer.bytes());
  writer.reset();
  return { names, content };
};
