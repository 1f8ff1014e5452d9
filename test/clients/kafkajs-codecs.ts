// The codecs that kafkajs leaves to its user, as its users register them. gzip is built in.
import { decompress as zstdDecompress } from 'fzstd';
import kafkajs from 'kafkajs';
import { compressFrameSync, decompressFrameSync } from 'lz4-napi';
import { compressSync as snappyCompress, uncompressSync as snappyUncompress } from 'snappy';

const { CompressionCodecs, CompressionTypes } = kafkajs;

interface Encoder {
  readonly buffer: Buffer;
}

// Java and librdkafka frame snappy in the xerial stream format; a bare block is also accepted by every reader.
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const xerialHeaderBytes = 16;

const snappyUncompressKafka = (data: Buffer): Buffer => {
  if (!data.subarray(0, xerialMagic.length).equals(xerialMagic)) return Buffer.from(snappyUncompress(data));
  const blocks: Buffer[] = [];
  for (let position = xerialHeaderBytes; position < data.length; ) {
    const sizeBytes = data.readUInt32BE(position);
    blocks.push(Buffer.from(snappyUncompress(data.subarray(position + 4, position + 4 + sizeBytes))));
    position += 4 + sizeBytes;
  }
  return Buffer.concat(blocks);
};

const zstdMagic = 0xfd2fb528;
const zstdBlockMaxBytes = 128 * 1024;

/** A valid zstd frame of raw blocks (RFC 8878, 3.1.1): Node 20 has no zstd compressor, and a broker cannot tell. */
export const zstdStore = (data: Buffer): Buffer => {
  const header = Buffer.alloc(9);
  header.writeUInt32LE(zstdMagic, 0);
  header.writeUInt8(0b1010_0000, 4); // single segment, content size in 4 bytes, no checksum
  header.writeUInt32LE(data.length, 5);
  const parts: Buffer[] = [header];
  let position = 0;
  do {
    const block = data.subarray(position, position + zstdBlockMaxBytes);
    position += block.length;
    const last = position >= data.length ? 1 : 0;
    const blockHeader = Buffer.alloc(3);
    blockHeader.writeUIntLE((block.length << 3) | last, 0, 3);
    parts.push(blockHeader, block);
  } while (position < data.length);
  return Buffer.concat(parts);
};

export const registerCodecs = (): void => {
  CompressionCodecs[CompressionTypes.Snappy] = () => ({
    compress: async (encoder: Encoder) => Buffer.from(snappyCompress(encoder.buffer)),
    decompress: async (data: Buffer) => snappyUncompressKafka(data),
  });
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder: Encoder) => compressFrameSync(encoder.buffer),
    decompress: async (data: Buffer) => decompressFrameSync(data),
  });
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder: Encoder) => zstdStore(encoder.buffer),
    decompress: async (data: Buffer) => Buffer.from(zstdDecompress(data)),
  });
};

export const kafkajsCodecs = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
} as const;
