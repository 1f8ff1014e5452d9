/**
 * A message of another protocol as AMQP content: the documented mapping of key, headers, timestamp and the rest. The body
 * is identical.
 */
import type { HeaderValue, Message } from '../../broker/message.ts';
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Topic } from '../../broker/topic.ts';
import { keyHeader, partitionHeader, streamOffsetHeader, timestampHeader, tombstoneHeader } from './amqp-form.ts';
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

const writer = new MethodWriter();

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
  for (const { name, value } of headers) {
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

const writeHeaders = (message: Message, delivery: Delivery, topic: Topic): void => {
  const table = writer.beginTable();
  for (const [name, values] of valuesByName(message.headers)) writeHeader(name, values);
  if (message.key !== null) writeEntry(keyHeader, new LongString(message.key));
  if (message.body === null) writeEntry(tombstoneHeader, true);
  if (message.timestampMs !== undefined && message.timestampMs >= 0) {
    writeEntry(timestampHeader, BigInt(Math.floor(message.timestampMs)));
  }
  writeEntry(streamOffsetHeader, BigInt(delivery.offset));
  writeEntry(partitionHeader, Math.max(0, topic.partitions.indexOf(delivery.part.log)));
  writer.endTable(table);
};

/** Properties in the order of their flags. */
const writeProperties = (message: Message, delivery: Delivery, topic: Topic): number => {
  let flags: number = propertyFlag.headers | propertyFlag.deliveryMode;
  const text = (flag: number, value: string | undefined): void => {
    if (value === undefined) return;
    flags |= flag;
    writer.shortstr(value);
  };
  text(propertyFlag.contentType, message.contentType);
  text(propertyFlag.contentEncoding, message.contentEncoding);
  writeHeaders(message, delivery, topic);
  writer.octet(message.persistent === false ? 1 : 2);
  if (message.priority !== undefined) {
    flags |= propertyFlag.priority;
    writer.octet(message.priority);
  }
  if (message.correlationId !== undefined && message.correlationId.length <= 255) {
    flags |= propertyFlag.correlationId;
    writer.octet(message.correlationId.length);
    writer.raw(message.correlationId);
  }
  text(propertyFlag.replyTo, message.replyTo);
  text(propertyFlag.expiration, message.expiration);
  text(propertyFlag.messageId, message.messageId);
  if (message.timestampMs !== undefined && message.timestampMs >= 0) {
    flags |= propertyFlag.timestamp;
    writer.longlong(Math.floor(message.timestampMs / 1000));
  }
  text(propertyFlag.type, message.type);
  text(propertyFlag.userId, message.userId);
  text(propertyFlag.appId, message.appId);
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
  const flags = writeProperties(message, delivery, to.topic);
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
