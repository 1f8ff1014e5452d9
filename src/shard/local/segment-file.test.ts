/** The stored form of a segment is what its description says, and other forms are told apart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import { crc32c } from '../../wire/crc32c.ts';
import { writeAll } from './prepare-file.ts';
import { parseSegmentFileName, readSegmentFile, segmentFileName, segmentPageBytes } from './segment-file.ts';
import { openSegments, testData, testIndex, writeSegment } from './segment-test-data.ts';

const dataBytes = 2 * segmentPageBytes + 100;

const storedSegment = async (): Promise<{ storage: MemoryStorage; bytes: Buffer }> => {
  const storage = new MemoryStorage();
  const files = await openSegments(storage);
  assert.equal(await writeSegment(files, 3, dataBytes), 1);
  await files.close();
  const file = await storage.open(segmentFileName(1), { create: false, durable: false });
  const bytes = Buffer.alloc(await file.sizeBytes());
  await file.read(bytes, 0, bytes.length, 0);
  return { storage, bytes };
};

test('data, index, page table and footer lie as described', async () => {
  const { bytes } = await storedSegment();
  const data = testData(3, dataBytes);
  const index = testIndex(3);
  assert.ok(bytes.subarray(0, dataBytes).equals(data));
  assert.ok(bytes.subarray(dataBytes, dataBytes + index.length).equals(index));
  const pageTable = bytes.subarray(dataBytes + index.length, bytes.length - 64);
  assert.deepEqual(
    [0, 4, 8].map((at) => pageTable.readUInt32LE(at)),
    [
      crc32c(data, 0, segmentPageBytes),
      crc32c(data, segmentPageBytes, 2 * segmentPageBytes),
      crc32c(data, 2 * segmentPageBytes, dataBytes),
    ],
  );
  assert.equal(pageTable.length, 12);
  const footer = bytes.subarray(bytes.length - 64);
  assert.equal(footer.toString('latin1', 0, 6), 'RMQSEG');
  assert.equal(footer.readUInt16LE(6), 1);
  assert.equal(footer.readUInt32LE(8), crc32c(Buffer.concat([footer.subarray(0, 8), footer.subarray(12)]), 0, 60));
  assert.equal(footer.readUInt32LE(12), 32 * 1024);
  assert.equal(footer.readBigUInt64LE(16), 1n);
  assert.equal(footer.readBigUInt64LE(24), BigInt(dataBytes));
  assert.equal(footer.readUInt32LE(32), index.length);
  assert.equal(footer.readUInt32LE(36), crc32c(index, 0, index.length));
  assert.equal(footer.readUInt32LE(40), crc32c(pageTable, 0, pageTable.length));
  assert.ok(footer.subarray(44).equals(Buffer.alloc(20)));
});

test('another format version or page size is unsupported, not damage', async () => {
  const cases = [
    { at: 6, value: 2, message: /^segment-000000000001 has format 2; this version reads 1$/ },
    { at: 12, value: 4096, message: /^segment-000000000001 has pages of 4096 B; this version reads 32768$/ },
  ];
  for (const { at, value, message } of cases) {
    const { storage, bytes } = await storedSegment();
    const footer = Buffer.from(bytes.subarray(bytes.length - 64));
    footer.writeUInt16LE(value, at);
    footer.writeUInt32LE(crc32c(Buffer.concat([footer.subarray(0, 8), footer.subarray(12)]), 0, 60), 8);
    const file = await storage.open(segmentFileName(1), { create: false, durable: false });
    await writeAll(file, footer, footer.length, bytes.length - footer.length);
    await assert.rejects(readSegmentFile(storage, 1), { kind: 'unsupported', message });
    const files = await openSegments(storage);
    assert.throws(() => files.adopt(1, 0), { kind: 'unsupported', message });
  }
});

test('names', () => {
  assert.equal(segmentFileName(42), 'segment-000000000042');
  assert.deepEqual(parseSegmentFileName('segment-000000000042'), { id: 42, isFinished: true });
  assert.deepEqual(parseSegmentFileName('segment-000000000042.tmp'), { id: 42, isFinished: false });
  for (const name of [
    'segment-42',
    'segment-000000000042.tmp.tmp',
    'wal-000000000042',
    'checkpoint-000000000001.tmp',
  ]) {
    assert.equal(parseSegmentFileName(name), undefined);
  }
});
