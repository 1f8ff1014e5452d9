/** A broker that cannot be opened leaves nothing at work in the storage: another may be opened in its place at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { type Broker, openBroker } from './broker.ts';
import { declare, foldingLimits, kib } from './folding-stand.ts';
import { plainForm } from './test-form.ts';

/** More turns of the event loop than anything here takes. */
const turnsMax = 500;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const open = (storage: Storage): Promise<Broker> =>
  openBroker({ storage, durability: 'sync', shardCount: 2, walLimits: foldingLimits });

/** So much of the log of the first shard is written that it prepares another file, and is killed while it does. */
const killWhilePreparing = async (disk: MemoryDisk): Promise<void> => {
  const broker = await open(new MemoryStorage(disk));
  const { log } = declare(broker, 'work');
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(plainForm.id, 0);
  builder.beginMessage();
  builder.piece(Buffer.alloc(16 * kib), 0, 16 * kib);
  builder.deliver(log!, builder.endMessage(), false);
  builder.commit();
  await broker.gate.durableNow();
  disk.killProcess(1);
};

test('when one shard fails to open, those before it are closed', async () => {
  const ends: (() => void)[] = [];
  /** The first shard prepares a file meanwhile, and does not come to an end with it. */
  const late: (() => void)[] = [];
  let storage: FaultyStorage | undefined;
  const disk = new MemoryDisk(Number.POSITIVE_INFINITY, (end) => {
    if (storage === undefined) setImmediate(end);
    else if (storage.trace.at(-1) === 'write wal-000000000002') late.push(end);
    else ends.push(end);
  });
  await killWhilePreparing(disk);
  storage = new FaultyStorage(new MemoryStorage(disk));
  // Each shard lists its directory twice.
  storage.inject({ operation: 'list', nth: 4, effect: 'error' });
  let error: unknown;
  open(storage).catch((reason: unknown) => {
    error = reason;
  });
  const hasFailed = (): boolean => storage!.trace.filter((step) => step === 'list ').length === 4;
  for (let turns = 0; error === undefined && turns < turnsMax; turns++) {
    (hasFailed() && late.length > 0 ? late : ends).shift()?.();
    await turn();
  }
  assert.match(String(error), /EIO/);
  const operationCount = storage.operationCount;
  for (let turns = 0; turns < turnsMax; turns++) {
    assert.equal(late.length + ends.length, 0, 'nothing is under way');
    await turn();
  }
  assert.equal(storage.operationCount, operationCount, 'nothing is begun');
});
