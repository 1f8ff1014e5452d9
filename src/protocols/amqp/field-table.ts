/**
 * Field tables of AMQP 0-9-1 as RabbitMQ writes them. Types: t bool, b/B int8/uint8, s/u int16/uint16, I/i int32/uint32,
 * l/L int64/uint64, f/d floats, D decimal, S long string, T timestamp (seconds), A array, F table, x bytes, V void.
 *
 * Decoding to neutral values is for arguments and for messages that cross to another protocol; headers of messages that
 * stay within AMQP are never decoded, `skipTable` only proves that they are well formed.
 */
import { isUtf8 } from 'node:buffer';
import type { HeaderValue } from '../../broker/message.ts';
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';

const malformed = (): AmqpError => new AmqpError(502, 'malformed field table');

const need = (position: number, bytes: number, end: number): void => {
  if (position + bytes > end) throw malformed();
};

/** Reads values one after another; `position` is behind the last. */
export class TableDecoder {
  readonly #buffer: Buffer;
  readonly #view: DataView;
  readonly #end: number;
  position: number;

  constructor(buffer: Buffer, start: number, end: number) {
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    this.position = start;
    this.#end = end;
  }

  /** A table with its length before it. */
  table(): ArgumentTable {
    return this.#table(this.#end, 0);
  }

  /** Entries up to the end, without a length before them. */
  entries(): ArgumentTable {
    return this.#entries(this.#end, 0);
  }

  /** Like table(), but in order and with repeated names. */
  pairs(): { name: string; value: HeaderValue }[] {
    const end = this.#length(this.#end);
    const pairs: { name: string; value: HeaderValue }[] = [];
    while (this.position < end) {
      const name = this.#name(end);
      pairs.push({ name, value: this.#value(end, 1) });
    }
    return pairs;
  }

  #length(end: number): number {
    need(this.position, 4, end);
    const length = this.#view.getUint32(this.position);
    this.position += 4;
    need(this.position, length, end);
    return this.position + length;
  }

  #table(end: number, depth: number): ArgumentTable {
    return this.#entries(this.#length(end), depth);
  }

  #entries(end: number, depth: number): ArgumentTable {
    if (depth > amqpLimits.tableDepthMax) throw malformed();
    const table = new Map<string, HeaderValue>();
    while (this.position < end) {
      const name = this.#name(end);
      table.set(name, this.#value(end, depth + 1));
    }
    return table;
  }

  #name(end: number): string {
    const length = this.#buffer[this.position]!;
    need(this.position, 1 + length, end);
    const start = this.position + 1;
    this.position = start + length;
    return this.#buffer.toString('utf8', start, this.position);
  }

  #array(end: number, depth: number): HeaderValue[] {
    if (depth > amqpLimits.tableDepthMax) throw malformed();
    const arrayEnd = this.#length(end);
    const values: HeaderValue[] = [];
    while (this.position < arrayEnd) values.push(this.#value(arrayEnd, depth + 1));
    return values;
  }

  /** Moves on by `bytes` and returns where they start. */
  #take(bytes: number, end: number): number {
    const at = this.position;
    need(at, bytes, end);
    this.position = at + bytes;
    return at;
  }

  #value(end: number, depth: number): HeaderValue {
    const type = this.#buffer[this.#take(1, end)]!;
    const view = this.#view;
    switch (type) {
      case 0x74: // t
        return this.#buffer[this.#take(1, end)]! !== 0;
      case 0x62: // b
        return view.getInt8(this.#take(1, end));
      case 0x42: // B
        return view.getUint8(this.#take(1, end));
      case 0x73: // s
        return view.getInt16(this.#take(2, end));
      case 0x75: // u
        return view.getUint16(this.#take(2, end));
      case 0x49: // I
        return view.getInt32(this.#take(4, end));
      case 0x69: // i
        return view.getUint32(this.#take(4, end));
      case 0x6c: // l
        return narrowed(view.getBigInt64(this.#take(8, end)));
      case 0x4c: // L
        return narrowed(view.getBigUint64(this.#take(8, end)));
      case 0x66: // f
        return view.getFloat32(this.#take(4, end));
      case 0x64: // d
        return view.getFloat64(this.#take(8, end));
      case 0x44: {
        // D: digits behind the point, then the unscaled number
        const at = this.#take(5, end);
        return view.getUint32(at + 1) / 10 ** view.getUint8(at);
      }
      case 0x53: // S
        return textOrBytes(this.#bytes(end));
      case 0x78: // x
        return Buffer.from(this.#bytes(end));
      case 0x54: {
        // T
        const seconds = narrowed(view.getBigUint64(this.#take(8, end)));
        return typeof seconds === 'number' && seconds <= 8.64e12 ? new Date(seconds * 1000) : seconds;
      }
      case 0x41: // A
        return this.#array(end, depth);
      case 0x46: // F
        return Object.fromEntries(this.#table(end, depth));
      case 0x56: // V
        return null;
      default:
        throw malformed();
    }
  }

  #bytes(end: number): Buffer {
    const bytesEnd = this.#length(end);
    const bytes = this.#buffer.subarray(this.position, bytesEnd);
    this.position = bytesEnd;
    return bytes;
  }
}

const narrowed = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

/** Long strings are text to nearly everybody; what is not UTF-8 stays bytes. */
const textOrBytes = (bytes: Buffer): string | Buffer => (isUtf8(bytes) ? bytes.toString('utf8') : Buffer.from(bytes));

/** Size of a fixed-size value by its type octet; 0: variable or unknown. */
const fixedSizes = new Uint8Array(256);
for (const [types, size] of [
  ['tbB', 1],
  ['su', 2],
  ['Iif', 4],
  ['D', 5],
  ['lLdT', 8],
] as const) {
  for (const type of types) fixedSizes[type.charCodeAt(0)] = size;
}

/** Position behind the value at `at`; throws if it is malformed. Allocates nothing. */
export const skipValue = (buffer: Buffer, at: number, end: number, depth: number): number => {
  need(at, 1, end);
  const type = buffer[at]!;
  const fixed = fixedSizes[type]!;
  if (fixed > 0) {
    need(at + 1, fixed, end);
    return at + 1 + fixed;
  }
  if (type === 0x56) return at + 1;
  if (type !== 0x53 && type !== 0x78 && type !== 0x41 && type !== 0x46) throw malformed();
  need(at + 1, 4, end);
  const length = buffer.readUInt32BE(at + 1);
  const start = at + 5;
  need(start, length, end);
  if (type === 0x41 || type === 0x46) skipEntries(buffer, start, start + length, type === 0x46, depth + 1);
  return start + length;
};

const skipEntries = (buffer: Buffer, start: number, end: number, named: boolean, depth: number): void => {
  if (depth > amqpLimits.tableDepthMax) throw malformed();
  let at = start;
  while (at < end) {
    if (named) at += 1 + buffer[at]!;
    at = skipValue(buffer, at, end, depth);
  }
};
