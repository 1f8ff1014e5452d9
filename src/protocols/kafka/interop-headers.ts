/**
 * What becomes of a message of another protocol as a Kafka record: one table, that of docs/interop.md. It is applied each
 * time the message is fetched and must always give the same bytes.
 */
import type { HeaderValue, Message } from '../../broker/message.ts';

export interface RecordHeader {
  readonly name: Buffer;
  readonly value: Buffer | null;
}

/** Property and the header that carries it, in the order in which they are written. */
const propertyHeaders = [
  ['contentType', 'amqp.content-type'],
  ['contentEncoding', 'amqp.content-encoding'],
  ['correlationId', 'amqp.correlation-id'],
  ['replyTo', 'amqp.reply-to'],
  ['messageId', 'amqp.message-id'],
  ['expiration', 'amqp.expiration'],
  ['priority', 'amqp.priority'],
  ['type', 'amqp.type'],
  ['userId', 'amqp.user-id'],
  ['appId', 'amqp.app-id'],
] as const satisfies readonly (readonly [keyof Message, string])[];

const namesAsBytes = propertyHeaders.map(([property, name]) => [property, Buffer.from(name)] as const);
const exchangeName = Buffer.from('amqp.exchange');
const routingKeyName = Buffer.from('amqp.routing-key');

export const recordHeaders = (message: Message, topicName: string): RecordHeader[] => {
  const headers: RecordHeader[] = message.headers.map(({ name, value }) => ({
    name: Buffer.from(name),
    value: headerBytes(value),
  }));
  for (const [property, name] of namesAsBytes) {
    const value = message[property];
    if (value !== undefined) headers.push({ name, value: headerBytes(value) });
  }
  const { exchange = '', routingKey } = message;
  if (exchange !== '') headers.push({ name: exchangeName, value: Buffer.from(exchange) });
  if (routingKey !== undefined && (exchange !== '' || routingKey !== topicName)) {
    headers.push({ name: routingKeyName, value: Buffer.from(routingKey) });
  }
  return headers;
};

/** Text and bytes as they are; numbers and booleans as text; times as ISO 8601 with milliseconds; the rest as JSON. */
export const headerBytes = (value: HeaderValue): Buffer | null => {
  if (value === null) return null;
  if (Buffer.isBuffer(value)) return value;
  switch (typeof value) {
    case 'string':
      return Buffer.from(value);
    case 'boolean':
    case 'number':
    case 'bigint':
      return Buffer.from(String(value));
    default:
      if (value instanceof Date) return Buffer.from(isoText(value));
      return Buffer.from(JSON.stringify(jsonValue(value)));
  }
};

const isoText = (date: Date): string => (Number.isNaN(date.getTime()) ? 'Invalid Date' : date.toISOString());

/** Bytes become text if they are UTF-8, else base64; integers beyond 2^53 become text. */
const jsonValue = (value: HeaderValue): unknown => {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  if (value === null || typeof value !== 'object') return value;
  if (Buffer.isBuffer(value)) {
    const text = value.toString('utf8');
    return Buffer.from(text).equals(value) ? text : value.toString('base64');
  }
  if (value instanceof Date) return isoText(value);
  if (Array.isArray(value)) return value.map(jsonValue);
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, jsonValue(field)]));
};
