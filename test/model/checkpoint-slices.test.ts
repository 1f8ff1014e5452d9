// Whatever is done between the slices of a checkpoint, it holds the state at its position: of everything, or with the ones before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Broker } from '../../src/broker/broker.ts';
import type { BrokerOptions } from '../../src/broker/broker-options.ts';
import { plainForm } from '../../src/broker/test-form.ts';
import type { Log } from '../../src/log/log.ts';
import { PieceWriter } from '../../src/shard/piece.ts';
import type { CheckpointPiece } from '../../src/shard/shard-log.ts';
import { MemoryDisk, MemoryStorage } from '../../src/storage/memory-storage.ts';
import { Dice, forEachSeed } from './dice.ts';
import { encodeBatch } from './record-batch.ts';
import { Stand } from './stand.ts';

const seedCount = 30;
const roundCount = 6;
const names = Array.from({ length: 8 }, (_, i) => `name-${i}`);
const noArguments = new Map();

const operations = {
  declareQueue: 8,
  deleteQueue: 4,
  createTopic: 4,
  deleteTopic: 2,
  configureTopic: 2,
  subscribeTopic: 5,
  declareExchange: 5,
  deleteExchange: 2,
  bind: 10,
  unbind: 4,
  publish: 12,
  produce: 6,
  purge: 4,
  settle: 8,
  commitOffsets: 8,
  removeGroup: 2,
  newProducerIds: 1,
} as const;

interface StoredCheckpoint {
  readonly data: Buffer;
  readonly isBase: boolean;
  readonly pieces: readonly CheckpointPiece[];
}

class SliceTest {
  readonly #dice: Dice;
  /** Files so large that nothing is folded: what is in segments is not in the checkpoints compared. */
  readonly #stand = new Stand(1, 4 * 1024 * 1024);
  #sequence = 0;

  constructor(seed: number) {
    this.#dice = new Dice(seed);
  }

  async run(): Promise<void> {
    await this.#stand.open();
    let chain: StoredCheckpoint[] = [];
    for (let round = 0; round < roundCount; round++) {
      for (let i = this.#dice.below(60); i >= 0; i--) this.#operate();
      const { expected, stored } = await this.#checkpoint(chain.length === 0 || this.#dice.chance(0.3));
      chain = stored.isBase ? [stored] : [...chain, stored];
      assert.deepEqual(await restored(chain), expected);
    }
    await this.#stand.broker.close();
  }

  /** Makes one, with operations between its slices, and takes down the state when it begins. */
  async #checkpoint(isBase: boolean): Promise<{ expected: unknown; stored: StoredCheckpoint }> {
    const { broker } = this.#stand;
    const [shard] = broker.shards;
    const log = shard!.log;
    let expected: unknown;
    let isWanted = true;
    Object.defineProperty(log, 'wantsCheckpoint', { configurable: true, get: () => isWanted });
    Object.defineProperty(log, 'needsBase', {
      configurable: true,
      get: () => {
        isWanted = false;
        expected = describe(broker);
        return isBase;
      },
    });
    const stored = await new Promise<StoredCheckpoint>((resolve) => {
      log.writeCheckpoint = async ({ data }, source) => {
        const pieces: CheckpointPiece[] = [];
        for (let piece = source!.next(); piece !== undefined; piece = source!.next()) {
          // Until the next call it stays as it is.
          for (let i = this.#dice.below(3); i > 0; i--) this.#operate();
          pieces.push({ section: piece.section, bytes: Buffer.from(piece.bytes) });
        }
        resolve({ data, isBase: source!.isBase, pieces });
      };
      shard!.endRecovery();
    });
    return { expected, stored };
  }

  #operate(): void {
    const { broker } = this.#stand;
    const host = broker.vhost('/')!;
    const name = this.#dice.pick(names)!;
    const queues = [...host.queues];
    const queue = this.#dice.pick(queues);
    const topic = this.#dice.pick([...host.topics]);
    const exchange = this.#dice.pick([...host.exchanges].filter((each) => each.name !== ''))!;
    switch (this.#dice.weighted(operations)) {
      case 'declareQueue':
        if (host.queue(name) === undefined && host.topic(name) === undefined) {
          const durable = this.#dice.chance(0.8);
          host.declareQueue(name, { durable, exclusive: false, autoDelete: false, arguments: noArguments }, undefined);
        }
        return;
      case 'deleteQueue':
        if (queue !== undefined) host.removeQueue(queue);
        return;
      case 'createTopic':
        if (host.queue(name) === undefined && host.topic(name) === undefined)
          broker.createTopic({ vhost: '/', name, partitions: this.#dice.between(1, 3), config: new Map() });
        return;
      case 'deleteTopic':
        if (topic !== undefined) broker.deleteTopic(topic);
        return;
      case 'configureTopic':
        if (topic !== undefined) broker.configureTopic(topic, new Map([['retention.ms', `${++this.#sequence}`]]));
        return;
      case 'subscribeTopic':
        if (topic !== undefined && host.queue(name) === undefined && host.topic(name) === undefined) {
          const from = this.#dice.chance(0.5) ? 'first' : 'next';
          const args = new Map([
            ['x-topic', topic.name],
            ['x-stream-offset', from],
          ]);
          host.declareQueue(name, { durable: true, exclusive: false, autoDelete: false, arguments: args }, undefined);
        }
        return;
      case 'declareExchange':
        if (host.exchange(name) === undefined) {
          const type = this.#dice.pick(['direct', 'topic', 'fanout'] as const)!;
          const durable = this.#dice.chance(0.8);
          const autoDelete = this.#dice.chance(0.2);
          host.declareExchange(name, { type, durable, autoDelete, internal: false, arguments: noArguments });
        }
        return;
      case 'deleteExchange':
        if (!exchange.name.startsWith('amq.')) host.deleteExchange(exchange.name, { ifUnused: false });
        return;
      case 'bind':
      case 'unbind':
        this.#bind();
        return;
      case 'publish': {
        const logs = this.#dice.some(this.#logs());
        if (logs.length > 0) this.#stand.publish([{ body: 'body', transient: this.#dice.chance(0.2), logs }]);
        return;
      }
      case 'produce':
        if (topic !== undefined) this.#produce(this.#dice.pick(topic.partitions)!);
        return;
      case 'purge':
        if (queue !== undefined) host.purgeQueue(queue);
        return;
      case 'settle': {
        const part = this.#dice.pick(queue?.subscription.parts ?? []);
        if (part === undefined || part.log.endOffset === 0) return;
        const offset = this.#dice.below(part.log.endOffset);
        if (!part.acks.has(offset)) broker.ack(part, offset);
        part.log.store.marks.note(part.log, part.subscriptionId, part.acks, offset + 1);
        broker.flushAcks();
        return;
      }
      case 'commitOffsets':
        broker.groupStore.commitOffsets(
          name,
          Array.from({ length: this.#dice.between(1, 300) }, (_, partition) => ({
            topicId: this.#dice.pick(['aa', 'bb'])!,
            partition,
            offset: ++this.#sequence,
            leaderEpoch: 1,
            metadata: '',
            committedMs: 1,
            expiresMs: -1,
          })),
        );
        return;
      case 'removeGroup':
        broker.groupStore.removeGroup(name);
        return;
      case 'newProducerIds':
        for (let i = 0; i < 600; i++) broker.newProducerId();
        return;
    }
  }

  #bind(): void {
    const host = this.#stand.broker.vhost('/')!;
    const source = this.#dice.pick([...host.exchanges].filter((each) => each.name !== ''))!.name;
    const key = this.#dice.pick(['a', 'b'])!;
    const isBind = this.#dice.chance(0.7);
    const queue = this.#dice.pick([...host.queues].filter(({ log }) => log !== undefined));
    const topic = this.#dice.pick([...host.topics]);
    const exchange = this.#dice.pick([...host.exchanges].filter((each) => each.name !== ''))!.name;
    const kind = this.#dice.pick(['queue', 'topic', 'exchange'] as const);
    if (kind === 'queue' && queue !== undefined) {
      if (isBind) host.bindQueue(queue, source, key, noArguments);
      else host.unbindQueue(queue, source, key, noArguments);
    } else if (kind === 'topic' && topic !== undefined) {
      if (isBind) host.bindTopic(topic, source, key, noArguments);
      else host.unbindTopic(topic, source, key, noArguments);
    } else if (kind === 'exchange') {
      if (isBind) host.bindExchange(exchange, source, key, noArguments);
      else host.unbindExchange(exchange, source, key, noArguments);
    }
  }

  #logs(): Log[] {
    const host = this.#stand.broker.vhost('/')!;
    const ofQueues = [...host.queues].flatMap(({ log }) => (log === undefined ? [] : [log]));
    return [...ofQueues, ...[...host.topics].flatMap(({ partitions }) => partitions)];
  }

  #produce(log: Log): void {
    const producer = { id: this.#dice.between(1, 9), epoch: 0, sequence: this.#sequence++ };
    this.#stand.appendBatch(log, encodeBatch(['value'], 1, producer));
  }
}

/** All that a checkpoint has to hold. */
const describe = (broker: Broker): unknown => {
  const host = broker.vhost('/')!;
  const queues = [...host.queues].filter(({ isKept }) => isKept);
  const logs = [...[...host.topics].flatMap(({ partitions }) => partitions)];
  for (const { log } of queues) if (log !== undefined) logs.push(log);
  const byName = <Named extends { name: string }>(items: Named[]): Named[] =>
    items.sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    clusterId: broker.clusterId,
    topics: byName(
      [...host.topics].map(({ name, id, config, partitions }) => ({ name, id, config, logs: partitions.map(logId) })),
    ),
    queues: byName(
      queues.map(({ name, topic, properties, log, subscription }) => ({
        name,
        properties,
        topic: [topic.name, topic.id],
        log: log === undefined ? undefined : logId(log),
        parts: subscription.parts.map(({ subscriptionId, acks }) => [subscriptionId, acks.startFloor]),
      })),
    ),
    exchanges: byName(
      [...host.exchanges]
        .filter(({ properties }) => properties.durable)
        .map(({ name, properties, bindings }) => ({
          name,
          properties,
          bindings: [...bindings]
            .map(({ destination: { kind, name: to }, key }) => ({ kind, to, key }))
            .filter(({ kind, to }) => {
              if (kind === 'queue') return host.queue(to)?.isKept === true;
              return kind === 'topic' || host.exchange(to)?.properties.durable === true;
            })
            .map(({ kind, to, key }) => `${kind} ${to} ${key}`)
            .sort(),
        })),
    ),
    logs: logs.map(describeLog).sort((a, b) => a.id - b.id),
    groups: byName(
      [...broker.groupStore.groups].map(({ id, offsets }) => ({ name: id, offsets: structuredClone(offsets) })),
    ),
  };
};

const logId = ({ id }: Log): number => id;

const describeLog = (log: Log) => {
  const producers = new PieceWriter();
  log.producers.save(producers);
  return {
    id: log.id as number,
    start: log.startOffset,
    end: log.endOffset,
    epochs: [...log.epochs],
    // Those of exclusive queues and of deleted ones are not kept.
    acks: [...log.subscriptions]
      .map(([id, { floor, deliveredMark, ranges }]) => ({ id, floor, deliveredMark, ranges: [...ranges] }))
      .sort((a, b) => a.id - b.id),
    producers: producers.take().toString('hex'),
  };
};

/** The state that the checkpoints make: a base and the deltas after it. */
const restored = async (chain: readonly StoredCheckpoint[]): Promise<unknown> => {
  const options: BrokerOptions = {
    storage: new MemoryStorage(new MemoryDisk()),
    durability: 'sync',
    forms: [plainForm],
    onFailed: (error) => {
      throw error;
    },
  };
  const broker = new Broker(options, [options.storage]);
  const { log } = broker.shards[0]!;
  const open = log.open.bind(log);
  log.open = async (onCheckpoint, replay, onPiece) => {
    onCheckpoint({ position: log.endPosition, data: chain.at(-1)!.data });
    for (let section = 0; section < 3; section++) {
      for (const { pieces } of chain) {
        for (const piece of pieces) if (piece.section === section) onPiece!(section, piece.bytes);
      }
    }
    return open(() => {}, replay);
  };
  await broker.start();
  const state = describe(broker);
  await broker.close();
  return state;
};

test('a checkpoint is the state at its position, whatever is done between its slices', async () => {
  await forEachSeed(seedCount, (seed) => new SliceTest(seed).run());
});
