import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../core/limits.ts';
import { appendBatch } from '../log/append-batch.ts';
import { encodeBatch } from '../log/batch-encode.ts';
import { sealBatch } from '../log/batch-header.ts';
import { runBytes } from '../log/block.ts';
import type { Log } from '../log/log.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { type Broker, openBroker } from './broker.ts';
import type { UnreadableBatch } from './broker-options.ts';
import { FakeClock } from './groups/fake-clock.ts';
import type { Delivery, Sink } from './queues/delivery.ts';
import type { Queue } from './queues/queue.ts';
import { plainForm } from './test-form.ts';

const queueProperties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };

const open = (disk: MemoryDisk, shardCount = 1): Promise<Broker> =>
  openBroker({ storage: new MemoryStorage(disk), durability: 'sync', shardCount, forms: [plainForm] });

const publish = (broker: Broker, logs: readonly Log[], bodies: readonly string[], transient = false): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(plainForm.id, broker.clock.now());
  for (const body of bodies) {
    const bytes = Buffer.from(body);
    builder.beginMessage();
    builder.piece(bytes, 0, bytes.length);
    const message = builder.endMessage();
    for (const log of logs) builder.deliver(log, message, transient);
  }
  builder.commit();
};

const durable = (broker: Broker): Promise<void> =>
  new Promise((resolve) => {
    if (broker.gate.durable >= broker.gate.current) resolve();
    else broker.gate.wait(broker.gate.current, { onDurable: resolve });
  });

interface Received {
  body: string;
  offset: number;
  redelivered: boolean;
}

class CollectingSink implements Sink {
  readonly received: Received[] = [];
  readonly deliveries: { part: Delivery['part']; offset: number }[] = [];
  credit: number;
  readonly autoAck: boolean;
  readonly exclusive = false;
  readonly priority = 0;
  cancelled = false;
  #waiting: { count: number; resolve: () => void } | undefined;

  constructor(credit = Number.POSITIVE_INFINITY, autoAck = false) {
    this.credit = credit;
    this.autoAck = autoAck;
  }

  hasCredit(): boolean {
    return this.credit > 0;
  }

  deliver(delivery: Delivery): void {
    this.credit--;
    this.received.push({
      body: String(delivery.message().body),
      offset: delivery.offset,
      redelivered: delivery.redelivered,
    });
    this.deliveries.push({ part: delivery.part, offset: delivery.offset });
    if (this.#waiting !== undefined && this.received.length >= this.#waiting.count) this.#waiting.resolve();
  }

  onDamaged(error: Error): void {
    throw error;
  }

  onCancelled(): void {
    this.cancelled = true;
  }

  has(count: number): Promise<void> {
    if (this.received.length >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting = { count, resolve };
    });
  }
}

const declare = (broker: Broker, name: string): Queue =>
  broker.vhost('/')!.declareQueue(name, queueProperties, undefined);

for (const shardCount of [1, 3]) {
  test(`messages survive a restart in order, settled ones stay away (${shardCount} shards)`, async () => {
    const disk = new MemoryDisk();
    let broker = await open(disk, shardCount);
    const queue = declare(broker, 'orders');
    publish(broker, [queue.log!], ['a', 'b', 'c', 'd']);
    const sink = new CollectingSink(3);
    queue.subscription.attach(sink);
    await sink.has(3);
    assert.equal(queue.messageCount, 1);
    assert.equal(queue.subscription.unackedCount, 3);
    broker.ack(sink.deliveries[1]!.part, sink.deliveries[1]!.offset);
    broker.flushAcks();
    await durable(broker);
    await broker.close();

    broker = await open(disk, shardCount);
    const again = broker.vhost('/')!.queue('orders')!;
    assert.equal(again.messageCount, 3);
    const second = new CollectingSink();
    again.subscription.attach(second);
    await second.has(3);
    assert.deepEqual(second.received, [
      { body: 'a', offset: 0, redelivered: true },
      { body: 'c', offset: 2, redelivered: true },
      { body: 'd', offset: 3, redelivered: false },
    ]);
    await broker.close();
  });

  test(`a fan-out to queues and a topic is one commit per shard and reaches all (${shardCount} shards)`, async () => {
    const broker = await open(new MemoryDisk(), shardCount);
    const queues = ['one', 'two', 'three'].map((name) => declare(broker, name));
    const topic = broker.createTopic({ vhost: '/', name: 'events', partitions: 3, config: new Map() });
    publish(broker, [...queues.map((queue) => queue.log!), ...topic.partitions], ['x', 'y']);
    await durable(broker);
    for (const log of [...queues.map((queue) => queue.log!), ...topic.partitions]) assert.equal(log.durableEnd, 2);
    const subscription = broker
      .vhost('/')!
      .declareQueue('reader', { ...queueProperties, arguments: new Map([['x-topic', 'events']]) }, undefined);
    const sink = new CollectingSink();
    subscription.subscription.attach(sink);
    await sink.has(6);
    assert.deepEqual(sink.received.map(({ body }) => body).sort(), ['x', 'x', 'x', 'y', 'y', 'y']);
    await broker.close();
  });
}

test('a message for many partitions is stored once in each shard', async () => {
  const shardCount = 3;
  const broker = await open(new MemoryDisk(), shardCount);
  const { partitions } = broker.createTopic({ vhost: '/', name: 'many', partitions: 60, config: new Map() });
  assert.equal(new Set(partitions.map(({ store }) => store)).size, shardCount);
  const end = (): number => broker.shards.reduce((sum, { log }) => sum + log.endPosition, 0);
  const before = end();
  const body = 'x'.repeat(limits.messageBytesMax / 8);
  publish(broker, partitions, [body, 'small']);
  await durable(broker);
  assert.ok(end() - before < (shardCount + 1) * body.length);
  for (const log of partitions) assert.equal(log.durableEnd, 2);
  await broker.close();
});

test('what a block will take counts what its messages go to', async () => {
  const broker = await open(new MemoryDisk(), 3);
  const logs = Array.from({ length: 100 }, (_, i) => declare(broker, `q-${i}`).log!);
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(plainForm.id, broker.clock.now());
  builder.beginMessage();
  const message = builder.endMessage();
  const before = builder.sizeBytes;
  for (const log of logs) builder.deliver(log, message, false);
  assert.equal(builder.sizeBytes - before, logs.length * runBytes);
  await broker.close();
});

test('a transient message may go out before it is durable, and a restart drops it', async () => {
  const disk = new MemoryDisk();
  let broker = await open(disk);
  const queue = declare(broker, 'q');
  publish(broker, [queue.log!], ['fast'], true);
  publish(broker, [queue.log!], ['kept']);
  await durable(broker);
  assert.equal(queue.messageCount, 2);
  await broker.close();
  broker = await open(disk);
  const again = broker.vhost('/')!.queue('q')!;
  assert.equal(again.messageCount, 1);
  const sink = new CollectingSink();
  again.subscription.attach(sink);
  await sink.has(1);
  assert.equal(sink.received[0]!.body, 'kept');
  await broker.close();
});

test('returned messages come again first, in order, marked as redelivered', async () => {
  const broker = await open(new MemoryDisk());
  const queue = declare(broker, 'q');
  publish(broker, [queue.log!], ['a', 'b', 'c', 'd']);
  const first = new CollectingSink(3);
  queue.subscription.attach(first);
  await first.has(3);
  queue.subscription.detach(first);
  for (const { part, offset } of [...first.deliveries].reverse()) broker.requeue(part, offset);
  const second = new CollectingSink();
  queue.subscription.attach(second);
  await second.has(4);
  assert.deepEqual(
    second.received.map(({ body, redelivered }) => [body, redelivered]),
    [
      ['a', true],
      ['b', true],
      ['c', true],
      ['d', false],
    ],
  );
  await broker.close();
});

test('consumers are served in turn, and a purge leaves what is out', async () => {
  const broker = await open(new MemoryDisk());
  const queue = declare(broker, 'q');
  const left = new CollectingSink(2);
  const right = new CollectingSink(2);
  queue.subscription.attach(left);
  queue.subscription.attach(right);
  publish(broker, [queue.log!], ['a', 'b', 'c', 'd', 'e', 'f']);
  await Promise.all([left.has(2), right.has(2)]);
  assert.deepEqual(
    [left.received.map(({ body }) => body), right.received.map(({ body }) => body)],
    [
      ['a', 'c'],
      ['b', 'd'],
    ],
  );
  assert.equal(broker.vhost('/')!.purgeQueue(queue), 2);
  assert.equal(queue.messageCount, 0);
  assert.equal(queue.subscription.unackedCount, 4);
  await broker.close();
});

test('a topic and a queue cannot have the same name', async () => {
  const broker = await open(new MemoryDisk());
  broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() });
  assert.throws(() => declare(broker, 'events'), { kind: 'wrong-kind' });
  declare(broker, 'tasks');
  assert.throws(() => broker.createTopic({ vhost: '/', name: 'tasks', partitions: 1, config: new Map() }), {
    kind: 'already-exists',
  });
  await broker.close();
});

test('a deleted queue cancels its consumers, and its name can be used anew', async () => {
  const broker = await open(new MemoryDisk());
  const queue = declare(broker, 'q');
  publish(broker, [queue.log!], ['old']);
  const sink = new CollectingSink(0);
  queue.subscription.attach(sink);
  assert.equal(broker.vhost('/')!.deleteQueue('q', { ifEmpty: false, ifUnused: false }), 1);
  assert.equal(sink.cancelled, true);
  assert.equal(declare(broker, 'q').messageCount, 0);
  await broker.close();
});

test('settlements go along with the next commit, or make one of their own after a while', async () => {
  const clock = new FakeClock();
  const broker = await openBroker({
    storage: new MemoryStorage(new MemoryDisk()),
    durability: 'sync',
    clock,
    forms: [plainForm],
  });
  const queue = declare(broker, 'orders');
  const sink = new CollectingSink();
  queue.subscription.attach(sink);
  publish(broker, [queue.log!], ['a', 'b', 'c']);
  await sink.has(3);
  const settle = (index: number): void => broker.ack(sink.deliveries[index]!.part, sink.deliveries[index]!.offset);
  const commits = broker.gate.current;

  settle(0);
  assert.equal(broker.gate.current, commits);
  assert.equal(queue.subscription.unackedCount, 3);
  publish(broker, [queue.log!], ['d']);
  assert.equal(broker.gate.current, commits + 1);
  assert.equal(queue.subscription.unackedCount, 2);

  settle(1);
  clock.advance(limits.settleDelayMs);
  assert.equal(broker.gate.current, commits + 2);
  assert.equal(queue.subscription.unackedCount, 1);

  settle(2);
  broker.flushAcks();
  assert.equal(broker.gate.current, commits + 3);
  assert.equal(queue.subscription.unackedCount, 0);
  clock.advance(limits.settleDelayMs);
  assert.equal(broker.gate.current, commits + 3);
  await broker.close();
});

test('a batch that cannot be opened is passed over and reported', async () => {
  const unreadable: UnreadableBatch[] = [];
  const broker = await openBroker({
    storage: new MemoryStorage(new MemoryDisk()),
    durability: 'sync',
    forms: [plainForm],
    onUnreadable: (batch) => unreadable.push(batch),
  });
  const topic = broker.createTopic({ vhost: '/', name: 'events', partitions: 2, config: new Map() });
  const append = (value: string, damage: (batch: Buffer) => void): void => {
    const batch = encodeBatch([{ key: null, value: Buffer.from(value), headers: [], timestampMs: 0 }]);
    damage(batch);
    sealBatch(batch, 0);
    const source = { lengthBytes: batch.length, copyTo: (target: Buffer, at: number) => void batch.copy(target, at) };
    const options = { nowMs: 0, stampsAppendTime: false, producersExpiredBeforeMs: 0 };
    assert.equal(appendBatch(topic.partitions[1]!, source, options).kind, 'appended');
  };
  append('a', () => {});
  append('not gzip', (batch) => batch.writeInt16BE(1, 21));
  append('b', () => {});

  const queue = broker
    .vhost('/')!
    .declareQueue('reader', { ...queueProperties, arguments: new Map([['x-topic', 'events']]) }, undefined);
  const sink = new CollectingSink();
  queue.subscription.attach(sink);
  await sink.has(2);
  assert.deepEqual(
    sink.received.map(({ body }) => body),
    ['a', 'b'],
  );
  assert.deepEqual(unreadable, [{ topic: 'events', partition: 1, baseOffset: 1, endOffset: 2 }]);
  await broker.close();
});
