/** Segments whose every byte follows from a seed, for the tests of segment files. */
import assert from 'node:assert/strict';
import type { Position } from '../../core/ids.ts';
import type { Storage } from '../../storage/storage.ts';
import type { AdoptedSegment, Chunk } from '../shard-log.ts';
import { parseSegmentFileName, segmentPageBytes } from './segment-file.ts';
import { SegmentFiles } from './segment-files.ts';

export const testReadAheadBytes = 2 * segmentPageBytes;
export const testSmallBytes = 1000;

export const testData = (seed: number, lengthBytes: number): Buffer => {
  const data = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at++) data[at] = (seed * 37 + at * 7 + (at >>> 8) * 13) & 0xff;
  return data;
};

export const testIndex = (seed: number): Buffer => Buffer.from(`index of segment ${seed}`.repeat(1 + (seed % 5)));

export const openSegments = async (storage: Storage): Promise<SegmentFiles> => {
  const files = new SegmentFiles({ storage, readAheadBytes: testReadAheadBytes, smallBytes: testSmallBytes });
  await files.open();
  return files;
};

/** Writes a segment in three pieces, which fit no page, and returns its id. */
export const writeSegment = async (files: SegmentFiles, seed: number, lengthBytes: number): Promise<number> => {
  const data = testData(seed, lengthBytes);
  const writer = await files.create();
  const cuts = [0, Math.floor(lengthBytes / 7), Math.floor(lengthBytes / 2), lengthBytes];
  for (let index = 1; index < cuts.length; index++) await writer.append(data, cuts[index - 1]!, cuts[index]!);
  assert.equal(writer.sizeBytes, lengthBytes);
  return writer.finish(testIndex(seed), 0);
};

export const assertChunk = (chunk: Chunk, position: number, expected: Buffer): void => {
  const start = position - chunk.basePosition;
  assert.ok(start >= 0);
  assert.ok(chunk.buffer.subarray(start, start + expected.length).equals(expected), `bytes at ${position} differ`);
};

/** Reads all of an adopted segment, a stretch of about `stepBytes` after the other. */
export const assertSegment = async (
  files: SegmentFiles,
  { basePosition, index }: AdoptedSegment,
  data: Buffer,
  { seed, stepBytes = 10_007 }: { readonly seed: number; readonly stepBytes?: number },
): Promise<void> => {
  assert.ok(index.equals(testIndex(seed)));
  for (let at = 0; at < data.length; at += stepBytes) {
    const position = (basePosition + at) as Position;
    const expected = data.subarray(at, at + stepBytes);
    assertChunk(await files.load(position, expected.length), position, expected);
    assertChunk(files.find(position, expected.length)!, position, expected);
  }
};

/** Names of all segment files, unfinished ones too. */
export const segmentNames = async (storage: Storage): Promise<string[]> =>
  (await storage.list()).filter((name) => parseSegmentFileName(name) !== undefined).sort();
