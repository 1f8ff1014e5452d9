/**
 * What a group commit costs: LocalLog against append + fdatasync of a growing file, one group at a time, and LocalLog
 * with many commits in flight. Run: node --import tsx bench/engine/wal-sync.ts [directory]
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits } from '../../src/core/limits.ts';
import { LocalLog } from '../../src/shard/local/local-log.ts';
import type { Durability } from '../../src/shard/shard-log.ts';
import { DiskStorage } from '../../src/storage/disk-storage.ts';

const directory = process.argv[2] ?? tmpdir();
const secondsPerCase = Number(process.env.BENCH_SECONDS ?? 2);
const groupSizes = [512, 4 * 1024, 64 * 1024, 256 * 1024];

interface Row {
  readonly what: string;
  readonly groupBytes: number;
  readonly microseconds: number[];
  readonly seconds: number;
}

const print = ({ what, groupBytes, microseconds, seconds }: Row): void => {
  microseconds.sort((a, b) => a - b);
  const at = (share: number): string =>
    (microseconds[Math.min(microseconds.length - 1, Math.floor(microseconds.length * share))] ?? 0)
      .toFixed(0)
      .padStart(7);
  const perSecond = microseconds.length / seconds;
  const megabytes = (perSecond * groupBytes) / 1e6;
  console.log(
    `${what.padEnd(30)} ${String(groupBytes).padStart(7)} B  p50 ${at(0.5)} us  p99 ${at(0.99)} us  max ${at(1)} us` +
      `  ${perSecond.toFixed(0).padStart(8)} /s  ${megabytes.toFixed(1).padStart(7)} MB/s`,
  );
};

const now = (): number => Number(process.hrtime.bigint()) / 1000;

const appendAndSync = async (path: string, groupBytes: number): Promise<Row> => {
  const file = await open(join(path, 'appended'), 'w');
  const bytes = Buffer.alloc(groupBytes, 1);
  const microseconds: number[] = [];
  const start = now();
  while (now() - start < secondsPerCase * 1e6) {
    const before = now();
    await file.write(bytes);
    await file.datasync();
    microseconds.push(now() - before);
  }
  await file.close();
  return { what: 'append + fdatasync', groupBytes, microseconds, seconds: (now() - start) / 1e6 };
};

/** Goes through some files, so that the measurement runs in recycled ones: the steady state. */
const warmUp = async (log: LocalLog): Promise<void> => {
  const targetPosition = log.endPosition + 4 * limits.walFileBytes;
  while (log.endPosition < targetPosition) {
    log.reserve(512 * 1024);
    log.commit();
    await new Promise<void>((resolve) => {
      log.onDurable = () => resolve();
    });
    if (log.wantsCheckpoint) await log.writeCheckpoint({ position: log.endPosition, data: Buffer.alloc(0) });
  }
};

const withLog = async <Result>(path: string, durability: Durability, run: (log: LocalLog) => Promise<Result>) => {
  const storage = await (await DiskStorage.at(path)).subdirectory(`wal-${durability}-${Math.random()}`);
  const log = new LocalLog({ storage, durability });
  await log.open(
    () => {},
    () => {},
  );
  await warmUp(log);
  const result = await run(log);
  await log.close();
  return result;
};

/** One commit at a time, in files that are prepared: the steady state. */
const oneByOne = async (log: LocalLog, groupBytes: number, what: string): Promise<Row> => {
  const bytes = Buffer.alloc(groupBytes, 1);
  const microseconds: number[] = [];
  const start = now();
  while (now() - start < secondsPerCase * 1e6) {
    const before = now();
    log.reserve(groupBytes);
    bytes.copy(log.reservedBuffer, log.reservedStart);
    log.commit();
    await new Promise<void>((resolve) => {
      log.onDurable = () => resolve();
    });
    microseconds.push(now() - before);
    if (log.wantsCheckpoint) await log.writeCheckpoint({ position: log.endPosition, data: Buffer.alloc(0) });
  }
  return { what, groupBytes, microseconds, seconds: (now() - start) / 1e6 };
};

/** A window of commits in flight, refilled as they become durable: what a loaded broker does. */
const windowed = async (log: LocalLog, commitBytes: number, windowCount: number): Promise<void> => {
  const bytes = Buffer.alloc(commitBytes, 1);
  const waiting: number[] = [];
  const started: number[] = [];
  const microseconds: number[] = [];
  let groupCount = 0;
  const put = (): void => {
    log.reserve(commitBytes);
    bytes.copy(log.reservedBuffer, log.reservedStart);
    waiting.push(log.commit());
    started.push(now());
  };
  const start = now();
  await new Promise<void>((resolve) => {
    let head = 0;
    log.onDurable = (durablePosition) => {
      groupCount++;
      const at = now();
      const first = head;
      while (head < waiting.length && waiting[head]! <= durablePosition) microseconds.push(at - started[head++]!);
      if (at - start > secondsPerCase * 1e6) return resolve();
      for (let count = head - first; count > 0; count--) put();
      if (log.wantsCheckpoint) void log.writeCheckpoint({ position: log.endPosition, data: Buffer.alloc(0) });
    };
    for (let count = 0; count < windowCount; count++) put();
  });
  const seconds = (now() - start) / 1e6;
  print({ what: `LocalLog, ${windowCount} in flight`, groupBytes: commitBytes, microseconds, seconds });
  console.log(`${''.padEnd(30)} ${(microseconds.length / groupCount).toFixed(1)} commits per write`);
};

const path = await mkdtemp(join(directory, 'rosettamq-bench-'));
try {
  for (const groupBytes of groupSizes) {
    print(await appendAndSync(path, groupBytes));
    for (const durability of ['sync', 'os'] satisfies Durability[]) {
      await withLog(path, durability, async (log) => print(await oneByOne(log, groupBytes, `LocalLog ${durability}`)));
    }
  }
  for (const [commitBytes, windowCount] of [
    [512, 200],
    [512, 5000],
    [4096, 1000],
    [65_536, 64],
  ] as const) {
    await withLog(path, 'sync', (log) => windowed(log, commitBytes, windowCount));
  }
} finally {
  await rm(path, { recursive: true });
}
