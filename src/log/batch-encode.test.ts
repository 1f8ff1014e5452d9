import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeBatch } from './batch-encode.ts';
import { batchBytes, batchChecksumHolds, batchLastOffsetDelta, batchMagic, batchProducerId } from './batch-header.ts';
import { batchPayload, decodeBatchRecords } from './batch-records.ts';

const bytes = fc.option(fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)));
const record = fc.record({
  key: bytes,
  value: bytes,
  headers: fc.array(fc.record({ name: fc.string(), value: bytes }), { maxLength: 4 }),
  timestampMs: fc.integer({ min: 0, max: 4_000_000_000_000 }),
});

test('an encoded batch decodes to the same records', () => {
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 50 }), (records) => {
      const batch = encodeBatch(records);
      assert.equal(batchBytes(batch, 0), batch.length);
      assert.equal(batchMagic(batch, 0), 2);
      assert.equal(batchProducerId(batch, 0), -1);
      assert.equal(batchLastOffsetDelta(batch, 0), records.length - 1);
      assert.ok(batchChecksumHolds(batch, 0));
      const decoded = decodeBatchRecords(batch, 0, batchPayload(batch, 0));
      assert.deepEqual(
        decoded.map(({ offsetDelta: _, ...rest }) => rest),
        records.map((one) => ({ ...one, headers: one.headers.map(({ name, value }) => ({ name, value })) })),
      );
    }),
  );
});

test('a batch of very many records is not taken apart', () => {
  const batch = encodeBatch([{ key: null, value: null, headers: [], timestampMs: 0 }]);
  batch.writeInt32BE(1_000_001, 57);
  assert.throws(() => decodeBatchRecords(batch, 0, batchPayload(batch, 0)), /1000001 records in one batch/);
});
