/**
 * Writes frames into one growing buffer. The buffer belongs to the writer: take() what was written before the next
 * reset(), or copy.
 */
import type { HeaderValue } from '../../broker/message.ts';
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import { frameEnd, frameType } from './frames.ts';

const initialBytes = 1024;
const longMax = 0xffff_ffff;

export class MethodWriter {
  #buffer: Buffer = Buffer.allocUnsafe(initialBytes);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
    if (this.#buffer.length > 64 * initialBytes) this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  /** Drops what was written from `length` on. */
  rewind(length: number): void {
    this.#length = length;
  }

  /** What was written; a view, valid until the next write. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Starts a frame and returns where, for endFrame(). */
  beginFrame(type: number, channel: number): number {
    const at = this.#length;
    this.octet(type);
    this.short(channel);
    this.long(0);
    return at;
  }

  beginMethodFrame(channel: number): number {
    return this.beginFrame(frameType.method, channel);
  }

  endFrame(at: number): void {
    this.#buffer.writeUInt32BE(this.#length - at - 7, at + 3);
    this.octet(frameEnd);
  }

  octet(value: number): void {
    this.#grow(1);
    this.#buffer[this.#length++] = value;
  }

  short(value: number): void {
    this.#grow(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
  }

  /** Counts of messages may be above what a long holds: then it is the most that it holds. */
  long(value: number): void {
    this.#grow(4);
    this.#length = this.#buffer.writeUInt32BE(Math.min(value, longMax), this.#length);
  }

  longlong(value: number): void {
    this.long(Math.floor(value / 4294967296));
    this.long(value % 4294967296);
  }

  shortstr(value: string): void {
    let bytes = Buffer.from(value, 'utf8');
    if (bytes.length > 255) bytes = bytes.subarray(0, 255);
    this.octet(bytes.length);
    this.raw(bytes);
  }

  longstr(value: string): void {
    this.longbytes(Buffer.from(value, 'utf8'));
  }

  longbytes(value: Buffer): void {
    this.long(value.length);
    this.raw(value);
  }

  raw(bytes: Buffer): void {
    this.#grow(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  table(entries: ArgumentTable | Iterable<readonly [string, HeaderValue]>): void {
    const at = this.beginTable();
    for (const [name, value] of entries) {
      this.shortstr(name);
      this.value(value);
    }
    this.endTable(at);
  }

  /** Starts a table or an array and returns where, for endTable(). */
  beginTable(): number {
    const at = this.#length;
    this.long(0);
    return at;
  }

  endTable(at: number): void {
    this.#buffer.writeUInt32BE(this.#length - at - 4, at);
  }

  /** Fills in what was written as 0 before. */
  setShort(at: number, value: number): void {
    this.#buffer.writeUInt16BE(value, at);
  }

  /** A typed field value. Integers become int32 or int64, text a long string, bytes a byte array. */
  value(value: HeaderValue): void {
    switch (typeof value) {
      case 'boolean':
        this.#typed('t');
        this.octet(value ? 1 : 0);
        return;
      case 'number':
        this.#number(value);
        return;
      case 'bigint':
        this.#typed('l');
        this.#grow(8);
        this.#length = this.#buffer.writeBigInt64BE(BigInt.asIntN(64, value), this.#length);
        return;
      case 'string':
        this.#typed('S');
        this.longstr(value);
        return;
      default:
        this.#object(value);
    }
  }

  #object(value: Exclude<HeaderValue, boolean | number | bigint | string>): void {
    if (value === null) {
      this.#typed('V');
    } else if (Buffer.isBuffer(value)) {
      this.#typed('x');
      this.longbytes(value);
    } else if (value instanceof Date) {
      this.#typed('T');
      this.longlong(Math.max(0, Math.floor(value.getTime() / 1000)));
    } else if (Array.isArray(value)) {
      this.#typed('A');
      const at = this.beginTable();
      for (const item of value) this.value(item);
      this.endTable(at);
    } else {
      this.#typed('F');
      this.table(Object.entries(value));
    }
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value)) {
      this.#typed('d');
      this.#grow(8);
      this.#length = this.#buffer.writeDoubleBE(value, this.#length);
    } else if (value >= -2147483648 && value <= 2147483647) {
      this.#typed('I');
      this.#grow(4);
      this.#length = this.#buffer.writeInt32BE(value, this.#length);
    } else {
      this.#typed('l');
      this.#grow(8);
      this.#length = this.#buffer.writeBigInt64BE(BigInt(value), this.#length);
    }
  }

  #typed(type: string): void {
    this.octet(type.charCodeAt(0));
  }

  #grow(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}
