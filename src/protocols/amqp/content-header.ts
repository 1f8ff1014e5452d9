/**
 * The content header frame of class basic: class, weight, body size, property flags, properties. What a publish needs to
 * know of it is found by one pass that allocates nothing unless a message asks for something rare; the properties
 * themselves travel as the bytes that were received.
 */
import type { HeaderValue } from '../../broker/message.ts';
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import { AmqpError } from './amqp-errors.ts';
import { skipValue, TableDecoder } from './field-table.ts';
import { frameOverheadBytes } from './frames.ts';

/** Offsets from the start of the frame. */
export const headerOffset = {
  classId: 7,
  weight: 9,
  bodySizeHigh: 11,
  bodySizeLow: 15,
  flags: 19,
  properties: 21,
} as const;

/** Bits of the property flags, in the order in which the properties follow. */
export const propertyFlag = {
  contentType: 0x8000,
  contentEncoding: 0x4000,
  headers: 0x2000,
  deliveryMode: 0x1000,
  priority: 0x0800,
  correlationId: 0x0400,
  replyTo: 0x0200,
  expiration: 0x0100,
  messageId: 0x0080,
  timestamp: 0x0040,
  type: 0x0020,
  userId: 0x0010,
  appId: 0x0008,
  clusterId: 0x0004,
} as const;

/** What a publish needs to know. One object is filled again and again. */
export interface ContentFacts {
  persistent: boolean;
  /** Why RabbitMQ refuses the message; undefined if it does not. Checked when the message is published. */
  problem: AmqpError | undefined;
  /** Place of the header table (with its length) in the frame, relative to the frame's start; 0: none. */
  tableAt: number;
  /** Routing keys beside the method's own: headers CC and BCC. */
  extraKeys: string[] | undefined;
  /** The frame without the header BCC, if it has one. */
  strippedFrame: Buffer | undefined;
  /** Expected user of the connection; undefined: not given. */
  userId: string | undefined;
}

export const emptyFacts = (): ContentFacts => ({
  persistent: false,
  problem: undefined,
  tableAt: 0,
  extraKeys: undefined,
  strippedFrame: undefined,
  userId: undefined,
});

const malformed = (): AmqpError => new AmqpError(502, 'malformed content header');

const skipShort = (buffer: Buffer, at: number, end: number): number => {
  const next = at + 1 + buffer[at]!;
  if (at >= end || next > end) throw malformed();
  return next;
};

/** Reads the frame buffer[start, end) into `facts`. @throws AmqpError when it is malformed */
export const scanContentHeader = (buffer: Buffer, start: number, end: number, facts: ContentFacts): void => {
  facts.persistent = false;
  facts.problem = undefined;
  facts.tableAt = 0;
  facts.extraKeys = undefined;
  facts.strippedFrame = undefined;
  facts.userId = undefined;
  const last = end - 1;
  if (start + headerOffset.properties > last) throw malformed();
  const flags = buffer.readUInt16BE(start + headerOffset.flags);
  if ((flags & 3) !== 0) throw malformed();
  let at = start + headerOffset.properties;
  if (flags & propertyFlag.contentType) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.contentEncoding) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.headers) {
    facts.tableAt = at - start;
    at = scanHeaders(buffer, start, at, end, facts);
  }
  if (flags & propertyFlag.deliveryMode) facts.persistent = buffer[at++] === 2;
  if (flags & propertyFlag.priority) at++;
  if (flags & propertyFlag.correlationId) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.replyTo) at = scanReplyTo(buffer, at, last, facts);
  if (flags & propertyFlag.expiration) at = scanExpiration(buffer, at, last, facts);
  if (flags & propertyFlag.messageId) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.timestamp) at += 8;
  if (flags & propertyFlag.type) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.userId) {
    const next = skipShort(buffer, at, last);
    facts.userId = buffer.toString('utf8', at + 1, next);
    at = next;
  }
  if (flags & propertyFlag.appId) at = skipShort(buffer, at, last);
  if (flags & propertyFlag.clusterId) at = skipShort(buffer, at, last);
  if (at > last) throw malformed();
};

const scanReplyTo = (buffer: Buffer, at: number, last: number, facts: ContentFacts): number => {
  const next = skipShort(buffer, at, last);
  if (next - at === 23 && buffer.toString('latin1', at + 1, next) === 'amq.rabbitmq.reply-to') {
    facts.problem ??= new AmqpError(406, 'fast reply consumer does not exist');
  }
  return next;
};

const scanExpiration = (buffer: Buffer, at: number, last: number, facts: ContentFacts): number => {
  const next = skipShort(buffer, at, last);
  const text = buffer.toString('utf8', at + 1, next);
  if (!/^[+-]?\d+$/.test(text)) {
    const reason = /^[+-]?\d+/.test(text) ? `{leftover_string,"${text.replace(/^[+-]?\d+/, '')}"}` : 'no_integer';
    facts.problem ??= new AmqpError(406, `invalid expiration '${text}': ${reason}`);
  } else if (text.startsWith('-') && Number(text) !== 0) {
    facts.problem ??= new AmqpError(406, `invalid expiration '${text}': {value_negative,${Number(text)}}`);
  }
  return next;
};

/** Walks over the header table; only CC and BCC are looked at. */
const scanHeaders = (buffer: Buffer, start: number, tableAt: number, end: number, facts: ContentFacts): number => {
  const last = end - 1;
  if (tableAt + 4 > last) throw malformed();
  const tableEnd = tableAt + 4 + buffer.readUInt32BE(tableAt);
  if (tableEnd > last) throw malformed();
  let at = tableAt + 4;
  while (at < tableEnd) {
    const nameBytes = buffer[at]!;
    const valueAt = at + 1 + nameBytes;
    const next = skipValue(buffer, valueAt, tableEnd, 0);
    if (nameBytes === 2 && buffer[at + 1] === 0x43 && buffer[at + 2] === 0x43) {
      readExtraKeys('CC', buffer, valueAt, next, facts);
    } else if (nameBytes === 3 && buffer[at + 1] === 0x42 && buffer[at + 2] === 0x43 && buffer[at + 3] === 0x43) {
      readExtraKeys('BCC', buffer, valueAt, next, facts);
      facts.strippedFrame ??= withoutEntry(buffer.subarray(start, end), tableAt - start, at - start, next - start);
    }
    at = next;
  }
  return tableEnd;
};

const readExtraKeys = (name: string, buffer: Buffer, at: number, end: number, facts: ContentFacts): void => {
  if (buffer[at] !== 0x41) {
    facts.problem ??= new AmqpError(
      406,
      `invalid message: {unacceptable_type_in_header,"${name}",${typeName(buffer[at]!)}}`,
    );
    return;
  }
  facts.extraKeys ??= [];
  let item = at + 5;
  while (item < end) {
    const next = skipValue(buffer, item, end, 0);
    if (buffer[item] === 0x53) facts.extraKeys.push(buffer.toString('utf8', item + 5, next));
    else facts.problem ??= new AmqpError(406, `invalid message: {unacceptable_type_in_header,"${name}",array}`);
    item = next;
  }
};

const typeNames: Record<string, string> = {
  S: 'longstr',
  I: 'signedint',
  i: 'unsignedint',
  D: 'decimal',
  T: 'timestamp',
  F: 'table',
  b: 'byte',
  B: 'unsignedbyte',
  d: 'double',
  f: 'float',
  l: 'long',
  s: 'short',
  u: 'unsignedshort',
  t: 'bool',
  x: 'binary',
  V: 'void',
};
const typeName = (type: number): string => typeNames[String.fromCharCode(type)] ?? 'unknown';

/** A copy of the frame without the table entry [from, to). */
const withoutEntry = (frame: Buffer, tableAt: number, from: number, to: number): Buffer => {
  const copy = Buffer.concat([frame.subarray(0, from), frame.subarray(to)]);
  copy.writeUInt32BE(copy.length - frameOverheadBytes, 3);
  copy.writeUInt32BE(frame.readUInt32BE(tableAt) - (to - from), tableAt);
  return copy;
};

/** The header table of a content header frame that was scanned before. */
export const headerTable = (frame: Buffer, start: number, facts: ContentFacts): ArgumentTable | undefined =>
  facts.tableAt === 0 ? undefined : new TableDecoder(frame, start + facts.tableAt, frame.length).table();

export interface BasicProperties {
  contentType?: string;
  contentEncoding?: string;
  headers?: { name: string; value: HeaderValue }[];
  deliveryMode?: number;
  priority?: number;
  correlationId?: Buffer;
  replyTo?: string;
  expiration?: string;
  messageId?: string;
  /** Seconds. */
  timestamp?: number;
  type?: string;
  userId?: string;
  appId?: string;
}

/** Decodes all properties of the frame at buffer[start, end). */
export const decodeProperties = (buffer: Buffer, start: number, end: number): BasicProperties => {
  const flags = buffer.readUInt16BE(start + headerOffset.flags);
  const properties: BasicProperties = {};
  let at = start + headerOffset.properties;
  const bytes = (): Buffer => {
    const from = at + 1;
    at = from + buffer[at]!;
    return Buffer.from(buffer.subarray(from, at));
  };
  const text = (): string => bytes().toString('utf8');
  if (flags & propertyFlag.contentType) properties.contentType = text();
  if (flags & propertyFlag.contentEncoding) properties.contentEncoding = text();
  if (flags & propertyFlag.headers) {
    const decoder = new TableDecoder(buffer, at, end);
    properties.headers = decoder.pairs();
    at = decoder.position;
  }
  if (flags & propertyFlag.deliveryMode) properties.deliveryMode = buffer[at++]!;
  if (flags & propertyFlag.priority) properties.priority = buffer[at++]!;
  if (flags & propertyFlag.correlationId) properties.correlationId = bytes();
  if (flags & propertyFlag.replyTo) properties.replyTo = text();
  if (flags & propertyFlag.expiration) properties.expiration = text();
  if (flags & propertyFlag.messageId) properties.messageId = text();
  if (flags & propertyFlag.timestamp) {
    properties.timestamp = Number(buffer.readBigUInt64BE(at));
    at += 8;
  }
  if (flags & propertyFlag.type) properties.type = text();
  if (flags & propertyFlag.userId) properties.userId = text();
  if (flags & propertyFlag.appId) properties.appId = text();
  return properties;
};
