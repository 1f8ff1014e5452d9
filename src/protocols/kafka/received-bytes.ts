/**
 * What a connection received and has not handled yet: the socket's chunks as they came. A request that lies within one chunk
 * is read in place; of a Produce request that spans chunks only the record batches are copied, once, to where they stay.
 */
import type { BatchSource } from '../../log/append-batch.ts';
import { MalformedError } from '../../wire/cursor.ts';
import { kafkaLimits } from './kafka-limits.ts';

const emptyBuffer = Buffer.alloc(0);

export class ReceivedBytes {
  /** In order of arrival; the first has been handled up to #start. */
  readonly #chunks: Buffer[] = [];
  #start = 0;
  #availableBytes = 0;

  get availableBytes(): number {
    return this.#availableBytes;
  }

  /** Memory that it takes: very small chunks are mostly what keeps them. */
  get heldBytes(): number {
    return this.#availableBytes + this.#chunks.length * kafkaLimits.chunkOverheadBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#availableBytes += chunk.length;
  }

  /** The memory of the last chunk is about to be used again: what is left of it is copied. */
  leaveChunk(): void {
    const last = this.#chunks.length - 1;
    if (last < 0) return;
    const from = last === 0 ? this.#start : 0;
    this.#chunks[last] = Buffer.from(this.#chunks[last]!.subarray(from));
    if (last === 0) this.#start = 0;
  }

  /** The int32 at the front; needs 4 available bytes. */
  peekInt32(): number {
    const first = this.#chunks[0]!;
    if (this.#start + 4 <= first.length) return first.readInt32BE(this.#start);
    return this.copy(4).readInt32BE(0);
  }

  /** Drops bytes from the front. */
  consume(lengthBytes: number): void {
    let left = lengthBytes;
    this.#availableBytes -= lengthBytes;
    while (left > 0) {
      const rest = this.#chunks[0]!.length - this.#start;
      if (left < rest) {
        this.#start += left;
        return;
      }
      left -= rest;
      this.#start = 0;
      this.#chunks.shift();
    }
  }

  /** The first bytes in one piece: a view if they lie in one chunk, else a copy. Does not consume. */
  contiguous(lengthBytes: number): Buffer {
    const first = this.#chunks[0];
    if (first !== undefined && this.#start + lengthBytes <= first.length) {
      return first.subarray(this.#start, this.#start + lengthBytes);
    }
    return this.copy(lengthBytes);
  }

  /** Points a cursor at the first bytes. It is valid until the next push or consume. */
  read(cursor: FrameCursor, lengthBytes: number): void {
    cursor.reset(this.#chunks, this.#start, lengthBytes);
  }

  /** The same in memory of its own. */
  copy(lengthBytes: number): Buffer {
    const copy = Buffer.allocUnsafe(lengthBytes);
    let at = 0;
    for (let index = 0; at < lengthBytes; index++) {
      const chunk = this.#chunks[index]!;
      at += chunk.copy(copy, at, index === 0 ? this.#start : 0, (index === 0 ? this.#start : 0) + lengthBytes - at);
    }
    return copy;
  }
}

/** Reads fields over the chunks of one frame, and is the source of the record batch that it stands at. */
export class FrameCursor implements BatchSource {
  #chunks: readonly Buffer[] = [];
  #index = 0;
  #chunk: Buffer = emptyBuffer;
  #at = 0;
  #leftBytes = 0;
  /** Where the last claimed bytes are: the chunk itself, or a copy of bytes that lay in two. */
  #view: Buffer = emptyBuffer;

  /** Bytes of the batch under the cursor; set by the parser before it is appended. */
  lengthBytes = 0;

  reset(chunks: readonly Buffer[], start: number, lengthBytes: number): void {
    this.#chunks = chunks;
    this.#index = 0;
    this.#chunk = chunks[0] ?? emptyBuffer;
    this.#at = start;
    this.#leftBytes = lengthBytes;
  }

  /** Lets go of the chunks. */
  release(): void {
    this.#chunks = [];
    this.#chunk = emptyBuffer;
    this.#view = emptyBuffer;
    this.#leftBytes = 0;
  }

  get remainingBytes(): number {
    return this.#leftBytes;
  }

  int8(): number {
    const at = this.#claim(1);
    return (this.#view[at]! << 24) >> 24;
  }

  int16(): number {
    const at = this.#claim(2);
    return this.#view.readInt16BE(at);
  }

  int32(): number {
    const at = this.#claim(4);
    return this.#view.readInt32BE(at);
  }

  uvarint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.int8() & 0xff;
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new MalformedError('variable-length integer too long');
  }

  /** UTF-8 of so many bytes. */
  text(lengthBytes: number): string {
    if (lengthBytes < 0) throw new MalformedError(`string of length ${lengthBytes}`);
    const at = this.#claim(lengthBytes);
    return this.#view.toString('utf8', at, at + lengthBytes);
  }

  /** 16 bytes as hexadecimal digits. */
  hexId(): string {
    const at = this.#claim(16);
    return this.#view.toString('hex', at, at + 16);
  }

  skip(lengthBytes: number): void {
    if (lengthBytes < 0 || lengthBytes > this.#leftBytes) throw new MalformedError(`cannot skip ${lengthBytes} bytes`);
    this.#leftBytes -= lengthBytes;
    let left = lengthBytes;
    while (this.#chunk.length - this.#at < left) {
      left -= this.#chunk.length - this.#at;
      this.#next();
    }
    this.#at += left;
  }

  skipTaggedFields(): void {
    for (let count = this.uvarint(); count > 0; count--) {
      this.uvarint();
      this.skip(this.uvarint());
    }
  }

  /** The next bytes in one piece, without moving: `view` holds them at the returned index. */
  peek(lengthBytes: number): number {
    const index = this.#index;
    const at = this.#at;
    const left = this.#leftBytes;
    const claimed = this.#claim(lengthBytes);
    this.#index = index;
    this.#chunk = this.#chunks[index] ?? emptyBuffer;
    this.#at = at;
    this.#leftBytes = left;
    return claimed;
  }

  get view(): Buffer {
    return this.#view;
  }

  /** Copies the batch under the cursor, which does not move. */
  copyTo(target: Buffer, at: number): void {
    let index = this.#index;
    let from = this.#at;
    let to = at;
    const end = at + this.lengthBytes;
    while (to < end) {
      const chunk = this.#chunks[index]!;
      to += chunk.copy(target, to, from, Math.min(chunk.length, from + end - to));
      index++;
      from = 0;
    }
  }

  #next(): void {
    this.#index++;
    const chunk = this.#chunks[this.#index];
    if (chunk === undefined) throw new MalformedError('request ends within a field');
    this.#chunk = chunk;
    this.#at = 0;
  }

  #claim(lengthBytes: number): number {
    if (lengthBytes > this.#leftBytes) {
      throw new MalformedError(`${lengthBytes} bytes needed, ${this.#leftBytes} left`);
    }
    this.#leftBytes -= lengthBytes;
    const at = this.#at;
    if (at + lengthBytes <= this.#chunk.length) {
      this.#view = this.#chunk;
      this.#at = at + lengthBytes;
      return at;
    }
    const copy = Buffer.allocUnsafe(lengthBytes);
    let filled = 0;
    while (filled < lengthBytes) {
      if (this.#at === this.#chunk.length) this.#next();
      const count = this.#chunk.copy(
        copy,
        filled,
        this.#at,
        Math.min(this.#chunk.length, this.#at + lengthBytes - filled),
      );
      filled += count;
      this.#at += count;
    }
    this.#view = copy;
    return 0;
  }
}
