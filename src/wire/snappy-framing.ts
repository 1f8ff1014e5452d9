/**
 * Snappy as Java Kafka clients write it: either one raw snappy block, or the stream of xerial's snappy-java: an 16-byte
 * header (0x82 "SNAPPY" 0x00, version, compatible version) and then chunks of u32 length (big endian) and a raw block.
 */
const magic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const headerBytes = 16;

/** The raw snappy blocks of the data, in order. */
export const snappyBlocks = (data: Buffer): Buffer[] => {
  if (data.length < headerBytes || !data.subarray(0, magic.length).equals(magic)) return [data];
  const blocks: Buffer[] = [];
  let at = headerBytes;
  while (at + 4 <= data.length) {
    const length = data.readUInt32BE(at);
    at += 4;
    if (length > data.length - at) throw new RangeError('snappy chunk is longer than the data');
    blocks.push(data.subarray(at, at + length));
    at += length;
  }
  return blocks;
};

/** Length that a raw snappy block says it has when decompressed. */
export const snappyBlockLength = (block: Buffer): number => {
  let length = 0;
  for (let i = 0, shift = 0; i < block.length && i < 5; i++, shift += 7) {
    length += (block[i]! & 0x7f) * 2 ** shift;
    if (block[i]! < 0x80) return length;
  }
  throw new RangeError('snappy block without a length');
};
