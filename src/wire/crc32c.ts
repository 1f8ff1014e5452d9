/**
 * CRC-32C (Castagnoli), the checksum of Kafka's record batches and of our own files.
 *
 * Two implementations with one result: the native one (SSE 4.2, some 20 times faster) for ranges worth a call out of
 * JavaScript, and slicing-by-8 for short ranges and for platforms without a prebuilt binary. Rejected: the native one
 * alone, because a call costs as much as 200 bytes of slicing and an install without binaries must still work.
 */
import { createRequire } from 'node:module';

type NativeCrc32c = (input: Buffer, initialState?: number) => number;

/** Below this length the call into native code costs more than it saves. */
const nativeBytesMin = 256;

const loadNative = (): NativeCrc32c | undefined => {
  try {
    const loaded = createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: NativeCrc32c };
    return typeof loaded.crc32c === 'function' ? loaded.crc32c : undefined;
  } catch {
    return undefined;
  }
};

const native = loadNative();

const buildTables = (): Uint32Array => {
  const reversedPolynomial = 0x82f63b78;
  const tables = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ reversedPolynomial : value >>> 1;
    tables[byte] = value;
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let table = 1; table < 8; table++) {
      const previous = tables[(table - 1) * 256 + byte]!;
      tables[table * 256 + byte] = (previous >>> 8) ^ tables[previous & 0xff]!;
    }
  }
  return tables;
};

const tables = buildTables();

/** The implementation in plain JavaScript; exported for the cross-check in the tests. */
export const crc32cPortable = (buffer: Buffer, start: number, end: number, seed = 0): number => {
  let crc = ~seed;
  let index = start;
  const alignedEnd = end - ((end - start) & 7);
  while (index < alignedEnd) {
    const low =
      crc ^ (buffer[index]! | (buffer[index + 1]! << 8) | (buffer[index + 2]! << 16) | (buffer[index + 3]! << 24));
    crc =
      tables[1792 + (low & 0xff)]! ^
      tables[1536 + ((low >>> 8) & 0xff)]! ^
      tables[1280 + ((low >>> 16) & 0xff)]! ^
      tables[1024 + (low >>> 24)]! ^
      tables[768 + buffer[index + 4]!]! ^
      tables[512 + buffer[index + 5]!]! ^
      tables[256 + buffer[index + 6]!]! ^
      tables[buffer[index + 7]!]!;
    index += 8;
  }
  while (index < end) crc = (crc >>> 8) ^ tables[(crc ^ buffer[index++]!) & 0xff]!;
  return ~crc >>> 0;
};

/** True if the native implementation was found. */
export const crc32cIsNative = native !== undefined;

/**
 * CRC-32C of buffer[start, end), unsigned. `seed` is the result for the bytes before, so that
 * crc32c(b, m, e, crc32c(b, s, m)) equals crc32c(b, s, e).
 */
export const crc32c = (buffer: Buffer, start: number, end: number, seed = 0): number =>
  native !== undefined && end - start >= nativeBytesMin
    ? native(buffer.subarray(start, end), seed)
    : crc32cPortable(buffer, start, end, seed);
