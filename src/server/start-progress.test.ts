import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StartProgress } from '../broker/broker-options.ts';
import { declare, open, publish } from '../broker/folding-stand.ts';
import { MemoryDisk } from '../storage/memory-storage.ts';
import { progressPrinter } from './start-progress.ts';

const progress: StartProgress = { shard: 0, what: 'log', done: 35, whole: 100, topics: 12_345 };

test('a quick start prints nothing, a long one a line in a second', () => {
  const lines: string[] = [];
  let nowMs = 0;
  const note = progressPrinter(
    (line) => lines.push(line),
    () => nowMs,
  );
  for (; nowMs < 1000; nowMs += 10) note(progress);
  assert.deepEqual(lines, []);
  for (; nowMs < 3000; nowMs += 10) note(progress);
  assert.deepEqual(lines, Array(2).fill('recovering shard 0: 35 % of the write-ahead log, 12,345 topics and queues'));
});

test('opening tells of all that takes long, and never of more than there is', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  for (let i = 0; i < 300; i++) {
    publish(stand, [queue.log!], 'x'.repeat(1000));
    await stand.broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
  stand.disk.crash(1);
  const openAndClose = async (acceptsDamage: boolean): Promise<StartProgress['what'][]> => {
    const told: StartProgress[] = [];
    const onLoss = acceptsDamage ? (): void => {} : undefined;
    const { broker } = await open(stand.disk, undefined, onLoss, { onProgress: (each) => told.push(each) });
    for (const { what, done, whole } of told) assert.ok(done <= whole, `${what}: ${done} of ${whole}`);
    assert.equal(told.at(-1)!.topics, 1);
    await broker.close();
    return [...new Set(told.map(({ what }) => what))];
  };
  assert.deepEqual(await openAndClose(false), ['verify', 'segments', 'checkpoint', 'log']);
  assert.deepEqual(await openAndClose(true), ['verify', 'salvage', 'segments', 'checkpoint', 'log']);
});
