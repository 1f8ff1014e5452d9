// RosettaMQ beside Apache Kafka, both under Kafka's own Java load tools. How to run it and what the rows mean: README.md.
import {
  consumerPerformance,
  createTopic,
  deleteTopic,
  endToEndLatency,
  type ProducerRun,
  producerPerformance,
  tailPerformance,
} from './kafka-tools.ts';
import { startOurs } from './ours.ts';
import { type KafkaFlush, startKafka } from './peers/kafka.ts';
import { compare, type Row, type Target } from './run/compare.ts';
import { type CompareOptions, parseCompareOptions, selectRows } from './run/options.ts';

interface KafkaTarget extends Target {
  /** A broker that syncs every append one by one is given a quarter of the records, so that its runs last as long as the others'. */
  readonly recordShare: number;
}

type KafkaRow = Row<KafkaTarget>;

const WARM_UP = { recordCount: 500_000, recordSizeBytes: 1024, properties: [] } satisfies ProducerRun;
const SEGMENTS_RECORD_COUNT = 3_000_000;
const LATENCY_RECORD_COUNT = 10_000;
/** The tail reader misses what is produced before it has joined, so more is produced than it waits for. */
const TAIL_SURPLUS = 2;

const deleteOwnTopic = (target: KafkaTarget, topic: string) => deleteTopic(target.address, topic);

interface ProduceRowOptions {
  readonly id: string;
  readonly title: string;
  readonly load: ProducerRun;
  readonly partitionCount?: number;
}

const produceRow = ({ id, title, load, partitionCount = 1 }: ProduceRowOptions): KafkaRow => ({
  id,
  title,
  prepare: (target, topic) => createTopic(target.address, topic, partitionCount),
  run: async (target, topic) => {
    const recordCount = Math.ceil(load.recordCount * target.recordShare);
    const result = await producerPerformance(target.address, topic, { ...load, recordCount });
    return { ...result, operationCount: recordCount };
  },
  cleanUp: deleteOwnTopic,
});

interface ColdRowOptions {
  readonly id: string;
  readonly title: string;
  readonly load: ProducerRun;
  readonly consumedCount: number;
}

const coldRow = ({ id, title, load, consumedCount }: ColdRowOptions): KafkaRow => ({
  id,
  title,
  appliesTo: ({ recordShare }) => recordShare === 1,
  prepare: async (target, topic) => {
    await createTopic(target.address, topic, 1);
    await producerPerformance(target.address, topic, load);
  },
  run: async (target, topic) => ({
    ratePerSecond: await consumerPerformance(target.address, topic, consumedCount),
    operationCount: consumedCount,
  }),
  cleanUp: deleteOwnTopic,
});

const tailRow = (load: ProducerRun): KafkaRow => ({
  id: 'consume-tail',
  title: 'ConsumerPerformance at the tail while ProducerPerformance writes, 1 KB, batch.size 65536',
  appliesTo: ({ recordShare }) => recordShare === 1,
  prepare: (target, topic) => createTopic(target.address, topic, 1),
  run: async (target, topic) => {
    const surplusLoad = { ...load, recordCount: load.recordCount * TAIL_SURPLUS };
    const [consumed, produced] = await Promise.all([
      tailPerformance(target.address, topic, load.recordCount),
      producerPerformance(target.address, topic, surplusLoad),
    ]);
    const note = `produced at ${Math.round(produced.ratePerSecond)}/s`;
    return { ratePerSecond: consumed, operationCount: surplusLoad.recordCount, note };
  },
  cleanUp: deleteOwnTopic,
});

const latencyRow = (recordCount: number): KafkaRow => ({
  id: 'latency',
  title: 'EndToEndLatency, 100 B, acks=all, one record at a time (whole milliseconds)',
  prepare: (target, topic) => createTopic(target.address, topic, 1),
  run: async (target, topic) => {
    const { averageMs, p50Ms, p99Ms } = await endToEndLatency(target.address, topic, recordCount);
    return { operationCount: recordCount, p50Ms, p99Ms, note: `average ${averageMs.toFixed(2)} ms` };
  },
  cleanUp: deleteOwnTopic,
});

/** `recordCount`, where given, replaces every row's own. */
const allRows = (recordCount: number | undefined): KafkaRow[] => {
  const load = (ownCount: number, recordSizeBytes: number, ...properties: string[]): ProducerRun => ({
    recordCount: recordCount ?? ownCount,
    recordSizeBytes,
    properties,
  });
  return [
    produceRow({ id: '1kb', title: '1 KB, stock client settings', load: load(700_000, 1024) }),
    produceRow({ id: '1kb-64k', title: '1 KB, batch.size 65536', load: load(1_000_000, 1024, 'batch.size=65536') }),
    produceRow({
      id: '100b-linger',
      title: '100 B, linger 5 ms, batch.size 65536',
      load: load(5_000_000, 100, 'linger.ms=5', 'batch.size=65536'),
    }),
    produceRow({
      id: '100-partitions',
      title: '100 partitions, 1 KB, stock client settings',
      load: load(400_000, 1024),
      partitionCount: 100,
    }),
    tailRow(load(500_000, 1024, 'batch.size=65536')),
    coldRow({
      id: 'consume-cold',
      title: 'ConsumerPerformance from the start of a log much larger than what the broker keeps in memory, 1 KB',
      load: load(1_000_000, 1024, 'batch.size=65536'),
      consumedCount: recordCount ?? 1_000_000,
    }),
    coldRow({
      id: 'consume-segments',
      title: 'ConsumerPerformance from the start of 3 GB: what we have moved into segments, 1 KB',
      load: { recordCount: SEGMENTS_RECORD_COUNT, recordSizeBytes: 1024, properties: ['batch.size=65536'] },
      consumedCount: Math.min(recordCount ?? SEGMENTS_RECORD_COUNT / 3, SEGMENTS_RECORD_COUNT / 3),
    }),
    latencyRow(Math.min(recordCount ?? LATENCY_RECORD_COUNT, LATENCY_RECORD_COUNT)),
  ];
};

const kafkaTarget = async (flush: KafkaFlush): Promise<KafkaTarget> => {
  const { address, server } = await startKafka(flush);
  const [durability, recordShare] =
    flush === 'stock' ? (['before sync', 1] as const) : (['each append synced', 0.25] as const);
  return { name: server.name, durability, isOurs: false, address, server, recordShare };
};

const ourTarget = async ({ ours }: CompareOptions): Promise<KafkaTarget> => {
  const { kafka, server } = await startOurs(ours);
  return { name: server.name, durability: ours.durability, isOurs: true, address: kafka, server, recordShare: 1 };
};

const warmUp = async (target: KafkaTarget, recordCount: number): Promise<void> => {
  await createTopic(target.address, 'bench-warm-up', 1);
  await producerPerformance(target.address, 'bench-warm-up', {
    ...WARM_UP,
    recordCount: recordCount * target.recordShare,
  });
  await deleteTopic(target.address, 'bench-warm-up');
};

const options = parseCompareOptions('records');
const rows = selectRows(allRows(options.amount), options.only);
const targets: KafkaTarget[] = [];
if (options.withOurs) targets.push(await ourTarget(options));
if (options.withPeers) targets.push(await kafkaTarget('stock'), await kafkaTarget('flush'));
for (const target of targets)
  await warmUp(target, Math.min(options.amount ?? WARM_UP.recordCount, WARM_UP.recordCount));
await compare({ rows, targets, rounds: options.rounds });
await Promise.all(targets.map(({ server }) => server.stop()));
