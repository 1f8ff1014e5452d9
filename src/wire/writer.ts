/**
 * Builds outgoing bytes: small fields are copied into a chunk, large payloads are passed by reference, and `finish` returns
 * the pieces in order, for cork + write without a concat.
 *
 * A chunk serves many messages one after the other. Bytes that `finish` has handed out are never written again, so a socket
 * may hold them as long as it likes; a chunk that is full is dropped and lives as long as its last piece. Rejected: one
 * buffer that is reused, which needs to know when each socket has let go of it.
 *
 * Referenced buffers must not change until the socket has written them; their owner sees to that.
 */
import { UUID_SIZE_BYTES, ZERO_UUID } from './cursor.ts';
import { UVARINT_SIZE_MAX, uvarintSize, VARLONG_SIZE_MAX, writeUvarint, writeVarlong, zigzag32 } from './varint.ts';

/** Payloads from this size on are referenced; below it the copy is cheaper than one more entry in a vectored write. */
export const WRITER_REFERENCE_BYTES_MIN = 4096;
/** One chunk; a message that is larger gets a chunk of its own. */
export const WRITER_CHUNK_BYTES = 64 * 1024;
/** With less than this left, the next message starts in a new chunk. */
const CHUNK_REST_BYTES_MIN = 1024;
/** Up to here a string is written as ASCII in JS if it is, which is cheaper than two calls into C++. */
const SHORT_STRING_CHARS = 48;
const INT16_MAX = 0x7fff;
const TWO_POW_32 = 0x1_0000_0000;

/** Large payloads may come in parts; they are written one after the other. */
export type Payload = Buffer | readonly Buffer[];

const payloadSize = (payload: Payload): number => {
  if (Buffer.isBuffer(payload)) return payload.length;
  let size = 0;
  for (const part of payload) size += part.length;
  return size;
};

/** A place in the writer's own bytes, to be filled in later. */
declare const markBrand: unique symbol;
export type Mark = number & { readonly [markBrand]: true };

export class Writer {
  #chunk: Buffer;
  /** Where the bytes since the last `finish` start. Marks and cuts are relative to it, so that growing moves nothing. */
  #start = 0;
  /** Next byte; #start <= #at <= #chunk.length */
  #at = 0;
  /** #cuts[i] own bytes (since #start) come before #references[i]; ascending. */
  #cuts: number[] = [];
  #references: Buffer[] = [];
  #referencedBytes = 0;

  constructor(chunkBytes = WRITER_CHUNK_BYTES) {
    this.#chunk = Buffer.allocUnsafeSlow(chunkBytes);
  }

  /** Bytes written since the last `finish`, referenced ones included. */
  get position(): number {
    return this.#at - this.#start + this.#referencedBytes;
  }

  /** Forgets what was written since the last `finish` (or since `position` was 0). */
  discard(): void {
    this.#at = this.#start;
    this.#cuts = [];
    this.#references = [];
    this.#referencedBytes = 0;
  }

  /** The bytes since the last `finish`, in order. Without references it is one piece. */
  finish(): Buffer[] {
    const pieces: Buffer[] = [];
    let from = this.#start;
    for (let index = 0; index < this.#cuts.length; index++) {
      const to = this.#start + this.#cuts[index]!;
      if (to > from) pieces.push(this.#chunk.subarray(from, to));
      pieces.push(this.#references[index]!);
      from = to;
    }
    if (this.#at > from) pieces.push(this.#chunk.subarray(from, this.#at));
    if (this.#cuts.length > 0) {
      this.#cuts = [];
      this.#references = [];
      this.#referencedBytes = 0;
    }
    this.#start = this.#at;
    if (this.#chunk.length - this.#at < CHUNK_REST_BYTES_MIN) {
      this.#chunk = Buffer.allocUnsafeSlow(WRITER_CHUNK_BYTES);
      this.#start = 0;
      this.#at = 0;
    }
    return pieces;
  }

  /** Makes room and returns where it starts. */
  #take(sizeBytes: number): number {
    if (sizeBytes > this.#chunk.length - this.#at) this.#grow(sizeBytes);
    const at = this.#at;
    this.#at = at + sizeBytes;
    return at;
  }

  #grow(sizeBytes: number): void {
    const written = this.#at - this.#start;
    const needed = written + sizeBytes;
    const chunk = Buffer.allocUnsafeSlow(Math.max(needed * 2, WRITER_CHUNK_BYTES));
    this.#chunk.copy(chunk, 0, this.#start, this.#at);
    this.#chunk = chunk;
    this.#start = 0;
    this.#at = written;
  }

  boolean(value: boolean): void {
    const at = this.#take(1);
    this.#chunk[at] = value ? 1 : 0;
  }

  int8(value: number): void {
    const at = this.#take(1);
    this.#chunk[at] = value;
  }

  int16(value: number): void {
    const at = this.#take(2);
    this.#chunk[at] = value >> 8;
    this.#chunk[at + 1] = value;
  }

  int32(value: number): void {
    const at = this.#take(4);
    const chunk = this.#chunk;
    chunk[at] = value >> 24;
    chunk[at + 1] = value >> 16;
    chunk[at + 2] = value >> 8;
    chunk[at + 3] = value;
  }

  uint16(value: number): void {
    this.int16(value);
  }

  uint32(value: number): void {
    this.int32(value | 0);
  }

  /** A safe integer. */
  int64(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`not a safe integer: ${value}`);
    this.int32(Math.floor(value / TWO_POW_32) | 0);
    this.int32(value | 0);
  }

  bigint64(value: bigint): void {
    const at = this.#take(8);
    this.#chunk.writeBigInt64BE(value, at);
  }

  float64(value: number): void {
    const at = this.#take(8);
    this.#chunk.writeDoubleBE(value, at);
  }

  uvarint(value: number): void {
    if (value < 0x80) {
      const at = this.#take(1);
      this.#chunk[at] = value;
      return;
    }
    const at = this.#take(UVARINT_SIZE_MAX);
    this.#at = writeUvarint(this.#chunk, at, value);
  }

  varint(value: number): void {
    this.uvarint(zigzag32(value));
  }

  varlong(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`not a safe integer: ${value}`);
    const at = this.#take(VARLONG_SIZE_MAX);
    this.#at = writeVarlong(this.#chunk, at, value);
  }

  uuid(value: string): void {
    const at = this.#take(UUID_SIZE_BYTES);
    if (value === ZERO_UUID) {
      this.#chunk.fill(0, at, at + UUID_SIZE_BYTES);
      return;
    }
    if (
      value.length !== ZERO_UUID.length ||
      this.#chunk.write(value, at, UUID_SIZE_BYTES, 'base64url') !== UUID_SIZE_BYTES
    ) {
      throw new RangeError(`not a uuid: ${value}`);
    }
  }

  /** int16 length. */
  string(value: string): void {
    if (value.length <= SHORT_STRING_CHARS && this.#shortAscii(value, 2)) {
      const at = this.#at - value.length - 2;
      this.#chunk[at] = 0;
      this.#chunk[at + 1] = value.length;
      return;
    }
    const size = Buffer.byteLength(value);
    if (size > INT16_MAX) throw new RangeError(`string of ${size} bytes, at most ${INT16_MAX} are possible`);
    this.int16(size);
    const at = this.#take(size);
    this.#chunk.write(value, at, size, 'utf8');
  }

  nullableString(value: string | null): void {
    if (value === null) this.int16(-1);
    else this.string(value);
  }

  /** Length + 1 as an unsigned varint. */
  compactString(value: string): void {
    if (value.length <= SHORT_STRING_CHARS && this.#shortAscii(value, 1)) {
      this.#chunk[this.#at - value.length - 1] = value.length + 1;
      return;
    }
    const size = Buffer.byteLength(value);
    this.uvarint(size + 1);
    const at = this.#take(size);
    this.#chunk.write(value, at, size, 'utf8');
  }

  compactNullableString(value: string | null): void {
    if (value === null) this.uvarint(0);
    else this.compactString(value);
  }

  /** Leaves `prefixBytes` free and writes the characters after them; undone and false if one is not ASCII. */
  #shortAscii(value: string, prefixBytes: number): boolean {
    const start = this.#take(prefixBytes + value.length);
    const chunk = this.#chunk;
    let at = start + prefixBytes;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) {
        this.#at = start;
        return false;
      }
      chunk[at++] = code;
    }
    return true;
  }

  /** Copies, without a length. */
  raw(value: Uint8Array): void {
    const at = this.#take(value.length);
    this.#chunk.set(value, at);
  }

  /** int32 length, then a copy. */
  bytes(value: Uint8Array): void {
    this.int32(value.length);
    this.raw(value);
  }

  nullableBytes(value: Uint8Array | null): void {
    if (value === null) this.int32(-1);
    else this.bytes(value);
  }

  compactBytes(value: Uint8Array): void {
    this.uvarint(value.length + 1);
    this.raw(value);
  }

  compactNullableBytes(value: Uint8Array | null): void {
    if (value === null) this.uvarint(0);
    else this.compactBytes(value);
  }

  /** Without a length: by reference if it is large, else a copy. */
  reference(value: Buffer): void {
    if (value.length < WRITER_REFERENCE_BYTES_MIN) {
      this.raw(value);
      return;
    }
    this.#cuts.push(this.#at - this.#start);
    this.#references.push(value);
    this.#referencedBytes += value.length;
  }

  /** int32 length, then the parts by reference. */
  payload(value: Payload): void {
    this.int32(payloadSize(value));
    this.#parts(value);
  }

  nullablePayload(value: Payload | null): void {
    if (value === null) this.int32(-1);
    else this.payload(value);
  }

  compactPayload(value: Payload): void {
    this.uvarint(payloadSize(value) + 1);
    this.#parts(value);
  }

  compactNullablePayload(value: Payload | null): void {
    if (value === null) this.uvarint(0);
    else this.compactPayload(value);
  }

  #parts(value: Payload): void {
    if (Buffer.isBuffer(value)) this.reference(value);
    else for (const part of value) this.reference(part);
  }

  /** -1 is null. */
  arrayLength(length: number): void {
    this.int32(length);
  }

  /** -1 is null. */
  compactArrayLength(length: number): void {
    this.uvarint(length + 1);
  }

  /** Leaves four bytes free, for a length that is known later. */
  reserveInt32(): Mark {
    return (this.#take(4) - this.#start) as Mark;
  }

  patchInt32(mark: Mark, value: number): void {
    this.#chunk.writeInt32BE(value, this.#start + mark);
  }

  /** Opens a tagged field; its size is filled in by `endTaggedField`. Nothing in it may be a reference. */
  beginTaggedField(tag: number): Mark {
    this.uvarint(tag);
    return (this.#take(1) - this.#start) as Mark;
  }

  endTaggedField(mark: Mark): void {
    const lastCut = this.#cuts.at(-1);
    if (lastCut !== undefined && lastCut > mark) throw new Error('a reference inside a tagged field');
    const size = this.#at - this.#start - mark - 1;
    const extra = uvarintSize(size) - 1;
    if (extra > 0) {
      this.#take(extra);
      const content = this.#start + mark + 1;
      this.#chunk.copyWithin(content + extra, content, content + size);
    }
    writeUvarint(this.#chunk, this.#start + mark, size);
  }
}
