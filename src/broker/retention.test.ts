// What topics no longer keep goes from their start, by age and by size, and stays away; what still wants it notices nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appendBatch } from '../log/append-batch.ts';
import { encodeBatch } from '../log/batch-encode.ts';
import type { Log } from '../log/log.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { type Broker, openBroker } from './broker.ts';
import { FakeClock } from './groups/fake-clock.ts';
import type { Delivery, Sink } from './queues/delivery.ts';
import type { Queue } from './queues/queue.ts';
import type { Topic } from './topic.ts';

const kib = 1024;
const walFileBytes = 64 * kib;
const walBytesMax = 8 * walFileBytes;
const hourMs = 3_600_000;
const checkIntervalMs = 300_000;

/** The topics of these tests say themselves what they keep. */
const policyOf = ({ config }: Topic) => ({
  ageMs: Number(config.get('ms') ?? Number.POSITIVE_INFINITY),
  sizeBytes: Number(config.get('bytes') ?? Number.POSITIVE_INFINITY),
});

class Stand implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly #disk = new MemoryDisk();
  broker!: Broker;

  static async open(): Promise<Stand> {
    const stand = new Stand();
    await stand.open();
    return stand;
  }

  async open(): Promise<void> {
    this.broker = await openBroker({
      storage: new MemoryStorage(this.#disk),
      durability: 'sync',
      clock: this.clock,
      retention: { policyOf, checkIntervalMs },
      walLimits: {
        walFileBytes,
        walBytesMax,
        walReserveBytes: 2 * walFileBytes,
        walGroupBytes: 8 * kib,
        arenaChunkBytes: 16 * kib,
        arenaBytes: 64 * kib,
        readAheadBytes: 32 * kib,
      },
    });
  }

  async restart(): Promise<void> {
    await this.broker.close();
    await this.open();
  }

  topic(config: Record<string, string>, name = 'events'): Log {
    const topic = { vhost: '/', name, partitions: 1, config: new Map(Object.entries(config)) };
    return this.broker.createTopic(topic).partitions[0]!;
  }

  /** The log of the topic after a restart. */
  log(name = 'events'): Log {
    return this.broker.vhost('/')!.topic(name)!.partitions[0]!;
  }

  /** One batch of two records, all of one size. */
  produce(log: Log, timestampMs = this.clock.now()): void {
    const record = { key: null, value: Buffer.alloc(100, 'v'), headers: [], timestampMs };
    const batch = encodeBatch([record, record]);
    const source = { lengthBytes: batch.length, copyTo: (target: Buffer, at: number) => void batch.copy(target, at) };
    const options = { nowMs: this.clock.now(), stampsAppendTime: false, producersExpiredBeforeMs: 0 };
    assert.equal(appendBatch(log, source, options).kind, 'appended');
  }

  durable(): Promise<void> {
    return this.broker.gate.durableNow();
  }

  queue(name: string, args: Record<string, string> = {}): Queue {
    const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map(Object.entries(args)) };
    return this.broker.vhost('/')!.declareQueue(name, properties, undefined);
  }

  /** Writes more than the write-ahead log holds, so that checkpoints have passed all that was there before. */
  async turnOverLog(): Promise<void> {
    const queue = this.broker.vhost('/')!.queue('ballast') ?? this.queue('ballast');
    for (let bytes = 0; bytes < 2 * walBytesMax; bytes += 4 * kib) {
      publish(this.broker, queue.log!, 'x'.repeat(4 * kib));
      this.broker.vhost('/')!.purgeQueue(queue);
      await this.durable();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close();
  }
}

const publish = (broker: Broker, log: Log, body: string): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(200, broker.clock.now());
  builder.beginMessage();
  builder.piece(Buffer.from(body), 0, body.length);
  builder.deliver(log, builder.endMessage(), false);
  builder.commit();
};

/** Takes so many messages and leaves without settling any. */
const take = async ({ subscription }: Queue, count: number): Promise<number[]> => {
  const offsets: number[] = [];
  await new Promise<void>((resolve) => {
    const sink: Sink = {
      autoAck: false,
      exclusive: false,
      priority: 0,
      hasCredit: () => offsets.length < count,
      deliver: ({ offset }: Delivery) => {
        offsets.push(offset);
        if (offsets.length < count) return;
        subscription.detach(sink);
        resolve();
      },
      onCancelled: () => {},
      onDamaged: (error) => {
        throw error;
      },
    };
    subscription.attach(sink);
  });
  return offsets;
};

test('batches that are older than the topic keeps them go at the next look', async () => {
  await using stand = await Stand.open();
  const log = stand.topic({ ms: String(2 * hourMs) });
  for (let hour = 0; hour < 3; hour++) {
    stand.produce(log);
    await stand.durable();
    stand.clock.advance(hourMs);
  }
  assert.equal(log.startOffset, 2, 'the first is older than two hours');
  stand.clock.advance(checkIntervalMs - 1);
  assert.equal(log.startOffset, 2, 'nobody looked since');
  stand.clock.advance(1);
  assert.equal(log.startOffset, 4);
  stand.clock.advance(hourMs);
  assert.deepEqual([log.startOffset, log.endOffset, log.entryCount, log.sizeBytes], [6, 6, 0, 0]);
});

test('batches go while the rest is as large as the topic may be', async () => {
  await using stand = await Stand.open();
  const log = stand.topic({ bytes: '1000' });
  for (let i = 0; i < 10; i++) stand.produce(log);
  await stand.durable();
  stand.clock.advance(checkIntervalMs);
  assert.ok(log.sizeBytes >= 1000 && log.sizeBytes - log.entrySizeBytes(0) < 1000, `${log.sizeBytes} bytes`);
  assert.equal(log.startOffset, 20 - 2 * log.entryCount);
});

test('what is too old goes even if there is little, and what is too much even if it is young', async () => {
  await using stand = await Stand.open();
  const log = stand.topic({ ms: String(hourMs), bytes: '500' });
  stand.produce(log);
  await stand.durable();
  stand.clock.advance(hourMs + checkIntervalMs);
  assert.deepEqual([log.startOffset, log.endOffset], [2, 2]);
  for (let i = 0; i < 10; i++) stand.produce(log);
  await stand.durable();
  stand.clock.advance(checkIntervalMs);
  assert.ok(log.entryCount < 10 && log.sizeBytes >= 500, `${log.sizeBytes} bytes`);
});

test('records without a time do not age; an old one behind a young one waits for it', async () => {
  await using stand = await Stand.open();
  const timeless = stand.topic({ ms: String(hourMs) }, 'timeless');
  stand.produce(timeless, -1);
  const mixed = stand.topic({ ms: String(hourMs) }, 'mixed');
  stand.produce(mixed);
  stand.produce(mixed, 1);
  await stand.durable();
  stand.clock.advance(checkIntervalMs);
  assert.deepEqual([timeless.startOffset, mixed.startOffset], [0, 0]);
  stand.clock.advance(hourMs);
  assert.deepEqual([timeless.startOffset, mixed.startOffset], [0, 4]);
});

test('a topic without limits and a queue keep everything, and what is not durable yet stays', async () => {
  await using stand = await Stand.open();
  const kept = stand.topic({}, 'kept');
  const queue = stand.queue('work');
  stand.produce(kept);
  publish(stand.broker, queue.log!, 'work');
  const unsynced = stand.topic({ ms: '0' }, 'unsynced');
  await stand.durable();
  stand.produce(unsynced);
  stand.clock.advance(10_000 * hourMs);
  assert.deepEqual([kept.startOffset, queue.messageCount, unsynced.startOffset], [0, 1, 0]);
  await stand.durable();
  stand.clock.advance(checkIntervalMs);
  assert.equal(unsynced.startOffset, 2);
});

test('a changed config holds at once, and also after a restart', async () => {
  await using stand = await Stand.open();
  const configure = (config: Record<string, string>): void =>
    stand.broker.configureTopic(stand.broker.vhost('/')!.topic('events')!, new Map(Object.entries(config)));
  const log = stand.topic({});
  for (let i = 0; i < 3; i++) stand.produce(log);
  await stand.durable();
  configure({ bytes: '1' });
  assert.equal(log.startOffset, 4);
  stand.clock.advance(hourMs);
  assert.equal(log.startOffset, 4);
  configure({ ms: String(2 * hourMs) });
  await stand.restart();
  stand.clock.advance(checkIntervalMs);
  assert.equal(stand.log().startOffset, 4);
  stand.clock.advance(hourMs);
  assert.equal(stand.log().startOffset, 6);
});

test('what went stays away through restarts and checkpoints, and offsets go on', async () => {
  await using stand = await Stand.open();
  const first = stand.topic({ ms: String(hourMs) });
  for (let i = 0; i < 5; i++) stand.produce(first);
  await stand.durable();
  stand.clock.advance(2 * hourMs);
  stand.produce(first);
  await stand.restart();
  assert.deepEqual([stand.log().startOffset, stand.log().endOffset, stand.log().entryCount], [10, 12, 1]);
  await stand.turnOverLog();
  await stand.restart();
  assert.deepEqual([stand.log().startOffset, stand.log().endOffset, stand.log().entryCount], [10, 12, 1]);
  stand.clock.advance(2 * hourMs);
  await stand.turnOverLog();
  await stand.restart();
  assert.deepEqual([stand.log().startOffset, stand.log().endOffset, stand.log().entryCount], [12, 12, 0]);
});

test('a subscription counts and delivers what is left, whether the rest was out, returned or not yet delivered', async () => {
  await using stand = await Stand.open();
  const log = stand.topic({});
  for (let i = 0; i < 5; i++) stand.produce(log);
  await stand.durable();
  const queue = stand.queue('reader', { 'x-topic': 'events', 'x-stream-offset': 'first' });
  assert.deepEqual(await take(queue, 6), [0, 1, 2, 3, 4, 5]);
  const part = queue.subscription.parts[0]!;
  for (const offset of [1, 2, 5]) stand.broker.requeue(part, offset);
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [7, 3]);

  log.store.moveStart(log, 3);
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [5, 3], 'offsets 5 to 9; 0, 3 and 4 are out');
  stand.broker.requeue(part, 0);
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [5, 2]);
  for (const offset of [3, 4]) stand.broker.ack(part, offset);
  stand.broker.flushAcks();
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [5, 0]);
  assert.deepEqual(await take(queue, 2), [5, 6]);

  log.store.moveStart(log, 9);
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [1, 2]);
  for (const offset of [5, 6]) stand.broker.ack(part, offset);
  assert.deepEqual(await take(queue, 1), [9]);
  stand.broker.requeue(part, 9);
  await stand.restart();
  const again = stand.broker.vhost('/')!.queue('reader')!;
  assert.equal(again.messageCount, 1);
  assert.deepEqual(await take(again, 1), [9]);
});

test('a purge counts only what is left', async () => {
  await using stand = await Stand.open();
  const log = stand.topic({});
  for (let i = 0; i < 3; i++) stand.produce(log);
  await stand.durable();
  const queue = stand.queue('reader', { 'x-topic': 'events', 'x-stream-offset': 'first' });
  for (const offset of await take(queue, 3)) stand.broker.requeue(queue.subscription.parts[0]!, offset);
  log.store.moveStart(log, 2);
  assert.equal(queue.subscription.purge(), 4);
  assert.deepEqual([queue.messageCount, queue.subscription.unackedCount], [0, 0]);
});

test('the start of a queue can move too: into the middle of what was published together, and what is left can be settled', async () => {
  await using stand = await Stand.open();
  const { log, subscription } = stand.queue('work');
  const builder = stand.broker.blockBuilder(stand.broker.vhost('/')!);
  builder.begin(200, stand.clock.now());
  for (let i = 0; i < 4; i++) {
    builder.beginMessage();
    builder.piece(Buffer.from('m'), 0, 1);
    builder.deliver(log!, builder.endMessage(), false);
  }
  builder.commit();
  await stand.durable();
  log!.store.moveStart(log!, 2);
  assert.deepEqual([log!.startOffset, subscription.readyCount, log!.entryCount], [2, 2, 1]);
  for (const offset of [2, 3]) stand.broker.ack(subscription.parts[0]!, offset);
  stand.broker.flushAcks();
  assert.deepEqual([log!.startOffset, log!.entryCount], [4, 0]);
});
