// Apache Kafka's own load tools, run as processes, and their output as numbers. Topics are made and deleted with a light client:
// the Java command line takes longer to start than the work takes.
import { Kafka, logLevel } from 'kafkajs';
import { kafkaClassPath } from './peers/kafka.ts';
import { type Command, runToEnd } from './run/process.ts';

/** Of a producer's records, sent first and left out of its figures: its JVM is still compiling. */
const WARM_UP_SHARE = 0.2;
const TOOL_TIMEOUT_MS = 10 * 60_000;
/** How often the tail reader reports, and how long it waits for records before it gives up. */
const REPORT_INTERVAL_MS = 500;
const CONSUMER_TIMEOUT_MS = 30_000;

const toolCommand = async (name: string, args: readonly string[]): Promise<Command> => {
  const classPath = await kafkaClassPath();
  return { command: 'java', args: ['-Xmx512m', '-cp', classPath, `org.apache.kafka.tools.${name}`, ...args] };
};

const runTool = async (name: string, args: readonly string[]): Promise<string> =>
  runToEnd(await toolCommand(name, args), TOOL_TIMEOUT_MS);

const withAdmin = async <T>(address: string, work: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> => {
  const admin = new Kafka({ brokers: [address], clientId: 'bench', logLevel: logLevel.ERROR }).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
};

export const createTopic = (address: string, topic: string, numPartitions: number): Promise<void> =>
  withAdmin(address, async (admin) => {
    await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] });
  });

export const deleteTopic = (address: string, topic: string): Promise<void> =>
  withAdmin(address, (admin) => admin.deleteTopics({ topics: [topic] }));

export interface ProducerRun {
  /** Warm-up included. */
  readonly recordCount: number;
  readonly recordSizeBytes: number;
  /** Client settings beyond acks=all, `name=value`. */
  readonly properties: readonly string[];
}

export interface ProducerResult {
  readonly ratePerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const PRODUCER_SUMMARY =
  /steady state records sent, ([\d.]+) records\/sec .* (\d+) ms 50th, \d+ ms 95th, (\d+) ms 99th, \d+ ms 99\.9th/;

export const producerPerformanceCommand = (address: string, topic: string, run: ProducerRun): Promise<Command> =>
  toolCommand('ProducerPerformance', [
    ...['--bootstrap-server', address, '--topic', topic, '--throughput', '-1'],
    ...['--num-records', String(run.recordCount), '--record-size', String(run.recordSizeBytes)],
    ...['--warmup-records', String(Math.ceil(run.recordCount * WARM_UP_SHARE))],
    ...['--command-property', 'acks=all', ...run.properties],
  ]);

export const producerPerformance = async (
  address: string,
  topic: string,
  run: ProducerRun,
): Promise<ProducerResult> => {
  const output = await runToEnd(await producerPerformanceCommand(address, topic, run), TOOL_TIMEOUT_MS);
  const [, rate, p50, p99] = PRODUCER_SUMMARY.exec(output) ?? [];
  if (rate === undefined) throw new Error(`no summary from ProducerPerformance: ${output.slice(-500)}`);
  return { ratePerSecond: Number(rate), p50Ms: Number(p50), p99Ms: Number(p99) };
};

const consumerArgs = (address: string, topic: string, recordCount: number): string[] => [
  ...['--bootstrap-server', address, '--topic', topic, '--group', topic],
  ...['--num-records', String(recordCount), '--timeout', String(CONSUMER_TIMEOUT_MS)],
];

const numbers = (csvLine: string): number[] => csvLine.split(',').map((cell) => Number(cell.trim()));

/** Records a second of fetching, without the time the group took to form. */
export const consumerPerformance = async (address: string, topic: string, recordCount: number): Promise<number> => {
  const output = await runTool('ConsumerPerformance', consumerArgs(address, topic, recordCount));
  const columns = numbers(
    output
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/\d+-\d+-\d+ [\d:]+/g, '0') ?? '',
  );
  const [consumed, rate] = [columns[4], columns[9]];
  if (rate === undefined || (consumed ?? 0) < recordCount) throw new Error(`ConsumerPerformance fell short: ${output}`);
  return rate;
};

/** Records a second of a consumer that reads what is being produced meanwhile, from its first report with records to its last. */
export const tailPerformance = async (address: string, topic: string, recordCount: number): Promise<number> => {
  const reporting = ['--from-latest', '--show-detailed-stats', '--hide-header'];
  const interval = ['--reporting-interval', String(REPORT_INTERVAL_MS)];
  const args = [...consumerArgs(address, topic, recordCount), ...reporting, ...interval];
  const output = await runTool('ConsumerPerformance', args);
  const reports = output
    .trim()
    .split('\n')
    .map((line) => ({
      timeMs: Date.parse(line.slice(0, 23).replace(/:(\d{3})$/, '.$1')),
      count: numbers(line)[4] ?? 0,
    }))
    .filter(({ timeMs, count }) => Number.isFinite(timeMs) && count > 0);
  const [first, last] = [reports[0], reports.at(-1)];
  if (first === undefined || last === undefined || last.timeMs === first.timeMs)
    throw new Error(`too short: ${output}`);
  return ((last.count - first.count) / (last.timeMs - first.timeMs)) * 1000;
};

export interface LatencyResult {
  readonly averageMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** One record at a time from producer to consumer. The tool knows whole milliseconds only, except in its average. */
export const endToEndLatency = async (address: string, topic: string, recordCount: number): Promise<LatencyResult> => {
  const output = await runTool('EndToEndLatency', [
    ...['--bootstrap-server', address, '--topic', topic, '--num-records', String(recordCount)],
    ...['--producer-acks', 'all', '--record-size', '100'],
  ]);
  const average = /Avg latency: ([\d.]+)/.exec(output)?.[1];
  const [, p50, p99] = /50th = (\d+), 99th = (\d+)/.exec(output) ?? [];
  if (average === undefined || p50 === undefined) throw new Error(`no summary from EndToEndLatency: ${output}`);
  return { averageMs: Number(average), p50Ms: Number(p50), p99Ms: Number(p99) };
};
