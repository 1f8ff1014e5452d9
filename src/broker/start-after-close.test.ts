// After a clean shutdown a start looks at no segment, and at the log only behind the checkpoint; also if a crash followed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { readFiles } from './damaged-files.ts';
import { collect, declare, kib, open, publish, type Stand } from './folding-stand.ts';

const bodyOf = (offset: number): string => `message ${offset} `.padEnd(kib, String(offset % 10));

const publishUpTo = async (stand: Stand, from: number, to: number): Promise<void> => {
  const queue = stand.broker.vhost('/')!.queue('work')!;
  for (let offset = from; offset < to; offset++) {
    publish(stand, [queue.log!], bodyOf(offset));
    await stand.broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
};

interface Opened {
  readonly stand: Stand;
  readonly faulty: FaultyStorage;
  /** Segments whose files were opened. */
  readonly segments: ReadonlySet<string>;
  /** How often the log was read. */
  readonly logReads: number;
}

const openTraced = async (disk: MemoryDisk): Promise<Opened> => {
  let faulty!: FaultyStorage;
  const stand = await open(disk, (storage): Storage => {
    faulty = new FaultyStorage(storage);
    return faulty;
  });
  const segments = faulty.trace.filter((each) => each.startsWith('open segment-')).map((each) => each.slice(5));
  return {
    stand,
    faulty,
    segments: new Set(segments),
    logReads: faulty.trace.filter((each) => each.startsWith('read wal-')).length,
  };
};

const segmentsOf = async (disk: MemoryDisk): Promise<string[]> =>
  [...(await readFiles(disk)).keys()].filter((name) => name.startsWith('segment-'));

const assertAllThere = async ({ broker }: Stand, count: number): Promise<void> => {
  const queue = broker.vhost('/')!.queue('work')!;
  const received = await collect(queue, count, true);
  assert.deepEqual(
    received.map(({ offset, body }) => [offset, body]),
    Array.from({ length: count }, (_, offset) => [offset, bodyOf(offset)]),
  );
};

test('no segment is looked at, nor what the checkpoint covers of the log; then all is served', async () => {
  const [closed, crashed] = [await open(new MemoryDisk()), await open(new MemoryDisk())];
  for (const stand of [closed, crashed]) {
    declare(stand.broker, 'work');
    await publishUpTo(stand, 0, 400);
  }
  await closed.broker.close();
  crashed.disk.crash(1);
  const afterCrash = await openTraced(crashed.disk);
  await afterCrash.stand.broker.close();
  assert.ok(afterCrash.segments.size > 0, 'there are segments');
  const afterClose = await openTraced(closed.disk);
  assert.equal(afterClose.segments.size, 0);
  assert.ok(afterClose.logReads < afterCrash.logReads, `${afterClose.logReads} and ${afterCrash.logReads} reads`);
  await assertAllThere(afterClose.stand, 400);
  await afterClose.stand.broker.close();
});

test('after a crash that follows, only segments made since are looked at', async () => {
  const first = await open(new MemoryDisk());
  declare(first.broker, 'work');
  await publishUpTo(first, 0, 300);
  await first.broker.close();
  const told = await segmentsOf(first.disk);
  const { stand, faulty } = await openTraced(first.disk);
  // The checkpoint at close stays the newest.
  faulty.inject({ operation: 'open', name: /^checkpoint/, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  await publishUpTo(stand, 300, 420);
  stand.disk.crash(1);
  const made = (await segmentsOf(stand.disk)).filter((name) => !told.includes(name));
  assert.ok(made.length > 0, 'a fold has made one');
  const again = await openTraced(stand.disk);
  assert.deepEqual([...again.segments].sort(), made);
  await assertAllThere(again.stand, 420);
  await again.stand.broker.close();
});
