// A file of the log that is folded is much larger than what of it is in memory at a time: small logs take several passes over it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { collect, declare, foldingLimits, isFolded, kib, open, produce, publish, type Stand } from './folding-stand.ts';
import type { Queue } from './queues/queue.ts';

const queueCount = 12;
const rounds = 20;
/** All of it is in the first file, which has sequence 1. */
const workEnd = 2 * foldingLimits.walFileBytes - 4 * kib;
const piecesOfFile = foldingLimits.walFileBytes / foldingLimits.readAheadBytes;
const firstFile = 'wal-000000000001';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const fillUntil = async (stand: Stand, condition: () => boolean): Promise<void> => {
  const ballast = stand.broker.vhost('/')!.queue('ballast') ?? declare(stand.broker, 'ballast');
  for (let round = 0; !condition(); round++) {
    assert.ok(round < 2_000, 'what was waited for comes');
    publish(stand, [ballast.log!], 'x'.repeat(2 * kib));
    await stand.broker.gate.durableNow();
    await turn();
  }
};

interface Work {
  readonly queues: readonly Queue[];
  /** Bodies of the messages of each queue that are not settled, by offset. */
  readonly bodies: readonly Map<number, string>[];
  readonly topic: Log;
  readonly values: string[];
}

/** Several commits in each of which several queues have something, alone and together, and a topic; a part is settled. */
const work = async (stand: Stand): Promise<Work> => {
  const { broker } = stand;
  const queues = Array.from({ length: queueCount }, (_, i) => declare(broker, `queue ${i}`));
  const bodies = queues.map(() => new Map<number, string>());
  const topic = broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions[0]!;
  const values: string[] = [];
  const send = (targets: readonly number[], body: string): void => {
    for (const target of targets) bodies[target]!.set(queues[target]!.log!.endOffset, body);
    publish(
      stand,
      targets.map((target) => queues[target]!.log!),
      body,
    );
  };
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < queueCount; i++) send([(i * 5) % queueCount], `${round} for ${i} `.padEnd(100, 'a'));
    send([7, 1, 10], `${round} for three `.padEnd(80, 'b'));
    values.push(`record ${round}`);
    produce(topic, [values.at(-1)!]);
    await broker.gate.durableNow();
  }
  for (const [i, queue] of queues.entries()) await settleSome(stand, queue, bodies[i]!);
  const { endPosition } = broker.shards[0]!.log;
  assert.ok(endPosition < workEnd, `one file has it all: ${endPosition}`);
  return { queues, bodies, topic, values };
};

const settleSome = async ({ broker }: Stand, queue: Queue, bodies: Map<number, string>): Promise<void> => {
  const part = queue.subscription.parts[0]!;
  for (const { offset } of await collect(queue, bodies.size)) {
    if (offset % 7 !== 3) {
      broker.requeue(part, offset);
      continue;
    }
    broker.ack(part, offset);
    bodies.delete(offset);
  }
  broker.flushAcks();
  await broker.gate.durableNow();
};

const assertAllThere = async ({ queues, bodies, topic, values }: Work): Promise<void> => {
  for (const [i, queue] of queues.entries()) {
    const received = await collect(queue, bodies[i]!.size);
    assert.deepEqual(
      received.map(({ offset, body }) => [offset, body]),
      [...bodies[i]!],
    );
  }
  const reader = new LogReader(topic);
  for (const [offset, value] of values.entries()) {
    while (!reader.locate(topic.findEntry(offset), offset)) await reader.fill();
    assert.ok(reader.chunk.buffer.includes(value, reader.at), `record ${offset} is there`);
  }
};

const openFaulty = async (foldGatherBytes: number): Promise<{ stand: Stand; storage: FaultyStorage }> => {
  let storage: FaultyStorage | undefined;
  const wrap = (inner: Storage): Storage => {
    storage = new FaultyStorage(inner);
    return storage;
  };
  const storeLimits = { entriesPerTurn: 5, foldGatherBytes };
  const stand = await open(new MemoryDisk(), wrap, undefined, { storeLimits });
  return { stand, storage: storage! };
};

const readsOfFirstFile = (storage: FaultyStorage): number =>
  storage.trace.filter((operation) => operation === `read ${firstFile}`).length;

const segmentFiles = async (disk: MemoryDisk): Promise<string[]> =>
  (await (await new MemoryStorage(disk).subdirectory('shard-0')).list()).filter((name) => name.startsWith('segment-'));

const isWorkFolded = ({ queues, topic }: Work): boolean => [topic, ...queues.map(({ log }) => log!)].every(isFolded);

/** Where the entries of the logs begin. */
const layoutOf = ({ queues, topic }: Work): number[][] =>
  [...queues.map(({ log }) => log!), topic].map((log) =>
    Array.from({ length: log.entryCount }, (_, entry) => log.entryFirstOffset(entry)),
  );

test('what several logs have comes out of several passes as it was, and as out of one', async () => {
  const layouts: number[][][] = [];
  const readCounts: number[] = [];
  for (const foldGatherBytes of [2 * kib, 64 * kib]) {
    const { stand, storage } = await openFaulty(foldGatherBytes);
    const done = await work(stand);
    const readsBefore = readsOfFirstFile(storage);
    await fillUntil(stand, () => isWorkFolded(done));
    readCounts.push(readsOfFirstFile(storage) - readsBefore);
    layouts.push(layoutOf(done));
    await assertAllThere(done);
    await stand.broker.close();
  }
  const [several, one] = readCounts as [number, number];
  assert.ok(one <= piecesOfFile, `${one} reads in one pass`);
  assert.ok(several > 8 * piecesOfFile, `${several} reads in several passes`);
  // The blocks of a segment are closed before the next pass.
  const entryCounts = layouts.map((layout) => layout.flat().length);
  assert.ok(entryCounts[0]! < entryCounts[1]! + 2 * several, `${entryCounts} entries`);
});

test('a log that has more than fits in memory is copied in one pass', async () => {
  const { stand, storage } = await openFaulty(2 * kib);
  const queue = declare(stand.broker, 'deep');
  const bodies = Array.from({ length: 300 }, (_, i) => `message ${i} `.padEnd(100, 'd'));
  for (const [i, body] of bodies.entries()) {
    publish(stand, [queue.log!], body);
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await fillUntil(stand, () => isFolded(queue.log!));
  // Of the ballast, which has more as well, another.
  assert.ok(readsOfFirstFile(storage) <= 2 * piecesOfFile, `${readsOfFirstFile(storage)} reads`);
  assert.deepEqual(
    (await collect(queue, bodies.length)).map(({ body }) => body),
    bodies,
  );
  await stand.broker.close();
});

test('damage that is found in a later pass is told with file and byte, and nothing has moved', async () => {
  const { stand, storage } = await openFaulty(2 * kib);
  const done = await work(stand);
  const readsBefore = readsOfFirstFile(storage);
  const bytes = { start: 5 * kib, end: 5 * kib + 1 };
  storage.inject({
    operation: 'read',
    bytes,
    name: /^wal-0+1$/,
    nth: 3,
    times: Number.POSITIVE_INFINITY,
    effect: 'error',
  });
  await fillUntil(stand, () => stand.failures.length > 0);
  assert.ok(readsOfFirstFile(storage) - readsBefore > 2 * piecesOfFile, 'the first passes were good');
  assert.match(
    stand.failures[0]!.message,
    /^wal-000000000001 is damaged at byte \d+: nothing can be read at byte 4096 /,
  );
  assert.match(stand.failures[0]!.message, /; messages that lie there stay there$/);
  const isInFirstFile = (log: Log): boolean => log.entryPosition(0) < 2 * foldingLimits.walFileBytes;
  assert.ok([done.topic, ...done.queues.map(({ log }) => log!)].every(isInFirstFile), 'nothing has moved');
  assert.deepEqual(stand.broker.shards[0]!.log.liveSegments, []);
  storage.heal();
  await assertAllThere(done);
  await stand.broker.close();
});

test('a broker that is closed between two passes leaves nothing of the fold behind', async () => {
  const { stand, storage } = await openFaulty(2 * kib);
  const done = await work(stand);
  const readsBefore = readsOfFirstFile(storage);
  await fillUntil(stand, () => readsOfFirstFile(storage) - readsBefore > 2 * piecesOfFile);
  assert.ok(!isWorkFolded(done), 'the fold is under way');
  await stand.broker.close();
  assert.deepEqual(await segmentFiles(stand.disk), []);
  const again = await open(stand.disk);
  const host = again.broker.vhost('/')!;
  const queues = done.queues.map((_, i) => host.queue(`queue ${i}`)!);
  await assertAllThere({ ...done, queues, topic: host.topic('events')!.partitions[0]! });
  await again.broker.close();
});

test('what is settled, and a queue that is deleted, between two passes is not looked for', async () => {
  const { stand, storage } = await openFaulty(2 * kib);
  const { queues, bodies } = await work(stand);
  const readsBefore = readsOfFirstFile(storage);
  await fillUntil(stand, () => readsOfFirstFile(storage) - readsBefore > 2 * piecesOfFile);
  const host = stand.broker.vhost('/')!;
  const [kept, ...others] = queues.slice(-3) as [Queue, Queue, Queue];
  for (const queue of others) host.deleteQueue(queue.name, { ifUnused: false, ifEmpty: false });
  const left = [...bodies.at(-3)!];
  const part = kept.subscription.parts[0]!;
  for (const { offset } of await collect(kept, left.length - 5)) stand.broker.ack(part, offset);
  stand.broker.flushAcks();
  await fillUntil(stand, () => isFolded(kept.log!));
  assert.deepEqual(stand.failures, []);
  assert.deepEqual(
    (await collect(kept, 5)).map(({ offset, body }) => [offset, body]),
    left.slice(-5),
  );
  await stand.broker.close();
});
