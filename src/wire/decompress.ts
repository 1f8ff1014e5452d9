/**
 * Decompression of Kafka batches, in this thread. Only the worker in `decompress-worker.ts` and tests call it. Refuses to
 * produce more than a given number of bytes.
 */
import { createRequire } from 'node:module';
import * as zlib from 'node:zlib';
import { snappyBlockLength, snappyBlocks } from './snappy-framing.ts';

export const compressionCodec = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;

/** Loaded when first needed: most brokers never open a compressed batch. */
const load = createRequire(import.meta.url);

const requireWithin = (length: number, bytesMax: number): void => {
  if (length > bytesMax) throw new RangeError(`decompressed batch is larger than ${bytesMax} bytes`);
};

const unsnappy = (data: Buffer, bytesMax: number): Buffer => {
  const { uncompressSync } = load('snappy') as typeof import('snappy');
  const blocks = snappyBlocks(data);
  requireWithin(
    blocks.reduce((sum, block) => sum + snappyBlockLength(block), 0),
    bytesMax,
  );
  return Buffer.concat(blocks.map((block) => uncompressSync(block, { asBuffer: true }) as Buffer));
};

const unlz4 = (data: Buffer, bytesMax: number): Buffer => {
  const { decompressFrameSync } = load('lz4-napi') as typeof import('lz4-napi');
  const result = decompressFrameSync(data);
  requireWithin(result.length, bytesMax);
  return result;
};

const unzstd = (data: Buffer, bytesMax: number): Buffer => {
  const native = (zlib as { zstdDecompressSync?: (data: Buffer, options: { maxOutputLength: number }) => Buffer })
    .zstdDecompressSync;
  if (native !== undefined) return native(data, { maxOutputLength: bytesMax });
  const { Decompress } = load('fzstd') as typeof import('fzstd');
  const pieces: Buffer[] = [];
  let length = 0;
  const stream = new Decompress((piece) => {
    length += piece.length;
    requireWithin(length, bytesMax);
    pieces.push(Buffer.from(piece));
  });
  stream.push(data, true);
  return Buffer.concat(pieces);
};

/** @throws RangeError or the codec's own error when the data is damaged or too large */
export const decompress = (codec: number, data: Buffer, bytesMax: number): Buffer => {
  switch (codec) {
    case compressionCodec.none:
      return data;
    case compressionCodec.gzip:
      return zlib.gunzipSync(data, { maxOutputLength: bytesMax });
    case compressionCodec.snappy:
      return unsnappy(data, bytesMax);
    case compressionCodec.lz4:
      return unlz4(data, bytesMax);
    case compressionCodec.zstd:
      return unzstd(data, bytesMax);
    default:
      throw new RangeError(`unknown compression ${codec}`);
  }
};
