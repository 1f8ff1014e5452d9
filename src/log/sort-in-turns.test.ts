import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sortInTurns } from './sort-in-turns.ts';

test('numbers are sorted, however many and wherever they are', async () => {
  const limit = 2 ** 53;
  for (const spread of [limit, 1000]) {
    for (const count of [0, 1, 4096, 30_000]) {
      const numbers = Float64Array.from({ length: count }, (_, i) => Math.floor(((i * 0.618_033_988_7) % 1) * spread));
      assert.deepEqual(await sortInTurns(numbers, limit), numbers.toSorted());
    }
  }
  assert.deepEqual([...(await sortInTurns(Float64Array.of(limit - 1, 0), limit))], [0, limit - 1]);
});
