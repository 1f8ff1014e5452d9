/** What a log leaves when it is closed in order, and what the next open makes of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import {
  append,
  assertSameCommits,
  commitBytes,
  contractLimits,
  openAndReplay,
  untilDurable,
} from '../shard-log-contract.ts';
import { closedMarkPosition } from './closed-mark.ts';
import { LocalLog } from './local-log.ts';

const stand = (disk = new MemoryDisk()): { storage: FaultyStorage; log: LocalLog } => {
  const storage = new FaultyStorage(new MemoryStorage(disk));
  return { storage, log: new LocalLog({ storage, durability: 'sync', limits: contractLimits }) };
};

const marksIn = async (storage: FaultyStorage): Promise<number[]> =>
  (await storage.list()).map(closedMarkPosition).filter((position) => position !== undefined);

test('the mark of a closed log goes, for good, before anything is written, and what follows is read as ever', async () => {
  const disk = new MemoryDisk();
  const first = stand(disk);
  await openAndReplay(first.log);
  const commit = append(first.log, commitBytes(1, 3000));
  await first.log.close();
  assert.deepEqual(await marksIn(first.storage), [first.log.endPosition]);

  const second = stand(disk);
  const { commits } = await openAndReplay(second.log);
  assertSameCommits(commits, [commit]);
  const { trace } = second.storage;
  // What recovery writes before is what lies there already.
  const removedAt = trace.findIndex((step) => step.startsWith('remove closed-'));
  assert.deepEqual(trace.slice(removedAt + 1, removedAt + 2), ['sync-directory ']);
  const writtenAt = trace.findLastIndex((step) => step.startsWith('write wal-'));
  assert.ok(removedAt >= 0 && removedAt < writtenAt, `${removedAt}, ${writtenAt}`);
  const later = append(second.log, commitBytes(2, 3000));
  await second.log.writeCheckpoint({ position: second.log.endPosition, data: Buffer.alloc(0) });
  disk.crash(1);

  const third = stand(disk);
  assert.deepEqual(await marksIn(third.storage), []);
  assertSameCommits((await openAndReplay(third.log)).commits, [commit, later]);
  await third.log.close();
});

test('an open behind a close searches no file for frames', async () => {
  const readsOfOpen = async (disk: MemoryDisk): Promise<number> => {
    const { storage, log } = stand(disk);
    await openAndReplay(log);
    const count = storage.trace.filter((step) => step.startsWith('read wal-')).length;
    await log.close();
    return count;
  };
  const disk = new MemoryDisk();
  await readsOfOpen(disk);
  const behindClose = await readsOfOpen(disk);
  const storage = new MemoryStorage(disk);
  for (const name of await storage.list()) if (closedMarkPosition(name) !== undefined) await storage.remove(name);
  assert.ok(behindClose < (await readsOfOpen(disk)), `${behindClose} reads`);
});

test('a log that ends before its mark is damaged, each time until that is accepted', async () => {
  const disk = new MemoryDisk();
  const { storage, log } = stand(disk);
  await openAndReplay(log);
  const kept = append(log, commitBytes(1, 3000));
  await untilDurable(log);
  const lost = append(log, commitBytes(2, 3000));
  await log.close();
  const file = await storage.open('wal-000000000001', { create: false, durable: true });
  const offset = lost.position - contractLimits.walFileBytes;
  await new Promise((resolve) => file.write(Buffer.alloc(8, 1), 0, 8, offset, resolve));
  for (let time = 0; time < 2; time++) {
    await assert.rejects(openAndReplay(stand(disk).log), {
      kind: 'corrupt',
      message: /wal-000000000001 is damaged at offset \d+, before position \d+, at which the log was closed/,
    });
  }
  const losses: string[] = [];
  const accepting = new LocalLog({
    storage,
    durability: 'sync',
    limits: contractLimits,
    onLoss: (what) => losses.push(what),
  });
  assertSameCommits((await openAndReplay(accepting)).commits, [kept]);
  assert.ok(
    losses.some((what) => what.includes('the end of the log')),
    losses.join('\n'),
  );
  await accepting.writeCheckpoint({ position: accepting.endPosition, data: Buffer.alloc(0) });
  await accepting.close();
  const again = stand(disk);
  await openAndReplay(again.log);
  await again.log.close();
});

test('a log that has failed leaves no mark', async () => {
  const { storage, log } = stand();
  await openAndReplay(log);
  const failed = new Promise((resolve) => {
    log.onFailed = resolve;
  });
  storage.inject({ operation: 'write', name: /^wal-0*1$/, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  append(log, commitBytes(1, 3000));
  await failed;
  await log.close();
  assert.deepEqual(await marksIn(storage), []);
});
