// RosettaMQ beside RabbitMQ, under RabbitMQ's own PerfTest and under a raw generator that is never the bottleneck.
// How to run it and what the rows mean: README.md.
import { type QueueType, RawConnection } from './amqp-raw/connection.ts';
import { runRaw } from './amqp-raw/run.ts';
import { startOurs } from './ours.ts';
import { startRabbitmq } from './peers/rabbitmq.ts';
import { perfTest } from './perf-test.ts';
import { compare, type Outcome, type Row, type Target } from './run/compare.ts';
import { parseCompareOptions, selectRows } from './run/options.ts';

interface AmqpTarget extends Target {
  readonly queueType: QueueType;
}

type AmqpRow = Row<AmqpTarget>;

const DEFAULT_SECONDS = 10;
const WARM_UP_SECONDS = 3;
const QUEUE_COUNT = 1000;
/** As strace shows on 4.3.6: classic queues confirm what they have written, quorum queues what fdatasync has returned for. */
const CLASSIC_DURABILITY = 'before sync';
const QUORUM_DURABILITY = 'sync';

const notQuorum = ({ queueType }: AmqpTarget) => queueType !== 'quorum';
const perSecond = (what: string, rate: number) => `${what} ${Math.round(rate)}/s`;

/** Enough for us to move the first of it into segments, and for RabbitMQ to have it on disk. */
const DEEP_MESSAGE_COUNT = 10_000_000;
const DEEP_PEER_MESSAGE_COUNT = 2_000_000;
const DEEP_DRAINED_COUNT = 1_000_000;
const DEEP_FILL_SECONDS_MAX = 300;

/**
 * Ours: of 1,000 queues with 10,000 messages each, which lie in shared segments, the first 100. The peer's: one queue with twice
 * as many messages as are drained.
 */
const drainRow: AmqpRow = {
  id: 'drain-deep',
  title:
    'Raw generator, draining what was published long ago: ours 100 queues of 1,000 in shared segments, RabbitMQ one deep queue',
  appliesTo: notQuorum,
  prepare: async ({ address, isOurs }, queue) => {
    const spread = isOurs ? ['--queues', String(QUEUE_COUNT), '--run', '10'] : [];
    const count = isOurs ? DEEP_MESSAGE_COUNT : DEEP_PEER_MESSAGE_COUNT;
    const flags = ['--queue', queue, '--keep', '--window', '1000', '--messages', String(count), ...spread];
    await runRaw(address, flags, DEEP_FILL_SECONDS_MAX);
  },
  run: async ({ address, isOurs }, queue) => {
    const spread = isOurs ? ['--queues', String(QUEUE_COUNT / 10)] : [];
    const flags = ['--queue', queue, '--no-publish', '--consume', '--warmup', '0', ...spread];
    const report = await runRaw(
      address,
      [...flags, '--messages', String(DEEP_DRAINED_COUNT * 0.98)],
      DEEP_FILL_SECONDS_MAX,
    );
    return { ratePerSecond: report.consumeRate, operationCount: report.consumed };
  },
  cleanUp: async (target, queue) => {
    const queues = target.isOurs ? Array.from({ length: QUEUE_COUNT }, (_, i) => `${queue}-${i}`) : [queue];
    for (const name of queues) await deleteQueue(target, name);
  },
};

const deleteQueue = async (target: AmqpTarget, queue: string): Promise<void> => {
  const connection = await RawConnection.open(target.address);
  await connection.deleteQueue(queue);
  connection.close();
};

interface RowOptions {
  readonly id: string;
  readonly title: string;
  /** The tool's own arguments, besides address, queue, queue type and duration. */
  readonly args: readonly string[];
  readonly appliesTo?: (target: AmqpTarget) => boolean;
}

/** The rate is of what arrived: received where there is a consumer, else confirmed. */
const perfTestRow = ({ args, ...row }: RowOptions, seconds: number): AmqpRow => ({
  ...row,
  run: async (target, queue): Promise<Outcome> => {
    const quorum = target.queueType === 'quorum' ? ['-qq'] : [];
    const result = await perfTest(target.address, ['-u', queue, '-s', '100', ...args, ...quorum], seconds);
    const latency = result.consumerLatency ?? result.confirmLatency;
    return {
      ratePerSecond: result.receivedPerSecond ?? result.confirmedPerSecond ?? result.sentPerSecond,
      operationCount: result.sentCount,
      ...(latency && { p50Ms: latency.p50, p99Ms: latency.p99 }),
      ...(result.receivedPerSecond !== undefined && { note: perSecond('sent', result.sentPerSecond) }),
    };
  },
  cleanUp: deleteQueue,
});

const rawRow = ({ args, ...row }: RowOptions, seconds: number): AmqpRow => ({
  ...row,
  run: async (target, queue): Promise<Outcome> => {
    const flags = ['--queue', queue, '--queue-type', target.queueType, ...args];
    const report = await runRaw(target.address, flags, seconds);
    if (report.rejected > 0) throw new Error(`${report.rejected} messages were refused`);
    const isConsuming = report.consumed > 0;
    const latency = report.confirmLatencyUs;
    return {
      ratePerSecond: isConsuming ? report.consumeRate : report.confirmRate,
      operationCount: isConsuming ? report.consumed : report.confirmed,
      ...(latency && { p50Ms: latency.p50 / 1000, p99Ms: latency.p99 / 1000 }),
      ...(isConsuming && { note: perSecond('published', report.publishRate) }),
    };
  },
  cleanUp: async () => {}, // the generator deletes its queues
});

const perfTestRows: readonly RowOptions[] = [
  {
    id: 'confirm-1000',
    title: 'PerfTest, persistent, 1 publisher, confirm window 1000',
    args: ['-y', '0', '-f', 'persistent', '-c', '1000'],
  },
  {
    id: 'confirm-200',
    title: 'PerfTest, persistent, 1 publisher, confirm window 200',
    args: ['-y', '0', '-f', 'persistent', '-c', '200'],
  },
  {
    id: 'confirm-1',
    title: 'PerfTest, persistent, 1 publisher, confirm window 1',
    args: ['-y', '0', '-f', 'persistent', '-c', '1'],
  },
  {
    id: 'no-confirm',
    title: 'PerfTest, persistent, no confirms, consumer with prefetch 200 that acks every 10',
    args: ['-f', 'persistent', '-q', '200', '-A', '10'],
    appliesTo: notQuorum,
  },
  { id: 'transient', title: 'PerfTest, transient, auto-ack', args: ['-a'], appliesTo: notQuorum },
  {
    id: 'latency-5000',
    title: 'PerfTest, persistent, end to end at 5,000 msg/s with confirms (window 1000), prefetch 200, ack every 10',
    args: ['-f', 'persistent', '-c', '1000', '-q', '200', '-A', '10', '-r', '5000'],
  },
];

const rawRows: readonly RowOptions[] = [
  { id: 'raw-confirm-1000', title: 'Raw generator, persistent, confirm window 1000', args: ['--window', '1000'] },
  { id: 'raw-confirm-200', title: 'Raw generator, persistent, confirm window 200', args: ['--window', '200'] },
  { id: 'raw-confirm-1', title: 'Raw generator, persistent, confirm window 1', args: ['--window', '1'] },
  {
    id: 'raw-consume',
    title: 'Raw generator, persistent, publish flat out without confirms, consume at once with an ack every 10',
    args: ['--window', '0', '--consume'],
  },
  {
    id: 'raw-1000-queues',
    title: `Raw generator, persistent, confirm window 1000, ${QUEUE_COUNT} queues in turn, 250 messages each`,
    args: ['--window', '1000', '--queues', String(QUEUE_COUNT), '--run', '250'],
    appliesTo: notQuorum,
  },
  {
    id: 'raw-1000-queues-singly',
    title: `Raw generator, persistent, confirm window 1000, ${QUEUE_COUNT} queues in turn, one message each`,
    args: ['--window', '1000', '--queues', String(QUEUE_COUNT)],
    appliesTo: notQuorum,
  },
];

const options = parseCompareOptions('seconds');
const seconds = options.amount ?? DEFAULT_SECONDS;
const rows = selectRows(
  [...perfTestRows.map((row) => perfTestRow(row, seconds)), ...rawRows.map((row) => rawRow(row, seconds)), drainRow],
  options.only,
);
const targets: AmqpTarget[] = [];
if (options.withOurs) {
  const { amqp, server } = await startOurs(options.ours);
  const { durability } = options.ours;
  targets.push({ name: server.name, durability, isOurs: true, address: amqp, server, queueType: 'classic' });
}
if (options.withPeers) {
  const { address, server } = await startRabbitmq();
  const peer = { isOurs: false, address, server };
  targets.push({ ...peer, name: `${server.name} classic`, durability: CLASSIC_DURABILITY, queueType: 'classic' });
  targets.push({ ...peer, name: `${server.name} quorum`, durability: QUORUM_DURABILITY, queueType: 'quorum' });
}
for (const { address, queueType } of targets) {
  await runRaw(address, ['--queue', 'bench-warm-up', '--queue-type', queueType], Math.min(seconds, WARM_UP_SECONDS));
}
await compare({ rows, targets, rounds: options.rounds });
await Promise.all([...new Set(targets.map(({ server }) => server))].map((server) => server.stop()));
