// RabbitMQ's PerfTest, run as a process, and its one-second reports as numbers. The reports of its first seconds, while its JVM is
// still compiling, are left out; percentiles are the median of what the remaining seconds report.
import { perfTestClassPath } from './peers/rabbitmq.ts';
import { runToEnd } from './run/process.ts';

const WARM_UP_SECONDS = 3;
/** On top of the seconds it is told to run. */
const TIMEOUT_MS = 60_000;

interface LatencyMs {
  readonly p50: number;
  readonly p99: number;
}

export interface PerfTestResult {
  readonly sentPerSecond: number;
  /** Absent without confirms. */
  readonly confirmedPerSecond: number | undefined;
  /** Absent without a consumer. */
  readonly receivedPerSecond: number | undefined;
  readonly confirmLatency: LatencyMs | undefined;
  readonly consumerLatency: LatencyMs | undefined;
  /** Sent in the whole run, warm-up included. */
  readonly sentCount: number;
}

const mean = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;

const medianMs = (micros: readonly number[]): number => micros.toSorted((a, b) => a - b)[micros.length >> 1]! / 1000;

/** The one number that a report gives under `name`, from each report that has it. */
const each = (reports: readonly string[], name: string): number[] =>
  reports.flatMap((report) => {
    const match = new RegExp(`${name}: (\\d+) msg/s`).exec(report);
    return match === null ? [] : [Number(match[1])];
  });

/** Reports print min/median/75th/95th/99th in microseconds. */
const latency = (reports: readonly string[], name: 'confirm' | 'consumer'): LatencyMs | undefined => {
  const figures = reports.flatMap((report) => {
    const match = new RegExp(`${name} latency: ([\\d/]+)`).exec(report);
    return match === null ? [] : [match[1]!.split('/').map(Number)];
  });
  if (figures.length === 0) return undefined;
  return { p50: medianMs(figures.map((figure) => figure[1]!)), p99: medianMs(figures.map((figure) => figure[4]!)) };
};

export const perfTest = async (address: string, args: readonly string[], seconds: number): Promise<PerfTestResult> => {
  const classPath = await perfTestClassPath();
  const totalSeconds = WARM_UP_SECONDS + seconds;
  const fixed = ['-h', `amqp://${address}`, '-ad', 'false', '-z', String(totalSeconds)];
  const javaArgs = ['-cp', classPath, 'com.rabbitmq.perf.PerfTest', ...fixed, ...args];
  const output = await runToEnd({ command: 'java', args: javaArgs }, totalSeconds * 1000 + TIMEOUT_MS);
  const reports = output
    .split('\n')
    .filter((line) => Number(/, time ([\d.]+) s,/.exec(line)?.[1]) > WARM_UP_SECONDS + 0.5);
  const sent = mean(each(reports, 'sent'));
  const sentAverage = /sending rate avg: (\d+)/.exec(output)?.[1];
  if (sent === undefined || sentAverage === undefined)
    throw new Error(`no reports from PerfTest: ${output.slice(-500)}`);
  return {
    sentPerSecond: sent,
    confirmedPerSecond: mean(each(reports, 'confirmed')),
    receivedPerSecond: mean(each(reports, 'received')),
    confirmLatency: latency(reports, 'confirm'),
    consumerLatency: latency(reports, 'consumer'),
    sentCount: Number(sentAverage) * totalSeconds,
  };
};
