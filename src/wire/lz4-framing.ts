/** The LZ4 frame format (its specification 1.6.2), as far as it is needed to know what a frame may decompress to. */

const magic = 0x184d2204;
const descriptorAt = 4;
const flag = { blockChecksum: 0x10, contentSize: 0x08, dictionaryId: 0x01 } as const;
const rawBlockBit = 0x80000000;

/**
 * The most bytes that the frame's blocks hold: a raw block its own size, a compressed one the frame's block size, except
 * the last, which may be nearly empty and counts as such. So it is at most one block too small.
 */
export const lz4FrameBytes = (data: Buffer): number => {
  if (data.length < 7 || data.readUInt32LE(0) !== magic) throw new RangeError('not an LZ4 frame');
  const flags = data[descriptorAt]!;
  const blockBytesMax = 2 ** (8 + 2 * ((data[descriptorAt + 1]! >> 4) & 7));
  let at = descriptorAt + 3;
  if (flags & flag.contentSize) at += 8;
  if (flags & flag.dictionaryId) at += 4;
  const checksumBytes = flags & flag.blockChecksum ? 4 : 0;
  let bytes = 0;
  let lastBytes = 0;
  while (at + 4 <= data.length) {
    const size = data.readUInt32LE(at);
    if (size === 0) return bytes;
    const isRaw = size >= rawBlockBit;
    const storedBytes = isRaw ? size - rawBlockBit : size;
    bytes += lastBytes + (isRaw ? storedBytes : 0);
    lastBytes = isRaw ? 0 : blockBytesMax;
    at += 4 + storedBytes + checksumBytes;
  }
  throw new RangeError('LZ4 frame without an end');
};
