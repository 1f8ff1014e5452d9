/**
 * Variable-length integers as Kafka and Protocol Buffers write them: seven bits a byte, least significant first, the top
 * bit says "more". Signed ones are zigzag-mapped first. 64-bit ones are JS numbers: two's complement is never needed
 * because only safe integers pass.
 */

export const UVARINT_SIZE_MAX = 5;
export const VARLONG_SIZE_MAX = 10;

const TWO_POW_32 = 0x1_0000_0000;

/** Bytes that an unsigned 32-bit value takes. */
export const uvarintSize = (value: number): number => {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
};

/** Writes an unsigned 32-bit value at `position`, returns the position after it. The caller has made room. */
export const writeUvarint = (target: Uint8Array, position: number, value: number): number => {
  let at = position;
  let rest = value >>> 0;
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
};

/** int32 -> uint32 */
export const zigzag32 = (value: number): number => ((value << 1) ^ (value >> 31)) >>> 0;
/** uint32 -> int32 */
export const unzigzag32 = (value: number): number => (value >>> 1) ^ -(value & 1);

/** Bytes that a zigzag-mapped 32-bit value takes. */
export const varintSize = (value: number): number => uvarintSize(zigzag32(value));

/** Writes a zigzag-mapped 32-bit value at `position`, returns the position after it. The caller has made room. */
export const writeVarint = (target: Uint8Array, position: number, value: number): number =>
  writeUvarint(target, position, zigzag32(value));

/**
 * Zigzag of a safe integer needs 54 bits, one more than a double holds: it is kept as two halves, low 32 bits and the
 * rest. -x maps to 2x - 1, and x - 1 is exact.
 */
const zigzagLow = (value: number): number => {
  const half = value < 0 ? -value - 1 : value;
  return (((half % TWO_POW_32) << 1) | (value < 0 ? 1 : 0)) >>> 0;
};
const zigzagHigh = (value: number): number => {
  const half = value < 0 ? -value - 1 : value;
  return Math.floor(half / 0x8000_0000);
};

/** Bytes that a zigzag-mapped safe integer takes. */
export const varlongSize = (value: number): number => {
  const high = zigzagHigh(value);
  if (high === 0) return uvarintSize(zigzagLow(value));
  // 28 bits fill four bytes; what is left is the top four bits of the low half and the high half (at most 22 bits).
  return 4 + uvarintSize(high * 16 + (zigzagLow(value) >>> 28));
};

/** Writes a zigzag-mapped safe integer at `position`, returns the position after it. The caller has made room. */
export const writeVarlong = (target: Uint8Array, position: number, value: number): number => {
  const low = zigzagLow(value);
  const high = zigzagHigh(value);
  if (high === 0) return writeUvarint(target, position, low);
  target[position] = (low & 0x7f) | 0x80;
  target[position + 1] = ((low >>> 7) & 0x7f) | 0x80;
  target[position + 2] = ((low >>> 14) & 0x7f) | 0x80;
  target[position + 3] = ((low >>> 21) & 0x7f) | 0x80;
  return writeUvarint(target, position + 4, high * 16 + (low >>> 28));
};
