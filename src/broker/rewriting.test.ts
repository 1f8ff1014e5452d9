// Segments of which little is wanted are written anew: what is left stays as it was, and the space of the rest comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../core/limits.ts';
import { batchBaseOffset, batchHeaderBytes } from '../log/batch-header.ts';
import { batchPayload, decodeBatchRecords } from '../log/batch-records.ts';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { collect, declare, isFolded, kib, open, produce, publish, type Stand } from './folding-stand.ts';
import type { Queue } from './queues/queue.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A queue for what only passes through the log. */
const passage = async ({ broker }: Stand, name: string): Promise<Queue> => {
  for (let turns = 0; !broker.hasRoom; turns++) {
    assert.ok(turns < 2_000, 'there is room again');
    await turn();
  }
  return broker.vhost('/')!.queue(name) ?? declare(broker, name);
};

/** Publishes to another queue, and empties that, until `condition` holds. */
const churnUntil = async (stand: Stand, condition: () => boolean): Promise<void> => {
  const host = stand.broker.vhost('/')!;
  const queue = await passage(stand, 'ballast');
  for (let round = 0; !condition(); round++) {
    assert.ok(round < 2_000, 'what was waited for comes');
    publish(stand, [queue.log!], 'x'.repeat(2 * kib));
    host.purgeQueue(queue);
    await stand.broker.gate.durableNow();
    await turn();
  }
};

const foldAll = async (stand: Stand, log: Log): Promise<void> => {
  const ballast = await passage(stand, 'filler');
  for (let round = 0; !isFolded(log); round++) {
    assert.ok(round < 2_000, 'the log is folded');
    publish(stand, [ballast.log!], 'y'.repeat(2 * kib));
    await stand.broker.gate.durableNow();
    await turn();
  }
  stand.broker.vhost('/')!.deleteQueue('filler', { ifUnused: false, ifEmpty: false });
  await stand.broker.gate.durableNow();
};

/** Lets the time of two looks at the segments pass, and whatever comes of it happen. */
const checkSegments = async (stand: Stand): Promise<void> => {
  for (let look = 0; look < 3; look++) {
    stand.clock.advance(limits.segmentCheckMs);
    for (let turns = 0; turns < 100; turns++) await turn();
  }
};

const segmentFiles = async (disk: MemoryDisk): Promise<Map<string, number>> => {
  const shard = await new MemoryStorage(disk).subdirectory('shard-0');
  const sizes = new Map<string, number>();
  for (const name of await shard.list()) {
    if (!/^segment-\d+$/.test(name)) continue;
    const file = await shard.open(name, { create: false, durable: false }).catch(() => undefined);
    // A checkpoint may have given it back just now.
    if (file === undefined) continue;
    sizes.set(name, await file.sizeBytes());
    await file.close();
  }
  return sizes;
};

const totalBytes = (sizes: ReadonlyMap<string, number>): number =>
  [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);

/** Settles all messages but those. */
const settleExcept = async (stand: Stand, queue: Queue, isKept: (offset: number) => boolean): Promise<void> => {
  const part = queue.subscription.parts[0]!;
  for (const { offset } of await collect(queue, queue.messageCount)) {
    if (isKept(offset)) stand.broker.requeue(part, offset);
    else stand.broker.ack(part, offset);
  }
  stand.broker.flushAcks();
  await stand.broker.gate.durableNow();
};

const bodies = async (stand: Stand, queue: Queue): Promise<string[]> => {
  const received = await collect(queue, queue.messageCount);
  for (const { offset } of received) stand.broker.requeue(queue.subscription.parts[0]!, offset);
  return received.map(({ offset, body }) => `${offset}: ${body.trim()}`);
};

/** Of all batches, in order. */
const readValues = async (log: Log): Promise<string[]> => {
  const reader = new LogReader(log);
  const values: string[] = [];
  while (values.length < log.durableEnd) {
    const offset = values.length;
    if (!reader.locate(log.findEntry(offset), offset)) {
      await reader.fill();
      continue;
    }
    const { buffer } = reader.chunk;
    assert.equal(batchBaseOffset(buffer, reader.at), offset);
    const header = Buffer.from(buffer.subarray(reader.at, reader.at + batchHeaderBytes));
    for (const { value } of decodeBatchRecords(header, 0, batchPayload(buffer, reader.at))) values.push(String(value));
  }
  return values;
};

const everyHundredth = (offset: number): boolean => offset % 100 === 50;
const kept = (count: number): string[] =>
  Array.from({ length: count }, (_, offset) => offset)
    .filter(everyHundredth)
    .map((offset) => `${offset}: message ${offset}`);

/** A queue of 400 messages in segments, of which four are wanted. */
const makeSparse = async (stand: Stand, name: string): Promise<Queue> => {
  const queue = declare(stand.broker, name);
  for (let i = 0; i < 400; i++) {
    publish(stand, [queue.log!], `message ${i}`.padEnd(kib));
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await foldAll(stand, queue.log!);
  await settleExcept(stand, queue, everyHundredth);
  return queue;
};

/** Until a checkpoint has given back all that it may. */
const reclaimAll = async (stand: Stand): Promise<void> => {
  await churnUntil(stand, () => !stand.broker.shards[0]!.log.wantsCheckpoint);
  for (let turns = 0; turns < 100; turns++) await turn();
};

test('a stuck message pins itself alone, and is there after restarts', async () => {
  const stand = await open(new MemoryDisk());
  const queue = await makeSparse(stand, 'work');
  assert.ok(totalBytes(await segmentFiles(stand.disk)) > 300 * kib);
  await checkSegments(stand);
  await reclaimAll(stand);
  const after = await segmentFiles(stand.disk);
  assert.ok(totalBytes(after) < 10 * kib, `${totalBytes(after)} bytes are left in ${[...after.keys()]}`);
  assert.deepEqual(await bodies(stand, queue), kept(400));
  await checkSegments(stand);
  assert.deepEqual(await segmentFiles(stand.disk), after, 'what is as small as can be is not written again');
  await stand.broker.close();

  const again = await open(stand.disk);
  assert.deepEqual(await bodies(again, again.broker.vhost('/')!.queue('work')!), kept(400));
  assert.deepEqual([...stand.failures, ...again.failures], []);
  await again.broker.close();
});

test('what a checkpoint says of segments is the same in all turns of a fold and of a rewrite', async () => {
  const stand = await open(new MemoryDisk());
  const { store } = declare(stand.broker, 'other').log!;
  const moves = store.moves.bind(store);
  const stepCounts: number[] = [];
  store.moves = function* () {
    const heads: string[] = [];
    for (const cost of moves()) {
      heads.push(String(store.head()));
      yield cost;
    }
    stepCounts.push(heads.length);
    for (const head of heads) assert.equal(head, String(store.head()));
  };
  const queue = await makeSparse(stand, 'work');
  const foldCount = stepCounts.length;
  await checkSegments(stand);
  assert.ok(foldCount > 0 && stepCounts.length > foldCount, `${foldCount} folds, ${stepCounts.length} with rewrites`);
  // A fold of what fills the log finds it deleted in the end, and moves nothing.
  assert.ok(!stepCounts.includes(1), `steps: ${stepCounts}`);
  assert.deepEqual(await bodies(stand, queue), kept(400));
  assert.deepEqual(stand.failures, []);
  await stand.broker.close();
});

test('what a topic has among deleted queues is written anew, and read while that goes on', async () => {
  const stand = await open(new MemoryDisk());
  const log = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions[0]!;
  const queue = declare(stand.broker, 'work');
  for (let i = 0; i < 300; i++) {
    publish(stand, [queue.log!], `message ${i}`.padEnd(kib));
    if (i % 3 === 0) produce(log, [`a${i}`, `b${i}`]);
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await foldAll(stand, log);
  stand.broker.vhost('/')!.deleteQueue('work', { ifUnused: false, ifEmpty: false });
  const values = Array.from({ length: 100 }, (_, i) => [`a${3 * i}`, `b${3 * i}`]).flat();
  for (let look = 0; look < 3; look++) {
    stand.clock.advance(limits.segmentCheckMs);
    for (let read = 0; read < 20; read++) assert.deepEqual(await readValues(log), values);
  }
  await reclaimAll(stand);
  assert.ok(totalBytes(await segmentFiles(stand.disk)) < 40 * kib);
  await stand.broker.close();
  const again = await open(stand.disk);
  assert.deepEqual(await readValues(again.broker.vhost('/')!.topic('events')!.partitions[0]!), values);
  await again.broker.close();
});

test('many small segments become one', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  const expected: string[] = [];
  for (let round = 0; round < 12; round++) {
    publish(stand, [queue.log!], `message ${round}`);
    expected.push(`${round}: message ${round}`);
    await foldAll(stand, queue.log!);
  }
  await reclaimAll(stand);
  assert.ok((await segmentFiles(stand.disk)).size >= 12);
  await checkSegments(stand);
  await reclaimAll(stand);
  assert.equal((await segmentFiles(stand.disk)).size, 1);
  assert.deepEqual(await bodies(stand, queue), expected);
  await stand.broker.close();
});

test('a damaged segment is told once and left alone, others are written anew', async () => {
  const { disk, broker } = await (async () => {
    const stand = await open(new MemoryDisk());
    await makeSparse(stand, 'damaged');
    await reclaimAll(stand);
    await makeSparse(stand, 'work');
    await reclaimAll(stand);
    return stand;
  })();
  await broker.close();
  const stand = await open(disk);
  const { log } = stand.broker.vhost('/')!.queue('damaged')!;
  const { segments, liveSegments } = stand.broker.shards[0]!.log;
  const position = log!.entryPosition(log!.findEntry(log!.startOffset));
  const [name, offset] = liveSegments
    .map((id) => [`segment-${String(id).padStart(12, '0')}`, position - segments.rangeOf(id)!.start] as const)
    .find(([, at]) => at >= 0)!;
  const shard = await new MemoryStorage(disk).subdirectory('shard-0');
  const file = await shard.open(name, { create: false, durable: false });
  await new Promise((resolve) => file.write(Buffer.from([0xff]), 0, 1, offset, resolve));
  const before = await segmentFiles(disk);
  for (let times = 0; times < 3; times++) await checkSegments(stand);
  await reclaimAll(stand);
  assert.equal(stand.failures.length, 1);
  assert.match(stand.failures[0]!.message, new RegExp(`${name} is damaged`));
  const after = await segmentFiles(disk);
  assert.equal(after.get(name), before.get(name));
  assert.ok(totalBytes(after) - after.get(name)! < totalBytes(before) / 4);
  assert.deepEqual(await bodies(stand, stand.broker.vhost('/')!.queue('work')!), kept(400));
  await stand.broker.close();
});

test('on a full disk nothing is written anew until there is room', async () => {
  const disk = new MemoryDisk(4096 * kib);
  const stand = await open(disk);
  await makeSparse(stand, 'work');
  await reclaimAll(stand);
  const shard = await new MemoryStorage(disk).subdirectory('elsewhere');
  const file = await shard.open('ballast', { create: true, durable: false });
  const bytes = Buffer.alloc(disk.freeBytes - 8 * kib);
  await new Promise((resolve) => file.write(bytes, 0, bytes.length, 0, resolve));
  const before = await segmentFiles(disk);
  for (let times = 0; times < 3; times++) await checkSegments(stand);
  assert.deepEqual(await segmentFiles(disk), before);
  assert.deepEqual(
    stand.failures.map(({ message }) => message),
    ['the disk is too full to write segments anew'],
  );
  await file.close();
  await shard.remove('ballast');
  await checkSegments(stand);
  await reclaimAll(stand);
  assert.ok(totalBytes(await segmentFiles(disk)) < 10 * kib);
  await stand.broker.close();
});

test('on a disk with room for a part of what is wanted that part is written anew, and then the next', async () => {
  const disk = new MemoryDisk();
  const stand = await open(disk);
  await makeSparse(stand, 'work');
  await reclaimAll(stand);
  const { log } = stand.broker.shards[0]!;
  log.freeBytes = async () => 2.5 * kib;
  for (let times = 0; times < 3; times++) await checkSegments(stand);
  await reclaimAll(stand);
  assert.deepEqual(stand.failures, []);
  assert.ok(totalBytes(await segmentFiles(disk)) < 10 * kib);
  assert.deepEqual(await bodies(stand, stand.broker.vhost('/')!.queue('work')!), kept(400));
  await stand.broker.close();
});

test('a segment that cannot be read once is written anew later', async () => {
  const disk = new MemoryDisk();
  let faulty!: FaultyStorage;
  const stand = await open(disk, (storage) => {
    faulty = new FaultyStorage(storage);
    return faulty;
  });
  await makeSparse(stand, 'work');
  await reclaimAll(stand);
  faulty.inject({ operation: 'read', name: /^segment-/, nth: 1, effect: 'error' });
  for (let times = 0; times < 3; times++) await checkSegments(stand);
  await reclaimAll(stand);
  assert.equal(stand.failures.length, 1);
  assert.ok(totalBytes(await segmentFiles(disk)) < 10 * kib);
  await stand.broker.close();
});

test('a broker that is closed after a failed fold has nothing to do any more', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  stand.broker.shards[0]!.log.freeBytes = async () => 0;
  while (stand.failures.length === 0) {
    publish(stand, [queue.log!], 'to be folded'.padEnd(4 * kib));
    await stand.broker.gate.durableNow();
  }
  await turn();
  await stand.broker.close();
  assert.equal(stand.clock.timerCount, 0);
});

test('a fold whose messages have all gone meanwhile stores no segment', async () => {
  const stand = await open(new MemoryDisk());
  const host = stand.broker.vhost('/')!;
  const queue = declare(stand.broker, 'work');
  publish(stand, [queue.log!], 'gone before long');
  const { log } = stand.broker.shards[0]!;
  const createSegment = log.createSegment.bind(log);
  let createdCount = 0;
  log.createSegment = async () => {
    const writer = await createSegment();
    createdCount++;
    for (const each of host.queues) host.purgeQueue(each);
    return writer;
  };
  await foldAll(stand, queue.log!);
  for (let turns = 0; turns < 100; turns++) await turn();
  assert.ok(createdCount > 0);
  assert.equal((await segmentFiles(stand.disk)).size, 0);
  await stand.broker.close();
});
