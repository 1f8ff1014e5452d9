import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openBroker } from '../broker/broker.ts';
import type { StartProgress } from '../broker/broker-options.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { progressPrinter } from './start-progress.ts';

const progress: StartProgress = { shard: 0, what: 'log', doneBytes: 35, wholeBytes: 100, topics: 12_345 };

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

test('opening tells of the checkpoint and of the log, and never of more than there is', async () => {
  const storage = new MemoryStorage(new MemoryDisk());
  const first = await openBroker({ storage, durability: 'sync' });
  for (let i = 0; i < 20; i++)
    first.createTopic({ vhost: '/', name: `t${i}`, partitions: 1, config: new Map([['x', 'y'.repeat(200_000)]]) });
  await first.close();
  const told: StartProgress[] = [];
  const broker = await openBroker({ storage, durability: 'sync', onProgress: (each) => told.push(each) });
  for (const { doneBytes, wholeBytes } of told) assert.ok(doneBytes <= wholeBytes, `${doneBytes} of ${wholeBytes}`);
  assert.deepEqual([...new Set(told.map(({ what }) => what))], ['checkpoint', 'log']);
  assert.equal(told.at(-1)!.topics, 20);
  await broker.close();
});
