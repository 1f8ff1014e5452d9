// What outlives the write-ahead log: folded into segments, read back as it was, settled, deleted and recovered from there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '../core/ids.ts';
import { batchBaseOffset, batchBytes, batchLastOffsetDelta } from '../log/batch-header.ts';
import { LogReader } from '../log/log-reader.ts';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import {
  collect,
  declare,
  foldingLimits,
  isFolded,
  kib,
  open,
  produce,
  publish,
  type Received,
  type Stand,
} from './folding-stand.ts';

/** Publishes to another queue until `condition` holds; with `purges` that is emptied at once. */
const fillUntil = async (stand: Stand, condition: () => boolean, purges = false): Promise<void> => {
  const host = stand.broker.vhost('/')!;
  const queue = host.queue('ballast') ?? declare(stand.broker, 'ballast');
  for (let round = 0; !condition(); round++) {
    assert.ok(round < 2_000, 'what was waited for comes');
    publish(stand, [queue.log!], 'x'.repeat(2 * kib));
    if (purges) host.purgeQueue(queue);
    await stand.broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
};

test('messages of a queue come from segments as they were, in order, without those that were settled', async () => {
  const stand = await open(new MemoryDisk());
  let queue = declare(stand.broker, 'work');
  const expected: Received[] = [];
  for (let offset = 0; offset < 1000; offset++) {
    stand.clock.advance(3);
    publish(stand, [queue.log!], `message ${offset}`, offset % 10 === 4);
    if (offset % 10 !== 7) expected.push({ body: `message ${offset}`, offset, timestampMs: stand.clock.now() });
  }
  const part = queue.subscription.parts[0]!;
  for (const { offset } of await collect(queue, 1000)) {
    if (offset % 10 === 7) stand.broker.ack(part, offset);
    else stand.broker.requeue(part, offset);
  }
  stand.broker.flushAcks();
  await fillUntil(stand, () => isFolded(queue.log!));
  assert.ok(queue.log!.entryCount <= 400, `${queue.log!.entryCount} entries`);
  assert.equal(queue.messageCount, 900);
  assert.deepEqual(await collect(queue, 900), expected);
  await stand.broker.close();

  const again = await open(stand.disk);
  queue = again.broker.vhost('/')!.queue('work')!;
  const durable = expected.filter(({ offset }) => offset % 10 !== 4);
  assert.equal(queue.messageCount, durable.length);
  assert.deepEqual(await collect(queue, durable.length), durable);
  await again.broker.close();
});

test('small batches share entries, and each is found by any of its offsets', async () => {
  const stand = await open(new MemoryDisk());
  const log = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions[0]!;
  for (let i = 0; i < 600; i++) produce(log, [`a${i}`, `b${i}`]);
  await fillUntil(stand, () => isFolded(log));
  assert.ok(log.entryCount < 60, `${log.entryCount} entries`);
  const reader = new LogReader(log);
  for (const offset of [0, 1, 2, 777, 1198, 1199]) {
    const entry = log.findEntry(offset);
    while (!reader.locate(entry, offset)) await reader.fill();
    const { buffer } = reader.chunk;
    assert.equal(batchBaseOffset(buffer, reader.at), offset - (offset % 2));
    let last = reader.at;
    while (last + batchBytes(buffer, last) < reader.entryEnd) last += batchBytes(buffer, last);
    assert.equal(batchBaseOffset(buffer, last) + batchLastOffsetDelta(buffer, last) + 1, reader.endOffset);
  }
  await stand.broker.close();
});

test('what one reader prefetched is in memory for another', async () => {
  const stand = await open(new MemoryDisk());
  const log = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions[0]!;
  for (let i = 0; i < 160; i++) {
    produce(log, ['value'.padEnd(kib)]);
    await stand.broker.gate.durableNow();
  }
  const isInMemory = (): boolean => new LogReader(log).locate(log.findEntry(42), 42);
  assert.equal(isInMemory(), false);
  log.store.prefetches.begin(log, 1, 42 * kib);
  while (!isInMemory()) await new Promise((resolve) => setImmediate(resolve));
  await stand.broker.close();
});

test('a segment goes when nothing in it is wanted, and one that is wanted stays through restarts', async () => {
  const stand = await open(new MemoryDisk());
  const segments = async (): Promise<string[]> => {
    const shard = await new MemoryStorage(stand.disk).subdirectory('shard-0');
    return (await shard.list()).filter((name) => /^segment-\d+$/.test(name));
  };
  const first = declare(stand.broker, 'first');
  for (let i = 0; i < 100; i++) publish(stand, [first.log!], `first ${i}`.padEnd(kib));
  await fillUntil(stand, () => isFolded(first.log!));
  await stand.broker.close();
  const before = await segments();
  assert.ok(before.length > 0);

  const again = await open(stand.disk);
  assert.deepEqual(await segments(), before);
  const queue = again.broker.vhost('/')!.queue('first')!;
  const received = await collect(queue, 100, true);
  assert.deepEqual(
    received.map(({ body }) => body.trim()),
    Array.from({ length: 100 }, (_, i) => `first ${i}`),
  );
  again.broker.flushAcks();
  const { log } = again.broker.shards[0]!;
  await fillUntil(again, () => log.liveSegments.length === 0 && !log.wantsCheckpoint, true);
  await again.broker.close();
  const { broker } = await open(stand.disk);
  assert.deepEqual(await segments(), []);
  assert.equal(broker.vhost('/')!.queue('first')!.messageCount, 0);
  await broker.close();
});

test('a fold that fails leaves everything where it was and is tried again', async () => {
  let faulty: FaultyStorage | undefined;
  const stand = await open(new MemoryDisk(), (storage) => {
    faulty = new FaultyStorage(storage);
    return faulty;
  });
  const queue = declare(stand.broker, 'work');
  for (let i = 0; i < 100; i++) publish(stand, [queue.log!], `message ${i}`.padEnd(kib));
  faulty!.inject({ operation: 'write', name: /^segment-/, nth: 1, effect: 'short', code: 'ENOSPC' });
  await fillUntil(stand, () => stand.failures.length > 0);
  assert.ok(!isFolded(queue.log!));
  assert.equal(queue.messageCount, 100);
  stand.clock.advance(10_000);
  await fillUntil(stand, () => isFolded(queue.log!));
  assert.equal((await collect(queue, 100)).at(-1)!.body.trim(), 'message 99');
  await stand.broker.close();
});

test('many small messages are folded before their number keeps publishers out', async () => {
  const messageCount = 12_000;
  const stand = await open(new MemoryDisk(), undefined, undefined, { storeLimits: { walEntriesMax: 2500 } });
  const queue = declare(stand.broker, 'work');
  const log = queue.log!;
  for (let i = 0; i < messageCount; i++) {
    assert.ok(stand.broker.hasRoom, `${i} messages keep others out`);
    publish(stand, [log], `${i}`);
    if (i % 20 === 0) {
      await stand.broker.gate.durableNow();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert.ok(log.entryCount < 2500);
  const received = await collect(queue, messageCount);
  assert.deepEqual(
    received.map(({ body }) => body),
    Array.from({ length: messageCount }, (_, i) => `${i}`),
  );
  await stand.broker.close();
});

test('a damaged log file stays as it is and does not keep the files behind it from being folded', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  const bodies = Array.from({ length: 200 }, (_, i) => `message ${i}`.padEnd(kib));
  for (const body of bodies) {
    publish(stand, [queue.log!], body);
    await stand.broker.gate.durableNow();
  }
  const shard = await new MemoryStorage(stand.disk).subdirectory('shard-0');
  const file = await shard.open('wal-000000000002', { create: false, durable: false });
  const flip = async (): Promise<void> => {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 30_000);
    byte[0] = byte[0]! ^ 4;
    await new Promise((resolve) => file.write(byte, 0, 1, 30_000, resolve));
  };
  await flip();
  const log = queue.log!;
  const behind = (): boolean => log.firstEntryFrom((3 * foldingLimits.walFileBytes) as Position) === log.entryCount;
  await fillUntil(stand, () => behind() && stand.failures.length > 0);
  assert.equal(stand.failures.length, 1);
  assert.match(
    stand.failures[0]!.message,
    /wal-000000000002 is damaged at byte \d+; messages that lie there stay there/,
  );
  const positions = Array.from({ length: log.entryCount }, (_, entry) => log.entryPosition(entry));
  assert.ok(
    positions.some((position) => position < 3 * foldingLimits.walFileBytes),
    'the damaged file is not folded',
  );
  assert.ok(stand.broker.hasRoom);
  assert.equal(queue.messageCount, bodies.length);
  await stand.broker.close();

  // Closed in order it is not read before something of it is wanted.
  const told = await open(stand.disk);
  await assert.rejects(
    collect(told.broker.vhost('/')!.queue('work')!, bodies.length),
    /wal-000000000002 is damaged at byte \d+/,
  );
  await told.broker.close();
  // It was read wrongly, or the byte has come back: then all is where it was.
  await flip();
  const again = await open(stand.disk);
  const found = again.broker.vhost('/')!.queue('work')!;
  assert.deepEqual(
    (await collect(found, bodies.length)).map(({ body, offset }) => [offset, body]),
    [...bodies.entries()],
  );
  await again.broker.close();

  await flip();
  const losses: string[] = [];
  const accepted = await open(stand.disk, undefined, (what) => losses.push(what));
  assert.match(losses.join('\n'), /wal-000000000002 from byte \d+ to byte \d+: 1 groups of commits/);
  assert.ok(losses.includes("1 messages of 'work', partition 0"), losses.join('\n'));
  const left = await collect(accepted.broker.vhost('/')!.queue('work')!, bodies.length - 1);
  for (const { body, offset } of left) assert.equal(body, bodies[offset]);
  await accepted.broker.close();
});
