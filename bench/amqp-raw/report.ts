// What the raw generator prints. Rates leave out its warm-up; the counts are of the whole run.

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface RawReport {
  readonly seconds: number;
  readonly publishRate: number;
  readonly confirmRate: number;
  readonly consumeRate: number;
  readonly published: number;
  /** Positively or negatively. */
  readonly confirmed: number;
  /** Those of `confirmed` that the broker refused. */
  readonly rejected: number;
  readonly consumed: number;
  /** From the write of a message to its confirm, for a window of 1 only. */
  readonly confirmLatencyUs?: Percentiles;
  readonly generatorCpuSeconds: number;
}

/** Of all values, in their unit. */
export const percentiles = (values: readonly number[]): Percentiles => {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
};
