/** One process of recovery.ts: opens a broker over a directory, fills it if told so, says so, and closes at the end of its input. */
import { mkdirSync } from 'node:fs';
import { type Broker, openBroker } from '../../src/broker/broker.ts';
import type { Log } from '../../src/log/log.ts';
import { DiskStorage } from '../../src/storage/disk-storage.ts';

const directory = process.argv[2]!;
const load = process.argv[3]!;
const form = 200;
const body = Buffer.alloc(1024, 'x');
const noArguments = new Map();

/** One commit of `count` messages for each of the logs. */
const publish = (broker: Broker, logs: readonly Log[], count: number, sizeBytes: number): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(form, broker.clock.now());
  for (const log of logs) {
    for (let i = 0; i < count; i++) {
      builder.beginMessage();
      builder.piece(body, 0, sizeBytes);
      builder.deliver(log, builder.endMessage(), false);
    }
  }
  builder.commit();
};

/** Ten messages in each log; each comes alone, as from ten publishers. */
const publishInTurn = async (broker: Broker, logs: readonly Log[]): Promise<void> => {
  for (let round = 0; round < 10; round++) {
    for (let at = 0; at < logs.length; at += 100) {
      publish(broker, logs.slice(at, at + 100), 1, 100);
      if (at % 10_000 === 0) await broker.gate.durableNow();
    }
  }
};

const declareQueue = (broker: Broker, name: string): Log => {
  const properties = { durable: true, exclusive: false, autoDelete: false, arguments: noArguments };
  return broker.vhost('/')!.declareQueue(name, properties, undefined).log!;
};

const fillers: Readonly<Record<string, (broker: Broker) => Promise<void>>> = {
  none: async () => {},
  queues: async (broker) => {
    const logs: Log[] = [];
    for (let i = 0; i < 100_000; i++) {
      logs.push(declareQueue(broker, `queue-${i}`));
      if (i % 1000 === 0) await broker.gate.durableNow();
    }
    await publishInTurn(broker, logs);
  },
  groups: async (broker) => {
    const topics = Array.from({ length: 100 }, (_, i) =>
      broker.createTopic({ vhost: '/', name: `topic-${i}`, partitions: 100, config: noArguments }),
    );
    await publishInTurn(
      broker,
      topics.flatMap(({ partitions }) => partitions),
    );
    for (const [i, topic] of topics.entries()) {
      const offsets = topic.partitions.map((log, partition) => {
        const told = { leaderEpoch: -1, metadata: '', committedMs: broker.clock.now(), expiresMs: -1 };
        return { ...told, topicId: topic.id, partition, offset: log.endOffset };
      });
      broker.groupStore.commitOffsets(`group-${i}`, offsets);
    }
    await broker.gate.durableNow();
  },
  wal: async (broker) => {
    const log = declareQueue(broker, 'deep');
    const { limitBytes } = broker.shards[0]!.log;
    // Up to where folding would begin to empty it, and then as far as it gets while that goes on.
    for (let i = 0; i * 200 * 1024 < limitBytes * 0.95 && broker.hasRoom; i++) {
      publish(broker, [log], 200, 1024);
      if (i % 16 === 15) await broker.gate.durableNow();
    }
  },
};

mkdirSync(directory, { recursive: true });
const storage = await DiskStorage.at(directory);
const start = performance.now();
const broker = await openBroker({ storage, durability: 'sync', onFailed: (error) => console.error(error) });
publish(broker, [declareQueue(broker, 'first-ack')], 1, 100);
await broker.gate.durableNow();
const openMs = performance.now() - start;

/** What each slice of the checkpoints made from now on took of the event loop, in ms. */
const sliceMs: number[] = [];
const { log: shardLog } = broker.shards[0]!;
const writeCheckpoint = shardLog.writeCheckpoint.bind(shardLog);
shardLog.writeCheckpoint = (checkpoint, pieces) =>
  writeCheckpoint(checkpoint, {
    ...pieces!,
    next: () => {
      const begin = performance.now();
      const piece = pieces!.next();
      sliceMs.push(performance.now() - begin);
      return piece;
    },
  });

await fillers[load]!(broker);
globalThis.gc?.();
const rssMb = process.memoryUsage().rss / 1024 / 1024;
console.log(JSON.stringify({ openMs, rssMb }));
for await (const _ of process.stdin);
await broker.close();
console.log(JSON.stringify({ openMs, rssMb, sliceMs: sliceMs.sort((a, b) => a - b) }));
process.exit(0);
