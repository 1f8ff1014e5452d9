/**
 * A cursor over one contiguous buffer: reads big-endian fields in place and never past `end`. Whatever the bytes are, the
 * only error it throws is `MalformedError`. It is reusable (`reset`), so that a connection needs one.
 *
 * Buffers that it returns (`bytes`, `nullableBytes`, …) are views of the input: who keeps one beyond the life of the input
 * copies it. Strings and uuids are copies by nature.
 *
 * 64-bit integers are JS numbers made from two 32-bit reads and refused outside the safe range; `bigint64` is for opaque ids
 * only, it costs an allocation.
 */
import { UVARINT_SIZE_MAX, unzigzag32 } from './varint.ts';

/** The peer sent bytes that its protocol does not allow. Closes its connection and nothing else. */
export class MalformedError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'MalformedError';
  }
}

/**
 * A uuid is a string everywhere: the 22 characters of unpadded base64url that Kafka's own tools print. Equal uuids are equal
 * strings, so they are usable as keys of a Map.
 */
export const ZERO_UUID = 'AAAAAAAAAAAAAAAAAAAAAA';
export const UUID_SIZE_BYTES = 16;

export const uuidFromBytes = (bytes: Uint8Array): string => {
  if (bytes.length !== UUID_SIZE_BYTES) throw new RangeError(`a uuid has 16 bytes, not ${bytes.length}`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, UUID_SIZE_BYTES).toString('base64url');
};

export const uuidToBytes = (uuid: string): Buffer => {
  const bytes = Buffer.from(uuid, 'base64url');
  if (bytes.length !== UUID_SIZE_BYTES) throw new RangeError(`not a uuid: ${uuid}`);
  return bytes;
};

/**
 * Elements of all arrays of one message together. A frame of many megabytes may hold one-byte elements that cost a hundred
 * bytes each as objects; no real request comes near this.
 */
export const READER_ELEMENTS_MAX = 1024 * 1024;

const TWO_POW_32 = 0x1_0000_0000;
/** Upper half of the largest and smallest safe integer. */
const SAFE_HIGH_MAX = 0x1f_ffff;
const SAFE_HIGH_MIN = -0x20_0000;
/** Up to here a string is tried as ASCII in JS, which is cheaper than the call into C++. */
const SHORT_STRING_BYTES = 24;

export class Reader {
  #buffer: Buffer;
  /** start <= #position <= #end <= #buffer.length */
  #position: number;
  #end: number;
  #elementsLeft = READER_ELEMENTS_MAX;

  constructor(buffer: Buffer, start = 0, end = buffer.length) {
    if (start < 0 || end > buffer.length || start > end)
      throw new RangeError(`window ${start}-${end} of ${buffer.length}`);
    this.#buffer = buffer;
    this.#position = start;
    this.#end = end;
  }

  /** Points at another message. */
  reset(buffer: Buffer, start = 0, end = buffer.length): this {
    if (start < 0 || end > buffer.length || start > end)
      throw new RangeError(`window ${start}-${end} of ${buffer.length}`);
    this.#buffer = buffer;
    this.#position = start;
    this.#end = end;
    this.#elementsLeft = READER_ELEMENTS_MAX;
    return this;
  }

  /** Offset in the buffer of the next byte. */
  get position(): number {
    return this.#position;
  }

  get end(): number {
    return this.#end;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  /** A message ends where its frame ends. */
  expectEnd(): void {
    if (this.#position !== this.#end) throw new MalformedError(`${this.remaining} bytes after the end of the message`);
  }

  /** Claims `sizeBytes` and returns where they start. */
  #take(sizeBytes: number): number {
    const start = this.#position;
    if (sizeBytes > this.#end - start) {
      throw new MalformedError(`${sizeBytes} bytes needed at ${start}, ${this.#end - start} left`);
    }
    this.#position = start + sizeBytes;
    return start;
  }

  skip(sizeBytes: number): void {
    if (sizeBytes < 0) throw new MalformedError(`negative length ${sizeBytes}`);
    this.#take(sizeBytes);
  }

  boolean(): boolean {
    return this.#buffer[this.#take(1)] !== 0;
  }

  int8(): number {
    return (this.#buffer[this.#take(1)]! << 24) >> 24;
  }

  uint8(): number {
    return this.#buffer[this.#take(1)]!;
  }

  int16(): number {
    const at = this.#take(2);
    return (((this.#buffer[at]! << 8) | this.#buffer[at + 1]!) << 16) >> 16;
  }

  /** The int16 that starts `aheadBytes` after the cursor, which stays where it is. */
  peekInt16(aheadBytes: number): number {
    const start = this.#position;
    this.skip(aheadBytes);
    const value = this.int16();
    this.#position = start;
    return value;
  }

  uint16(): number {
    const at = this.#take(2);
    return (this.#buffer[at]! << 8) | this.#buffer[at + 1]!;
  }

  int32(): number {
    const at = this.#take(4);
    const buffer = this.#buffer;
    return (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  /** Refused outside the safe integers. */
  int64(): number {
    const high = this.int32();
    const low = this.int32() >>> 0;
    const value = high * TWO_POW_32 + low;
    // The smallest value with this upper half, -2^53, is not a safe integer itself.
    if (high > SAFE_HIGH_MAX || high < SAFE_HIGH_MIN || value === -(2 ** 53)) {
      throw new MalformedError(`64-bit integer out of the supported range at ${this.#position - 8}`);
    }
    return value;
  }

  /** Any 64-bit value, for opaque ids. */
  bigint64(): bigint {
    return this.#buffer.readBigInt64BE(this.#take(8));
  }

  float64(): number {
    return this.#buffer.readDoubleBE(this.#take(8));
  }

  /** Unsigned, at most 32 bits. */
  uvarint(): number {
    const first = this.uint8();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    for (let index = 1; index < UVARINT_SIZE_MAX; index++) {
      const byte = this.uint8();
      if (index === 4 && byte > 0x0f) break;
      value |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return value >>> 0;
    }
    throw new MalformedError(`variable-length integer too long at ${this.#position}`);
  }

  /** Zigzag, 32 bits. */
  varint(): number {
    return unzigzag32(this.uvarint());
  }

  /** Zigzag, 64 bits, refused outside the safe integers. */
  varlong(): number {
    const first = this.uint8();
    if (first < 0x80) return unzigzag32(first);
    const negative = (first & 1) === 1;
    // The value without its sign bit is summed in doubles; it stays exact as long as it is safe.
    let magnitude = (first & 0x7e) / 2;
    let factor = 64;
    for (let index = 1; index < 10; index++) {
      const byte = this.uint8();
      magnitude += (byte & 0x7f) * factor;
      factor *= 128;
      if (byte < 0x80) {
        if (magnitude > Number.MAX_SAFE_INTEGER - (negative ? 1 : 0)) break;
        return negative ? -magnitude - 1 : magnitude;
      }
    }
    throw new MalformedError(`variable-length integer out of range at ${this.#position}`);
  }

  uuid(): string {
    const at = this.#take(UUID_SIZE_BYTES);
    return this.#buffer.toString('base64url', at, at + UUID_SIZE_BYTES);
  }

  /** The next `sizeBytes` as UTF-8; bad sequences become U+FFFD, as in Kafka's own decoder. */
  utf8(sizeBytes: number): string {
    const start = this.#take(sizeBytes);
    const end = start + sizeBytes;
    if (sizeBytes <= SHORT_STRING_BYTES) {
      const buffer = this.#buffer;
      let text = '';
      let at = start;
      for (; at < end; at++) {
        const byte = buffer[at]!;
        if (byte >= 0x80) break;
        text += String.fromCharCode(byte);
      }
      if (at === end) return text;
    }
    return this.#buffer.toString('utf8', start, end);
  }

  /** The next `sizeBytes` as a view. */
  view(sizeBytes: number): Buffer {
    if (sizeBytes < 0) throw new MalformedError(`negative length ${sizeBytes}`);
    const start = this.#take(sizeBytes);
    return this.#buffer.subarray(start, start + sizeBytes);
  }

  /** int16 length. */
  string(): string {
    const length = this.int16();
    if (length < 0) throw new MalformedError('null where a string is required');
    return this.utf8(length);
  }

  nullableString(): string | null {
    const length = this.int16();
    if (length < -1) throw new MalformedError(`string of length ${length}`);
    return length === -1 ? null : this.utf8(length);
  }

  /** Length + 1 as an unsigned varint. */
  compactString(): string {
    const length = this.uvarint() - 1;
    if (length < 0) throw new MalformedError('null where a string is required');
    return this.utf8(length);
  }

  compactNullableString(): string | null {
    const length = this.uvarint() - 1;
    return length === -1 ? null : this.utf8(length);
  }

  /** int32 length; a view. */
  bytes(): Buffer {
    return this.view(this.int32());
  }

  nullableBytes(): Buffer | null {
    const length = this.int32();
    return length === -1 ? null : this.view(length);
  }

  compactBytes(): Buffer {
    return this.view(this.uvarint() - 1);
  }

  compactNullableBytes(): Buffer | null {
    const length = this.uvarint() - 1;
    return length === -1 ? null : this.view(length);
  }

  /**
   * Length of an array whose elements take `elementBytesMin` each at least: one that cannot fit into what is left is refused
   * before anything is allocated.
   */
  arrayLength(elementBytesMin: number): number {
    const length = this.int32();
    if (length < 0) throw new MalformedError(`array of length ${length}`);
    return this.#admit(length, elementBytesMin);
  }

  /** -1 is null. */
  nullableArrayLength(elementBytesMin: number): number {
    const length = this.int32();
    if (length < -1) throw new MalformedError(`array of length ${length}`);
    return this.#admit(length, elementBytesMin);
  }

  compactArrayLength(elementBytesMin: number): number {
    const length = this.uvarint() - 1;
    if (length < 0) throw new MalformedError('null where an array is required');
    return this.#admit(length, elementBytesMin);
  }

  /** -1 is null. */
  compactNullableArrayLength(elementBytesMin: number): number {
    return this.#admit(this.uvarint() - 1, elementBytesMin);
  }

  #admit(length: number, elementBytesMin: number): number {
    if (length * elementBytesMin > this.#end - this.#position) {
      throw new MalformedError(`array of ${length} elements in ${this.remaining} bytes`);
    }
    if (length > this.#elementsLeft) throw new MalformedError(`more than ${READER_ELEMENTS_MAX} array elements`);
    if (length > 0) this.#elementsLeft -= length;
    return length;
  }

  /** Size of a tagged field -> where it must end. */
  taggedFieldEnd(): number {
    const size = this.uvarint();
    if (size > this.remaining) throw new MalformedError(`tagged field of ${size} bytes, ${this.remaining} left`);
    return this.#position + size;
  }

  /** The known tagged field that was read must have had the size it said. */
  closeTaggedField(end: number): void {
    if (this.#position !== end) throw new MalformedError(`tagged field ends at ${this.#position} instead of ${end}`);
  }

  skipTo(end: number): void {
    this.#take(end - this.#position);
  }

  /** A section of tagged fields none of which is known. */
  skipTaggedFields(): void {
    for (let left = this.uvarint(); left > 0; left--) {
      this.uvarint();
      this.#take(this.uvarint());
    }
  }
}
