/**
 * How long writes take that must be on the disk before they count, as those of the write-ahead log: into a file of its own that
 * was written before, as the log's files are, and that has no name while it is used, so that it goes with the process.
 */
import { randomBytes } from 'node:crypto';
import { DiskStorage } from '../../storage/disk-storage.ts';
import type { StorageFile } from '../../storage/storage.ts';

const fileBytes = 8 * 1024 * 1024;
/** On a slow disk there are fewer writes, and this is about how long they take. */
const elapsedMsMax = 3_000;

/** Times of writes of one size. */
export interface WriteTimes {
  readonly sizeBytes: number;
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How many took less than belowMs and not less than that of the entry before; null in the last: any time. */
  readonly histogram: readonly { readonly belowMs: number | null; readonly count: number }[];
}

export interface DiskTimes {
  /** Synced, 4 KiB and 64 KiB. */
  readonly synced: readonly WriteTimes[];
  /** Of 4 KiB into the page cache: what a write costs without the disk. */
  readonly unsynced: WriteTimes;
}

const histogramBoundsMs = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

/** Writes some megabytes into the directory. Rejects with the error of the system, ENOSPC for example. */
export const probeDisk = async (directory: string): Promise<DiskTimes> => {
  const storage = await DiskStorage.at(directory);
  const name = `doctor.${process.pid}.tmp`;
  const plain = await storage.open(name, { create: true, durable: false });
  try {
    const durable = await storage.open(name, { create: false, durable: true });
    try {
      // Fails where open files keep their names; then it is removed at the end.
      await storage.remove(name).catch(() => {});
      await fill(plain);
      const unsynced = await measure(plain, 4 * 1024, 300);
      await plain.sync();
      const synced = [await measure(durable, 4 * 1024, 300), await measure(durable, 64 * 1024, 200)];
      return { synced, unsynced };
    } finally {
      await durable.close();
    }
  } finally {
    await plain.close();
    await storage.remove(name).catch(() => {});
  }
};

const write = (file: StorageFile, bytes: Buffer, position: number): Promise<void> =>
  new Promise((resolve, reject) => {
    file.write(bytes, 0, bytes.length, position, (error) => (error === null ? resolve() : reject(error)));
  });

const fill = async (file: StorageFile): Promise<void> => {
  const bytes = randomBytes(1024 * 1024);
  for (let at = 0; at < fileBytes; at += bytes.length) await write(file, bytes, at);
  await file.sync();
};

const measure = async (file: StorageFile, sizeBytes: number, countMax: number): Promise<WriteTimes> => {
  const bytes = randomBytes(sizeBytes);
  const times: number[] = [];
  const startedMs = performance.now();
  let nowMs = startedMs;
  while (times.length < countMax && nowMs - startedMs < elapsedMsMax) {
    const beforeMs = nowMs;
    await write(file, bytes, (times.length * sizeBytes) % fileBytes);
    nowMs = performance.now();
    times.push(nowMs - beforeMs);
  }
  return summarize(sizeBytes, times);
};

/** @param times in milliseconds, one at least */
export const summarize = (sizeBytes: number, times: readonly number[]): WriteTimes => {
  const sorted = times.toSorted((left, right) => left - right);
  const rounded = (ms: number): number => Math.round(ms * 1_000) / 1_000;
  const percentile = (share: number): number => rounded(sorted[Math.ceil(share * sorted.length) - 1]!);
  let counted = 0;
  const histogram = [...histogramBoundsMs, null].map((belowMs) => {
    const below = sorted.filter((ms) => belowMs === null || ms < belowMs).length;
    const count = below - counted;
    counted = below;
    return { belowMs, count };
  });
  return {
    sizeBytes,
    count: sorted.length,
    p50Ms: percentile(0.5),
    p90Ms: percentile(0.9),
    p99Ms: percentile(0.99),
    maxMs: rounded(sorted.at(-1)!),
    histogram,
  };
};
