/**
 * Decompression of Kafka batches, off the event loop: gzip, snappy and lz4 in the pool of native threads; zstd there too
 * where Node has it (from 22.15), else in slices between which the loop has its turn. Refuses to produce more than a given
 * number of bytes.
 */
import { createRequire } from 'node:module';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { lz4FrameBytes } from './lz4-framing.ts';
import { snappyBlockLength, snappyBlocks } from './snappy-framing.ts';

export const compressionCodec = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;

/** Compressed bytes that are decompressed between two turns of the event loop. */
const sliceBytes = 32 * 1024;

/** Loaded when first needed: most brokers never open a compressed batch. */
const load = createRequire(import.meta.url);

type ZlibCall = (data: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;
const gunzip = promisify(zlib.gunzip) as ZlibCall;
const { zstdDecompress } = zlib as { zstdDecompress?: (...args: unknown[]) => void };
const nativeUnzstd = zstdDecompress && (promisify(zstdDecompress) as ZlibCall);

const requireWithin = (length: number, bytesMax: number): void => {
  if (length > bytesMax) throw new RangeError(`decompressed batch is larger than ${bytesMax} bytes`);
};

const unsnappy = async (data: Buffer, bytesMax: number): Promise<Buffer> => {
  const { uncompress } = load('snappy') as typeof import('snappy');
  const blocks = snappyBlocks(data);
  requireWithin(
    blocks.reduce((sum, block) => sum + snappyBlockLength(block), 0),
    bytesMax,
  );
  const pieces: Buffer[] = [];
  for (const block of blocks) pieces.push((await uncompress(block, { asBuffer: true })) as Buffer);
  return Buffer.concat(pieces);
};

const unlz4 = async (data: Buffer, bytesMax: number): Promise<Buffer> => {
  requireWithin(lz4FrameBytes(data), bytesMax);
  const { decompressFrame } = load('lz4-napi') as typeof import('lz4-napi');
  const result = await decompressFrame(data);
  requireWithin(result.length, bytesMax);
  return result;
};

const unzstd = async (data: Buffer, bytesMax: number): Promise<Buffer> => {
  if (nativeUnzstd !== undefined) return nativeUnzstd(data, { maxOutputLength: bytesMax });
  const { Decompress } = load('fzstd') as typeof import('fzstd');
  const pieces: Buffer[] = [];
  let length = 0;
  const stream = new Decompress((piece) => {
    length += piece.length;
    requireWithin(length, bytesMax);
    pieces.push(Buffer.from(piece));
  });
  for (let at = 0; at < data.length; at += sliceBytes) {
    if (at > 0) await nextTurn();
    stream.push(data.subarray(at, at + sliceBytes), at + sliceBytes >= data.length);
  }
  return Buffer.concat(pieces);
};

/** `data` must not change until this is done. Rejects with a RangeError or the codec's own when it is damaged or too large. */
export const decompress = async (codec: number, data: Buffer, bytesMax: number): Promise<Buffer> => {
  switch (codec) {
    case compressionCodec.none:
      return data;
    case compressionCodec.gzip:
      return gunzip(data, { maxOutputLength: bytesMax });
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
