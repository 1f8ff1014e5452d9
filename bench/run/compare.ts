// The comparison itself: every row is run on every target in turn, the order turned by one each time, and the median of the rounds
// is printed with the broker's CPU time and peak memory beside it.
//
// All brokers are up the whole time (a JVM or BEAM that starts for every row would never be warm); an idle one costs 1-2 % of a core,
// the same to everybody. `sync` runs between measurements, so that nobody pays for the dirty pages of the one before.
import { runToEnd, type ServerProcess, type Usage } from './process.ts';
import { formatTable } from './table.ts';

const SYNC_TIMEOUT_MS = 120_000;

export interface Target {
  readonly name: string;
  /** When an acknowledgement is sent, in a few words. */
  readonly durability: string;
  readonly isOurs: boolean;
  readonly address: string;
  readonly server: ServerProcess;
}

export interface Outcome {
  /** Operations a second; absent where only the latency is of interest. */
  readonly ratePerSecond?: number;
  /** What CPU time is divided by: everything the broker was made to do while it was measured. */
  readonly operationCount: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly note?: string;
}

export interface Row<T extends Target> {
  readonly id: string;
  readonly title: string;
  /** Which targets it makes sense for; all if absent. */
  readonly appliesTo?: (target: T) => boolean;
  /** `name` is new for every run: call topics and queues by it. */
  readonly prepare?: (target: T, name: string) => Promise<void>;
  readonly run: (target: T, name: string) => Promise<Outcome>;
  readonly cleanUp: (target: T, name: string) => Promise<void>;
}

type Measurement = Outcome & Usage;

interface Plan<T extends Target> {
  readonly rows: readonly Row<T>[];
  readonly targets: readonly T[];
  readonly rounds: number;
}

const median = (values: readonly number[]): number | undefined => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
};

const medianOf = (measurements: readonly Measurement[], key: keyof Measurement): number | undefined =>
  median(measurements.flatMap((measurement) => (typeof measurement[key] === 'number' ? [measurement[key]] : [])));

const microsPerOperation = (measurements: readonly Measurement[]): number | undefined =>
  median(measurements.map(({ cpuSeconds, operationCount }) => (cpuSeconds / operationCount) * 1e6));

const measureOnce = async <T extends Target>(row: Row<T>, target: T, name: string): Promise<Measurement | string> => {
  try {
    await row.prepare?.(target, name);
    await runToEnd({ command: 'sync', args: [] }, SYNC_TIMEOUT_MS);
    const { result, usage } = await target.server.measure(() => row.run(target, name));
    await row.cleanUp(target, name);
    return { ...result, ...usage };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

const digits = (value: number | undefined, count: number): string =>
  value === undefined || !Number.isFinite(value)
    ? ''
    : value.toLocaleString('en-US', { minimumFractionDigits: count, maximumFractionDigits: count });

const ratio = (ours: number | undefined, theirs: number | undefined): string =>
  ours === undefined || theirs === undefined ? '' : `${digits(ours / theirs, 2)}x`;

const HEADINGS = [
  ...['target', 'durability', 'rate/s', 'ours/it'],
  ...['p50 ms', 'p99 ms', 'ours/it', 'CPU s', 'CPU us each', 'ours/it', 'RSS MB', 'note'],
];

/** One line a target. The columns `ours/it` divide our figure, to their left, by the target's. */
const report = <T extends Target>(row: Row<T>, results: ReadonlyMap<T, Measurement[]>): string => {
  const ours = [...results].find(([target]) => target.isOurs)?.[1] ?? [];
  const lines = [...results].map(([target, own]) => {
    const against = (of: (measurements: readonly Measurement[]) => number | undefined) =>
      target.isOurs ? '' : ratio(of(ours), of(own));
    const rate = (of: readonly Measurement[]) => medianOf(of, 'ratePerSecond');
    const p99 = (of: readonly Measurement[]) => medianOf(of, 'p99Ms');
    return [
      target.name,
      target.durability,
      digits(rate(own), 0),
      against(rate),
      digits(medianOf(own, 'p50Ms'), 2),
      digits(p99(own), 2),
      against(p99),
      digits(medianOf(own, 'cpuSeconds'), 2),
      digits(microsPerOperation(own), 2),
      against(microsPerOperation),
      digits(medianOf(own, 'rssPeakMb'), 0),
      own.at(-1)?.note ?? (own.length === 0 ? 'failed' : ''),
    ];
  });
  return `\n### ${row.id}: ${row.title}\n\n${formatTable(HEADINGS, lines)}`;
};

/** Runs the plan and prints a table per row; failures are printed as they come and leave their cell empty. */
export const compare = async <T extends Target>({ rows, targets, rounds }: Plan<T>): Promise<void> => {
  const results = new Map(
    rows.map((row) => [
      row,
      new Map(targets.filter((t) => row.appliesTo?.(t) ?? true).map((t) => [t, [] as Measurement[]])),
    ]),
  );
  let turn = 0;
  for (let round = 1; round <= rounds; round += 1) {
    for (const [row, perTarget] of results) {
      const order = [...perTarget.keys()];
      order.push(...order.splice(0, turn % order.length));
      turn += 1;
      for (const target of order) {
        const measurement = await measureOnce(row, target, `bench-${row.id}-${turn}`);
        const failed = typeof measurement === 'string';
        if (!failed) perTarget.get(target)?.push(measurement);
        console.error(
          `${round}/${rounds} ${row.id} ${target.name}: ${failed ? measurement : JSON.stringify(measurement)}`,
        );
      }
    }
  }
  for (const [row, perTarget] of results) console.log(report(row, perTarget));
};
