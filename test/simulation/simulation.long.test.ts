// The simulation of a whole broker, 100,000 times or for most of an hour.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeds } from '../model/dice.ts';
import { simulate } from './simulated-runs.ts';

const seedCount = 100_000;
const minutesMax = 55;

test('the promises of the broker hold in a simulated world with faults, for long', {
  timeout: 3_600_000,
}, async (t) => {
  const [first, ...others] = seeds(seedCount);
  const { seedCount: doneCount, tally } = await simulate(first!, others.length + 1, minutesMax);
  t.diagnostic(`${doneCount} seeds from ${first} on: ${JSON.stringify(tally)}`);
  assert.ok(doneCount > 0);
});
