/** Cursor over the fields of one method. Reading past the end is the peer's error. */
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import { AmqpError, erlangBinary } from './amqp-errors.ts';
import { TableDecoder } from './field-table.ts';

export class MethodReader {
  #buffer: Buffer = Buffer.alloc(0);
  #start = 0;
  #position = 0;
  #end = 0;

  reset(buffer: Buffer, start: number, end: number): void {
    this.#buffer = buffer;
    this.#start = start;
    this.#position = start;
    this.#end = end;
  }

  /** No bytes may be left over. */
  finish(): void {
    if (this.#position !== this.#end) throw this.#cannotDecode();
  }

  octet(): number {
    return this.#buffer[this.#take(1)]!;
  }

  short(): number {
    return this.#buffer.readUInt16BE(this.#take(2));
  }

  long(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  /** Delivery tags; beyond 2^53 they are rounded, which no broker ever gave out. */
  longlong(): number {
    const at = this.#take(8);
    return this.#buffer.readUInt32BE(at) * 4294967296 + this.#buffer.readUInt32BE(at + 4);
  }

  shortstr(): string {
    const length = this.octet();
    const at = this.#take(length);
    return this.#buffer.toString('utf8', at, at + length);
  }

  longstr(): string {
    const length = this.long();
    const at = this.#take(length);
    return this.#buffer.toString('utf8', at, at + length);
  }

  /** A copy. */
  longbytes(): Buffer {
    const length = this.long();
    const at = this.#take(length);
    return Buffer.from(this.#buffer.subarray(at, at + length));
  }

  table(): ArgumentTable {
    const decoder = new TableDecoder(this.#buffer, this.#position, this.#end);
    const table = decoder.table();
    this.#position = decoder.position;
    return table;
  }

  #take(bytes: number): number {
    const at = this.#position;
    if (at + bytes > this.#end) throw this.#cannotDecode();
    this.#position = at + bytes;
    return at;
  }

  #cannotDecode(): AmqpError {
    const shown = this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + 16));
    return new AmqpError(501, `cannot decode ${erlangBinary(shown)}`);
  }
}
