/** What a check of the doctor says, and the checks that need no more than numbers. */
import { limits } from '../../core/limits.ts';
import { indexEntryBytes } from '../../log/log-index.ts';
import { segmentHandlesMax } from '../../shard/local/wal-limits.ts';
import { nodeVersionMin } from '../version.ts';
import type { DiskTimes, WriteTimes } from './disk-probe.ts';

/** Fail: a broker cannot work so. Warn: it works, with less than it promises or for less than is configured. */
export type CheckStatus = 'ok' | 'warn' | 'fail';

export interface Check {
  readonly name: string;
  readonly status: CheckStatus;
  readonly text: string;
  /** For programs. */
  readonly values?: Readonly<Record<string, unknown>>;
}

/** A write that waits for a disk takes this much longer than one that does not, at the very least. */
const plausibleSyncMs = 0.01;
const slowSyncMs = 100;
/** Descriptors besides files of logs and connections: listeners, the lock, directories, Node's own. */
const otherDescriptors = 64;

const mib = 1024 * 1024;
export const bytesText = (bytes: number): string =>
  bytes >= 1024 * mib ? `${(bytes / 1024 / mib).toFixed(1)} GiB` : `${(bytes / mib).toFixed(1)} MiB`;

const histogramText = ({ histogram }: WriteTimes): string =>
  histogram
    .filter(({ count }) => count > 0)
    .map(({ belowMs, count }) => (belowMs === null ? `slower ${count}` : `<${belowMs} ms ${count}`))
    .join(', ');

const timesText = (times: WriteTimes): string =>
  `median ${times.p50Ms} ms, 90 % ${times.p90Ms} ms, 99 % ${times.p99Ms} ms, slowest ${times.maxMs} ms of ${times.count} writes (${histogramText(times)})`;

/** A line for each size, and what they say about the disk. */
export const checkDiskTimes = ({ synced, unsynced }: DiskTimes): Check[] => {
  const checks = synced.map((times): Check => {
    const name = `synced writes of ${times.sizeBytes / 1024} KiB`;
    const isSlow = times.p99Ms > slowSyncMs;
    const text = timesText(times) + (isSlow ? ': slow, and every confirm waits for one' : '');
    return { name, status: isSlow ? 'warn' : 'ok', text, values: { ...times } };
  });
  const syncMs = synced[0]!.p50Ms - unsynced.p50Ms;
  const isPlausible = syncMs >= plausibleSyncMs;
  const compared = `a synced write takes ${synced[0]!.p50Ms} ms, one to the page cache ${unsynced.p50Ms} ms`;
  return [
    ...checks,
    {
      name: 'durable disk',
      status: isPlausible ? 'ok' : 'warn',
      text: isPlausible ? compared : `${compared}: implausibly fast, nothing seems to wait for a disk`,
      values: { syncedMs: synced[0]!.p50Ms, unsyncedMs: unsynced.p50Ms },
    },
  ];
};

export interface SpaceNumbers {
  readonly freeBytes: number;
  readonly shards: number;
  readonly walBytesMax: number;
  /** Of the log files that are there already. */
  readonly walBytesThere: number;
}

/** Free space against what the logs may still take, and a reserve for checkpoints and the first segments. */
export const checkSpace = ({ freeBytes, shards, walBytesMax, walBytesThere }: SpaceNumbers): Check => {
  const wantedBytes = Math.max(0, shards * walBytesMax - walBytesThere) + limits.walReserveBytes;
  const leastBytes = walBytesThere > 0 ? limits.walFileBytes : shards * 2 * limits.walFileBytes;
  const values = { freeBytes, wantedBytes, walBytesThere };
  const free = `${bytesText(freeBytes)} free`;
  if (freeBytes < leastBytes) {
    return {
      name: 'free space',
      status: 'fail',
      text: `${free}: the logs need ${bytesText(leastBytes)} to begin`,
      values,
    };
  }
  const text = `${free}; the logs may still take ${bytesText(wantedBytes)} (storage.wal.bytes.max × ${shards} + reserve), segments come on top`;
  return { name: 'free space', status: freeBytes < wantedBytes ? 'warn' : 'ok', text, values };
};

export interface FileNumbers {
  /** Undefined where it cannot be known. */
  readonly limit: number | undefined;
  readonly connectionsMax: number;
  readonly shards: number;
  readonly walBytesMax: number;
}

/** The limit of open files against what the configuration may open. */
export const checkOpenFiles = ({ limit, connectionsMax, shards, walBytesMax }: FileNumbers): Check => {
  const files = shards * (Math.ceil(walBytesMax / limits.walFileBytes) + segmentHandlesMax) + otherDescriptors;
  const wanted = connectionsMax + files;
  const name = 'open files';
  const need = `${connectionsMax} connections (connections.max) and ${files} files may want ${wanted}`;
  const values = { limit: limit ?? null, wanted };
  if (limit === undefined)
    return { name, status: 'ok', text: `the limit is not known on this system; ${need}`, values };
  if (limit < files)
    return { name, status: 'fail', text: `the limit is ${limit}; the files alone may want ${files}`, values };
  return { name, status: limit < wanted ? 'warn' : 'ok', text: `the limit is ${limit}; ${need}`, values };
};

export interface MemoryNumbers {
  readonly machineBytes: number;
  /** Of the container or the like; larger than the machine's where there is none. */
  readonly constrainedBytes: number;
  readonly shards: number;
}

/** Node.js, the program and what it allocates before anybody connects. */
const programBytes = 128 * mib;

/** The bounds of what the configuration may take against what there is. */
export const checkMemory = ({ machineBytes, constrainedBytes, shards }: MemoryNumbers): Check => {
  const { arenaBytes, readAheadBudgetBytes, readAheadBytes, prefetchesMax, walEntriesMax } = limits;
  // The budget is one of the log's windows and one of the segments'.
  const windowBytes = 2 * readAheadBudgetBytes + prefetchesMax * readAheadBytes;
  const leastBytes = programBytes + shards * (arenaBytes + windowBytes);
  const indexBytes = shards * walEntriesMax * indexEntryBytes * 2;
  const isConstrained = constrainedBytes < machineBytes;
  const limitBytes = isConstrained ? constrainedBytes : machineBytes;
  const wantedBytes = leastBytes + indexBytes;
  const status = limitBytes < leastBytes ? 'fail' : limitBytes < wantedBytes ? 'warn' : 'ok';
  const text = [
    `${bytesText(limitBytes)} ${isConstrained ? 'for this container' : 'in this machine'}`,
    `arena, windows and program may take ${bytesText(leastBytes)} with shards=${shards}`,
    `the index of the log ${bytesText(indexBytes)} more, with millions of small messages in it`,
    'connections and the index of segments come on top',
  ].join('; ');
  return { name: 'memory', status, text, values: { limitBytes, leastBytes, wantedBytes, isConstrained } };
};

/** @param version as process.versions.node */
export const checkNode = (version: string): Check => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMin = 0, minorMin = 0] = nodeVersionMin.split('.').map(Number);
  const isNewEnough = major > majorMin || (major === majorMin && minor >= minorMin);
  const text = isNewEnough ? version : `${version}; ${nodeVersionMin} is the oldest that is supported`;
  return { name: 'node', status: isNewEnough ? 'ok' : 'fail', text, values: { version } };
};

export const checkProcessors = (count: number): Check => ({
  name: 'processors',
  status: count < 2 ? 'warn' : 'ok',
  text: count < 2 ? '1: writes and compression compete with the broker for it' : `${count}`,
  values: { count },
});

/** What an acknowledgement will mean. */
export const checkDurability = (mode: string, isMemory: boolean): Check => {
  const name = 'durability';
  const values = { mode, memory: isMemory };
  if (isMemory) return { name, status: 'warn', text: 'memory: nothing survives the process', values };
  return mode === 'os'
    ? {
        name,
        status: 'warn',
        text: 'os: a crash of the machine may lose what was acknowledged last; a crash of the broker does not',
        values,
      }
    : {
        name,
        status: 'ok',
        text: 'sync: what was acknowledged is on the disk, as far as the disk tells the truth',
        values,
      };
};
