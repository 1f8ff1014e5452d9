// A subscription of a topic has its state in the shards of the topic's logs, and its name in shard 0: what a restart finds
// of the two must fit together.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../log/log.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage, StorageFile } from '../storage/storage.ts';
import { type Broker, openBroker } from './broker.ts';
import type { Delivery, Sink } from './queues/delivery.ts';
import type { Queue } from './queues/queue.ts';
import { plainForm } from './test-form.ts';
import type { Topic } from './topic.ts';

const open = (storage: Storage, shardCount: number): Promise<Broker> =>
  openBroker({ storage, durability: 'sync', shardCount, forms: [plainForm] });

const publish = (broker: Broker, log: Log, bodies: readonly string[]): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(plainForm.id, broker.clock.now());
  for (const body of bodies) {
    const bytes = Buffer.from(body);
    builder.beginMessage();
    builder.piece(bytes, 0, bytes.length);
    builder.deliver(log, builder.endMessage(), false);
  }
  builder.commit();
};

const subscribe = (broker: Broker, name: string, options: { exclusive?: boolean; start?: string } = {}): Queue =>
  broker.vhost('/')!.declareQueue(
    name,
    {
      durable: true,
      exclusive: options.exclusive ?? false,
      autoDelete: false,
      arguments: new Map([
        ['x-topic', 'events'],
        ['x-stream-offset', options.start ?? 'first'],
      ]),
    },
    broker,
  );

const createTopic = (broker: Broker, partitions: number): Topic =>
  broker.createTopic({ vhost: '/', name: 'events', partitions, config: new Map() });

const topicOf = (broker: Broker): Topic => broker.vhost('/')!.topic('events')!;
const queueOf = (broker: Broker, name: string): Queue => broker.vhost('/')!.queue(name)!;
const subscriptionId = ({ subscription }: Queue): number => subscription.parts[0]!.subscriptionId;

interface Received {
  readonly body: string;
  readonly redelivered: boolean;
}

/** Takes `count` messages, settles them if asked to, and leaves. */
const consume = (broker: Broker, { subscription }: Queue, count: number, settles = false): Promise<Received[]> =>
  new Promise((resolve) => {
    const received: Received[] = [];
    const sink: Sink = {
      autoAck: false,
      exclusive: false,
      priority: 0,
      hasCredit: () => received.length < count,
      deliver: (delivery: Delivery) => {
        received.push({ body: String(delivery.message().body), redelivered: delivery.redelivered });
        if (settles) broker.ack(delivery.part, delivery.offset);
        if (received.length === count) setImmediate(() => resolve(received));
      },
      onCancelled: () => {},
      onDamaged: assert.fail,
    };
    subscription.attach(sink);
  });

const bodies = (received: readonly Received[]): string[] => received.map(({ body }) => body).sort();

for (const shardCount of [1, 3]) {
  test(`acks of a subscription that is gone do not settle anything for a later one (${shardCount} shards)`, async () => {
    const disk = new MemoryDisk();
    let broker = await open(new MemoryStorage(disk), shardCount);
    const topic = createTopic(broker, 3);
    for (const [index, log] of topic.partitions.entries()) publish(broker, log, [`m${index}`]);
    const gone = subscribe(broker, 'gone', { exclusive: true });
    await consume(broker, gone, 3, true);
    await broker.close();

    broker = await open(new MemoryStorage(disk), shardCount);
    assert.equal(queueOf(broker, 'gone'), undefined);
    const later = subscribe(broker, 'later');
    assert.ok(subscriptionId(later) > subscriptionId(gone));
    await broker.close();

    // Now the records of both are found, those of the first before it is known that the second is another one.
    broker = await open(new MemoryStorage(disk), shardCount);
    assert.equal(queueOf(broker, 'later').messageCount, 3);
    assert.deepEqual(bodies(await consume(broker, queueOf(broker, 'later'), 3)), ['m0', 'm1', 'm2']);
    await broker.close();
  });

  test(`delivered marks of a subscription that is gone are not those of a later one (${shardCount} shards)`, async () => {
    const disk = new MemoryDisk();
    let broker = await open(new MemoryStorage(disk), shardCount);
    const { partitions } = createTopic(broker, 3);
    for (const log of partitions) publish(broker, log, ['first']);
    await consume(broker, subscribe(broker, 'gone', { exclusive: true }), 3);
    // The marks ride on these.
    for (const log of partitions) publish(broker, log, ['second']);
    await broker.close();

    broker = await open(new MemoryStorage(disk), shardCount);
    subscribe(broker, 'later');
    await broker.close();

    broker = await open(new MemoryStorage(disk), shardCount);
    const received = await consume(broker, queueOf(broker, 'later'), 6);
    assert.deepEqual(
      received.filter(({ redelivered }) => redelivered),
      [],
    );
    await broker.close();
  });

  test(`each log of a subscription keeps its own start through restarts (${shardCount} shards)`, async () => {
    const disk = new MemoryDisk();
    let broker = await open(new MemoryStorage(disk), shardCount);
    const topic = createTopic(broker, 3);
    for (const [index, log] of topic.partitions.entries()) {
      publish(
        broker,
        log,
        Array.from({ length: index * 2 }, (_, number) => `old${index}.${number}`),
      );
    }
    subscribe(broker, 'late', { start: 'next' });
    assert.equal(queueOf(broker, 'late').messageCount, 0);
    for (const [index, log] of topic.partitions.entries()) publish(broker, log, [`new${index}`]);
    for (let restart = 0; restart < 2; restart++) {
      await broker.close();
      broker = await open(new MemoryStorage(disk), shardCount);
      const late = queueOf(broker, 'late');
      assert.equal(late.messageCount, 3);
      assert.deepEqual(
        late.subscription.parts.map(({ acks }) => acks.startFloor),
        [0, 2, 4],
      );
    }
    assert.deepEqual(bodies(await consume(broker, queueOf(broker, 'late'), 3)), ['new0', 'new1', 'new2']);
    await broker.close();
  });
}

/** Writes of one shard may be kept from the disk for good; those of the others go through. */
class StuckShard implements Storage {
  readonly #storage: Storage;
  readonly #stuckName: string;
  readonly #isStuckShard: boolean;
  readonly #state: { stuck: boolean };

  constructor(storage: Storage, stuckName: string, state = { stuck: false }, isStuckShard = false) {
    this.#storage = storage;
    this.#stuckName = stuckName;
    this.#state = state;
    this.#isStuckShard = isStuckShard;
  }

  stick(): void {
    this.#state.stuck = true;
  }

  async open(...args: Parameters<Storage['open']>): Promise<StorageFile> {
    const file = await this.#storage.open(...args);
    const write = file.write.bind(file);
    file.write = (...parameters) => {
      if (!this.#isStuckShard || !this.#state.stuck) write(...parameters);
    };
    return file;
  }

  async subdirectory(name: string): Promise<Storage> {
    const subdirectory = await this.#storage.subdirectory(name);
    return new StuckShard(subdirectory, this.#stuckName, this.#state, name === this.#stuckName);
  }

  list = (): Promise<string[]> => this.#storage.list();
  rename = (from: string, to: string): Promise<void> => this.#storage.rename(from, to);
  remove = (name: string): Promise<void> => this.#storage.remove(name);
  syncDirectory = (): Promise<void> => this.#storage.syncDirectory();
  freeBytes = (): Promise<number> => this.#storage.freeBytes();
}

test('a subscription that began after messages which another shard lost gets what comes in their place', async () => {
  const disk = new MemoryDisk();
  const storage = new StuckShard(new MemoryStorage(disk), 'shard-1');
  let broker = await open(storage, 3);
  const log = createTopic(broker, 3).partitions.find(({ store }) => store.shard.index === 1)!;
  const partition = topicOf(broker).partitions.indexOf(log);
  publish(broker, log, ['kept']);
  await broker.gate.durableNow();
  storage.stick();
  publish(broker, log, ['lost', 'lost']);
  subscribe(broker, 'late', { start: 'next' });
  const { log: firstShardLog } = broker.shards[0]!;
  await untilDurable(() => firstShardLog.durablePosition === firstShardLog.endPosition);
  disk.killProcess(1);

  broker = await open(new MemoryStorage(disk), 3);
  const reopened = topicOf(broker).partitions[partition]!;
  assert.equal(reopened.endOffset, 1);
  assert.equal(queueOf(broker, 'late').messageCount, 0);
  publish(broker, reopened, ['x', 'y']);
  assert.equal(queueOf(broker, 'late').messageCount, 2);
  await broker.close();

  broker = await open(new MemoryStorage(disk), 3);
  assert.equal(queueOf(broker, 'late').messageCount, 2);
  assert.deepEqual(bodies(await consume(broker, queueOf(broker, 'late'), 2)), ['x', 'y']);
  await broker.close();
});

const untilDurable = async (isTrue: () => boolean): Promise<void> => {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve));
};
