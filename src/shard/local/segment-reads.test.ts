/** Page tables are read again when they are needed again, and checked again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import { PageTables } from './page-tables.ts';
import { segmentFileName, segmentPageBytes } from './segment-file.ts';
import { SegmentReads } from './segment-reads.ts';
import { assertChunk, openSegments, testData, testReadAheadBytes, writeSegment } from './segment-test-data.ts';
import { pageTableBytesMax } from './wal-limits.ts';

test('a segment whose page table is not in memory is read, and not if that is damaged', async () => {
  const storage = new MemoryStorage();
  const files = await openSegments(storage);
  const dataBytes = 3 * segmentPageBytes + 5;
  const id = await writeSegment(files, 1, dataBytes);
  await files.close();
  const segment = { id, basePosition: 2 ** 51, dataBytes, isReclaimed: false };
  const position = segment.basePosition + 70_000;
  const reads = new SegmentReads(storage, testReadAheadBytes);
  assertChunk(await reads.load(segment, position, 100), position, testData(1, dataBytes).subarray(70_000, 70_100));
  await reads.forget(segment, segment.basePosition + 2 ** 31);
  const file = await storage.open(segmentFileName(id), { create: false, durable: false });
  const tableAt = (await file.sizeBytes()) - 64 - 4;
  await new Promise((resolve) => file.write(Buffer.from([1, 2, 3, 4]), 0, 4, tableAt, resolve));
  await file.close();
  await assert.rejects(reads.load(segment, position, 100), { kind: 'corrupt', message: /the page table/ });
  await reads.close();
});

test('page tables take no more memory than they may, and the last used stay', () => {
  const tables = new PageTables();
  const table = Buffer.alloc(pageTableBytesMax / 4);
  for (let id = 0; id < 4; id++) tables.keep(id, table);
  assert.equal(tables.get(0), table);
  tables.keep(4, table);
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((id) => tables.get(id) !== undefined),
    [true, false, true, true, true],
  );
});
