// A checkpoint that cannot be stored leaves nothing behind, whatever fails and however often.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '../../core/ids.ts';
import { type Fault, FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import type { CheckpointPieces } from '../shard-log.ts';
import { inspectCheckpoint } from './checkpoint-file.ts';
import { CheckpointStore } from './checkpoint-store.ts';

const checkpoint = { position: 1000 as Position, data: Buffer.from('heads') };
const noRoom = async (): Promise<boolean> => false;

const twoPieces = (): CheckpointPieces => {
  const pieces = ['first', 'second'].map((text, section) => ({ section, bytes: Buffer.from(text) }));
  return { isBase: true, next: () => pieces.shift() };
};

const startStore = async (storage: FaultyStorage, makeRoom = noRoom): Promise<CheckpointStore> => {
  const store = new CheckpointStore({ storage, makeRoom });
  await store.start({ salt: 7, lastNumber: 0, newest: undefined, givenUp: [] });
  return store;
};

const write = (store: CheckpointStore): Promise<void> => store.write(checkpoint, twoPieces(), async () => []);

const faults: readonly Omit<Fault, 'nth' | 'effect'>[] = [
  { operation: 'write', name: /^checkpoint-part/, code: 'ENOSPC' },
  { operation: 'sync', name: /^checkpoint-part/ },
  { operation: 'close', name: /^checkpoint-part/ },
  { operation: 'open', name: /tmp$/, code: 'ENOSPC' },
  { operation: 'sync', name: /tmp$/ },
  { operation: 'rename' },
];

for (const effect of ['error', 'late'] as const) {
  for (const fault of faults) {
    test(`${fault.operation} ${fault.name ?? ''} fails (${effect})`, async () => {
      const storage = new FaultyStorage(new MemoryStorage());
      const store = await startStore(storage);
      await write(store);
      const stored = await storage.list();
      storage.inject({ ...fault, nth: 1, times: Number.POSITIVE_INFINITY, effect });
      for (let i = 0; i < 5; i++) {
        await assert.rejects(write(store));
        assert.deepEqual(await storage.list(), stored);
      }
      storage.heal();
      await write(store);
      assert.equal((await storage.list()).length, 4);
    });
  }
}

for (const code of ['ENOSPC', 'EDQUOT'] as const) {
  test(`${code} at the sync of a part: room is made for another try, which survives a crash`, async () => {
    const disk = new MemoryDisk();
    const storage = new FaultyStorage(new MemoryStorage(disk));
    let roomCount = 0;
    const store = await startStore(storage, async () => {
      roomCount++;
      return true;
    });
    storage.inject({ operation: 'sync', name: /^checkpoint-part/, nth: 1, effect: 'lost', code });
    await assert.rejects(write(store), { code });
    assert.equal(roomCount, 1);
    await write(store);
    disk.crash(1);
    const found = await inspectCheckpoint(new MemoryStorage(disk), 2);
    assert.ok(!('what' in found), 'it is whole');
  });
}

test('what cannot be removed at once is removed later', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const store = await startStore(storage);
  storage.inject({ operation: 'rename', nth: 1, times: 2, effect: 'error' });
  storage.inject({ operation: 'remove', nth: 1, effect: 'error' });
  await assert.rejects(write(store));
  assert.equal((await storage.list()).length, 2);
  await assert.rejects(write(store));
  assert.deepEqual(await storage.list(), []);
});

test('a checkpoint that has its name but is not known to be durable goes before its part', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const store = await startStore(storage);
  storage.inject({ operation: 'sync-directory', nth: 1, effect: 'error' });
  await assert.rejects(write(store));
  assert.deepEqual(storage.trace.slice(-3), [
    'remove checkpoint-000000000001',
    'sync-directory ',
    'remove checkpoint-part-000000000001',
  ]);
});
