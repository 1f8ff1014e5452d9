import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PieceReader, PieceWriter } from './piece.ts';

const counts = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31 - 1, 2 ** 32, 2 ** 51 + 3, Number.MAX_SAFE_INTEGER];
const differences = [0, 1, -1, 63, 64, -64, -65, 2 ** 40, -(2 ** 40), 2 ** 52 - 1, -(2 ** 52)];

test('numbers come back as they were, however many there are', () => {
  const out = new PieceWriter();
  for (let round = 0; round < 1000; round++) {
    for (const value of counts) out.count(value);
    for (const value of differences) out.difference(value);
    out.u32(round);
  }
  const reader = new PieceReader(out.take(), 0);
  for (let round = 0; round < 1000; round++) {
    for (const value of counts) assert.equal(reader.count(), value);
    for (const value of differences) assert.equal(reader.difference(), value);
    assert.equal(reader.u32(), round);
  }
  assert.ok(reader.isAtEnd);
});
