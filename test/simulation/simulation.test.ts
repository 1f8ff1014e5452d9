// A whole broker in a simulated world: random work and random faults, as many times as there are seeds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomSeed, replayedSeed, seeds } from '../model/dice.ts';
import { simulate } from './simulated-runs.ts';

/** A few with everything else; `npm run test:simulation` asks for more. */
const seedCount = Number(process.env.SIMULATION_SEEDS ?? 300);
/** On a machine that is busy with other things, fewer seeds have to do. */
const minutesMax = 3.5;

test('the promises of the broker hold in a simulated world with faults', async (t) => {
  const [first, ...others] = seeds(seedCount);
  const { seedCount: doneCount, tally } = await simulate(first!, others.length + 1, minutesMax);
  t.diagnostic(`${doneCount} seeds from ${first} on: ${JSON.stringify(tally)}`);
  if (replayedSeed() !== undefined) return;
  for (const [name, count] of Object.entries(tally)) assert.ok(count > 0, `${name} in these runs`);
});

test('a seed has one trace, whatever ran before it', async () => {
  const seed = randomSeed();
  const after = await simulate(seed - 2, 3);
  const alone = await simulate(seed, 1);
  assert.equal(alone.hash, after.hash, `seed ${seed}`);
});
