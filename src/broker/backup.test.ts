// The files that a broker names for a backup, copied while it works on, are a log of their own: all up to one point, nothing behind it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspectLog } from '../shard/local/inspect-log.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { BrokerBackup } from './broker-options.ts';
import { collect, declare, kib, open, produce, publish, type Stand } from './folding-stand.ts';

const bodyOf = (offset: number): string => `message ${offset} `.padEnd(kib, String(offset % 10));

/** Publishes `count` messages, each when the one before is confirmed, and keeps the queue 'ballast' turning over. */
const work = async (stand: Stand, from: number, count: number): Promise<void> => {
  const { broker } = stand;
  const host = broker.vhost('/')!;
  const queue = host.queue('work')!;
  const ballast = host.queue('ballast') ?? declare(broker, 'ballast');
  const topic = host.topic('events')!;
  for (let offset = from; offset < from + count; offset++) {
    publish(stand, [queue.log!], bodyOf(offset));
    produce(topic.partitions[0]!, [`record ${offset}`]);
    publish(stand, [ballast.log!], 'x'.repeat(2 * kib));
    if (offset % 8 === 0) host.purgeQueue(ballast);
    await broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
};

/** Copies what the plan names, with some work between any two files. */
const copy = async (
  source: MemoryDisk,
  { shards }: BrokerBackup,
  between: () => Promise<void>,
): Promise<MemoryDisk> => {
  const disk = new MemoryDisk();
  for (const [index, files] of shards.entries()) {
    const from = await new MemoryStorage(source).subdirectory(`shard-${index}`);
    const to = await new MemoryStorage(disk).subdirectory(`shard-${index}`);
    for (const { name, sizeBytes } of files) {
      await between();
      const bytes = Buffer.alloc(sizeBytes);
      const file = await from.open(name, { create: false, durable: false });
      assert.equal(await file.read(bytes, 0, sizeBytes, 0), sizeBytes, name);
      const copied = await to.open(name, { create: true, durable: false });
      await new Promise((resolve) => copied.write(bytes, 0, sizeBytes, 0, resolve));
    }
  }
  return disk;
};

test('a copy made under load has what was confirmed before it began, and nothing of what came later', async () => {
  const stand = await open(new MemoryDisk());
  const { broker } = stand;
  const queue = declare(broker, 'work');
  broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() });
  await work(stand, 0, 300);
  const consumed = (await collect(queue, 40, true)).length;
  // What is in the same turn as the beginning is in the copy, confirmed or not; what follows in that turn is not.
  publish(stand, [queue.log!], bodyOf(300));
  const beginning = broker.beginBackup();
  publish(stand, [queue.log!], 'too late');
  const backup = await beginning;
  let next = 302;
  const disk = await copy(stand.disk, backup, async () => {
    await work(stand, next, 25);
    next += 25;
  });
  await backup.release();
  const names = async (): Promise<string[]> =>
    (await (await new MemoryStorage(stand.disk).subdirectory('shard-0')).list()).filter((name) => /^wal/.test(name));
  const during = (await names()).length;
  await work(stand, next, 100);
  assert.ok((await names()).length <= during, 'files that were held back are given back');
  await broker.close();

  for await (const item of inspectLog(await new MemoryStorage(disk).subdirectory('shard-0'))) {
    assert.ok(item.kind !== 'damage' && item.kind !== 'unknown', JSON.stringify(item));
  }
  const copied = await open(disk);
  const host = copied.broker.vhost('/')!;
  const found = host.queue('work')!;
  assert.equal(found.messageCount, 301 - consumed);
  const received = await collect(found, 301 - consumed, true);
  assert.deepEqual(
    received.map(({ offset, body }) => [offset, body]),
    Array.from({ length: 301 - consumed }, (_, i) => [consumed + i, bodyOf(consumed + i)]),
  );
  assert.equal(host.topic('events')!.partitions[0]!.endOffset, 300);
  // It is a log like any other: it rolls, folds and opens again.
  await work(copied, 301, 200);
  await copied.broker.close();
  const again = await open(disk);
  assert.equal(again.broker.vhost('/')!.queue('work')!.messageCount, 200);
  await again.broker.close();
});
