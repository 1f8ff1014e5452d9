import assert from 'node:assert/strict';
import { test } from 'node:test';
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
