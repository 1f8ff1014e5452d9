import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { DurableGate } from './gate.ts';
import { LocalLog } from './local/local-log.ts';
import { recordType, Shard, type StateOwner } from './shard.ts';

const kib = 1024;
const limits = { walFileBytes: 8 * kib, walBytesMax: 64 * kib, walGroupBytes: 2 * kib, walReserveBytes: 16 * kib };

/** Keeps nothing, and counts the checkpoints that are begun. */
class Forgetful implements StateOwner {
  readonly recordTypes = [recordType.catalog];
  checkpointCount = 0;
  apply(): void {}
  head = (): Buffer => Buffer.alloc(0);
  restoreHead(): void {}
  beginCheckpoint(): void {
    this.checkpointCount++;
  }
  nextPiece = (): undefined => undefined;
  endCheckpoint(): void {}
  restorePiece(): void {}
}

test('after a failure elsewhere a log that is still at work stores no checkpoints', async () => {
  const gate = new DurableGate(1);
  const owner = new Forgetful();
  const log = new LocalLog({ storage: new MemoryStorage(new MemoryDisk()), durability: 'sync', limits });
  const shard = new Shard(0, log, gate);
  shard.register(owner);
  await shard.open();

  const churn = async (): Promise<void> => {
    for (let i = 0; i < 16; i++) {
      shard.commitRecord(recordType.catalog, 0, Buffer.alloc(kib));
      const { endPosition } = log;
      while (log.durablePosition < endPosition) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await churn();
  const { checkpointCount } = owner;
  assert.ok(checkpointCount > 0);

  gate.fail(new Error('a read failed'));
  await churn();
  assert.equal(owner.checkpointCount, checkpointCount);
  await shard.close();
});

test('close ends although a checkpoint waits for a file of the log that cannot be made', async () => {
  const gate = new DurableGate(1);
  const storage = new FaultyStorage(new MemoryStorage(new MemoryDisk()));
  const log = new LocalLog({ storage, durability: 'sync', limits });
  const owner = new Forgetful();
  const shard = new Shard(0, log, gate);
  shard.register(owner);
  shard.onFailed = (error) => gate.fail(error);
  await shard.open();
  storage.inject({ operation: 'open', name: /^wal-/, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  for (let i = 0; i < 40; i++) shard.commitRecord(recordType.catalog, 0, Buffer.alloc(kib));
  while (owner.checkpointCount === 0) await new Promise((resolve) => setImmediate(resolve));
  await shard.close();
  assert.ok(gate.hasFailed, 'what waited is told that it is not durable');
});
