// A disk that is full to the last byte: the log opens again, as often as it is killed, and a checkpoint can follow.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../core/clock.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { type AppendedCommit, append, assertSameCommits, commitBytes, openAndReplay } from '../shard-log-contract.ts';
import { LocalLog } from './local-log.ts';

const kib = 1024;
const largeBytes = 60_000;
const limits = {
  walFileBytes: 4096 * kib,
  walBytesMax: 16 * 4096 * kib,
  walReserveBytes: 4 * 4096 * kib,
  walGroupBytes: 64 * kib,
  arenaChunkBytes: 256 * kib,
  arenaBytes: 1024 * kib,
};

const makeLog = (disk: MemoryDisk): LocalLog => {
  const { generation } = disk;
  // Retries come soon, and end with the process.
  const clock: Clock = {
    now: () => 0,
    after: (_delayMs, callback) => {
      const timer = setTimeout(() => {
        if (disk.generation === generation) callback();
      }, 1);
      return { cancel: () => clearTimeout(timer) };
    },
  };
  return new LocalLog({ storage: new MemoryStorage(disk), durability: 'sync', clock, limits });
};

/** Until all is durable, or it has waited long for space. */
const settle = async (log: LocalLog): Promise<boolean> => {
  for (let wait = 0; wait < 40 && log.durablePosition < log.endPosition; wait++)
    await new Promise((resolve) => setTimeout(resolve, 1));
  return log.durablePosition === log.endPosition;
};

/** One at a time until one is not durable, or so many; returns those that are. */
const appendUntilFull = async (log: LocalLog, lengthBytes: number, countMax: number): Promise<AppendedCommit[]> => {
  const durable: AppendedCommit[] = [];
  while (durable.length < countMax) {
    const commit = append(log, commitBytes(durable.length, lengthBytes));
    if (!(await settle(log))) break;
    durable.push(commit);
  }
  return durable;
};

/** Less than a file by so much that small commits are the last. */
const largeCount = Math.floor(limits.walFileBytes / largeBytes) - 1;

for (const { files, smallBytes } of [
  { files: 1, smallBytes: 19 },
  { files: 1, smallBytes: 80 },
  { files: 1, smallBytes: largeBytes },
  { files: 1.1, smallBytes: largeBytes },
  { files: 1.5, smallBytes: largeBytes },
  { files: 2.1, smallBytes: 5000 },
]) {
  test(`a log whose last commits have ${smallBytes} bytes, on a disk of ${files} files`, async () => {
    const disk = new MemoryDisk(Math.ceil(files * limits.walFileBytes));
    const first = makeLog(disk);
    await openAndReplay(first);
    const appended = await appendUntilFull(first, largeBytes, largeCount);
    appended.push(...(await appendUntilFull(first, smallBytes, Number.POSITIVE_INFINITY)));
    for (let kill = 0; kill < 20; kill++) {
      disk.killProcess(kill);
      const again = makeLog(disk);
      const { commits } = await openAndReplay(again);
      const found = commits.filter(({ bytes }) => bytes.length > 0);
      assertSameCommits(found, appended);
      again.reserve(0);
      again.commit();
      assert.ok(await settle(again), 'a checkpoint can follow');
    }
    disk.killProcess(0);
  });
}
