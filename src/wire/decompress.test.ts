/** Every codec gives back what went in; damaged data and data that is too large when decompressed are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { compressFrameSync } from 'lz4-napi';
import { compressSync } from 'snappy';
import { compressionCodec, decompress } from './decompress.ts';

const text = Buffer.from('the same words again and again, '.repeat(20_000));
const bytesMax = 16 * 1024 * 1024;

const xerial = (blocks: Buffer[]): Buffer => {
  const header = Buffer.from('82534e41505059000000000100000001', 'hex');
  return Buffer.concat([
    header,
    ...blocks.flatMap((block) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(block.length);
      return [length, block];
    }),
  ]);
};

/** One zstd frame with a single run-length block: `count` times the byte. */
const zstdRun = (byte: number, count: number): Buffer => {
  const blockHeader = (count << 3) | (1 << 1) | 1;
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x80, 0, 0x00, 0, 0, 0, 0, 0, 0, byte]);
  // Descriptor 0x80: content size of 4 bytes, a window descriptor follows.
  frame[5] = 0x50;
  frame.writeUInt32LE(count, 6);
  frame.writeUIntLE(blockHeader, 10, 3);
  return frame;
};

const samples: readonly [name: string, codec: number, data: Buffer, expected: Buffer][] = [
  ['none', compressionCodec.none, text, text],
  ['gzip', compressionCodec.gzip, gzipSync(text), text],
  ['snappy, raw', compressionCodec.snappy, compressSync(text), text],
  [
    'snappy, chunked',
    compressionCodec.snappy,
    xerial([compressSync(text), compressSync('end')]),
    Buffer.concat([text, Buffer.from('end')]),
  ],
  ['lz4', compressionCodec.lz4, compressFrameSync(text), text],
  ['zstd', compressionCodec.zstd, zstdRun(7, 100_000), Buffer.alloc(100_000, 7)],
];

for (const [name, codec, data, expected] of samples) {
  test(`${name}: decompresses`, async () => {
    assert.ok((await decompress(codec, data, bytesMax)).equals(expected));
  });
  if (codec === compressionCodec.none) continue;
  test(`${name}: more bytes than allowed are refused`, async () => {
    await assert.rejects(decompress(codec, data, 30_000));
  });
  test(`${name}: data that ends early is refused`, async () => {
    await assert.rejects(decompress(codec, data.subarray(0, data.length - 3), bytesMax));
  });
}

test('an unknown codec is refused', async () => {
  await assert.rejects(decompress(9, text, bytesMax), /unknown compression 9/);
});

test('LZ4 that would grow far beyond the limit is refused before it grows', async () => {
  const bomb = compressFrameSync(Buffer.alloc(64 * 1024 * 1024));
  await assert.rejects(decompress(compressionCodec.lz4, bomb, 1024 * 1024), /larger than 1048576 bytes/);
});
