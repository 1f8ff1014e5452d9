/** Full disks, failing disks and damaged checkpoints: what the log does, and that it goes on by itself where it can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
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
import { walHeaderBytes } from './wal-file.ts';

const clock = {
  now: () => Date.now(),
  after: (_delayMs: number, callback: () => void) => {
    const timer = setTimeout(callback, 1);
    return { cancel: () => clearTimeout(timer) };
  },
};

const makeLog = (storage: Storage): LocalLog =>
  new LocalLog({ storage, durability: 'sync', clock, limits: contractLimits });

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
};

/** Until the background preparation of files has come to its end. */
const untilQuiet = async (storage: FaultyStorage): Promise<void> => {
  let before = -1;
  await until(() => {
    const isQuiet = storage.operationCount === before;
    before = storage.operationCount;
    return isQuiet;
  });
};

test('on a full disk room ends while the active file still takes commits, and comes back by itself', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const log = makeLog(storage);
  await openAndReplay(log);
  const changes: boolean[] = [];
  log.onRoomChanged = (hasRoom) => changes.push(hasRoom);
  log.onFailed = assert.fail;
  storage.inject({ operation: 'truncate', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error', code: 'ENOSPC' });
  const appended = [append(log, commitBytes(0, 10_000))];
  await untilDurable(log);
  await until(() => !log.hasRoom);
  for (let index = 1; index <= 4; index++) appended.push(append(log, commitBytes(index, 10_000)));
  await untilDurable(log);
  appended.push(append(log, commitBytes(5, 30_000)));
  for (let count = 0; count < 20; count++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(log.durablePosition < log.endPosition, 'there is no file for it yet');
  storage.heal();
  await untilDurable(log);
  await until(() => log.hasRoom);
  assert.deepEqual(changes, [false, true]);
  await log.close();
  const again = makeLog(storage);
  assertSameCommits((await openAndReplay(again)).commits, appended);
  await again.close();
});

test('room comes back when the next file is whole, not with each step of its preparation', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const log = makeLog(storage);
  await openAndReplay(log);
  const changes: boolean[] = [];
  storage.inject({ operation: 'truncate', name: /^wal-0*2$/, nth: 1, effect: 'error', code: 'ENOSPC' });
  const zeroing = { operation: 'write', name: /^wal-0*2$/, effect: 'error', code: 'ENOSPC' } as const;
  // The header is the first write.
  storage.inject({ ...zeroing, nth: 2, times: 3 });
  log.onRoomChanged = (hasRoom) => changes.push(hasRoom);
  append(log, commitBytes(0, 10_000));
  await until(() => changes.length > 0);
  await until(() => log.hasRoom);
  assert.deepEqual(changes, [false, true]);
  await log.close();
});

test('a file is not begun on a disk that has no room for it', async () => {
  const { walFileBytes } = contractLimits;
  const disk = new MemoryDisk(2 * walFileBytes);
  const storage = new FaultyStorage(new MemoryStorage(disk));
  const log = makeLog(storage);
  await openAndReplay(log);
  append(log, commitBytes(0, 10_000));
  await until(() => !log.hasRoom);
  assert.ok(!storage.trace.includes('open wal-000000000002'));
  assert.equal(disk.freeBytes, walFileBytes, 'what a checkpoint may need is left');
  await log.close();
});

test('a file that frames wait for is prepared although one before it cannot be, which costs no room', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const log = makeLog(storage);
  await openAndReplay(log);
  storage.inject({ operation: 'sync', name: /^wal-0*1$/, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  for (let index = 0; index < 12; index++) append(log, commitBytes(index, 10_000));
  await untilDurable(log);
  await until(() => log.hasRoom);
  await log.close();
});

test('a full disk at the very first start fails the open instead of hanging', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  storage.inject({ operation: 'truncate', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error', code: 'ENOSPC' });
  await assert.rejects(openAndReplay(makeLog(storage)), { kind: 'storage-failed' });
  storage.heal();
  const log = makeLog(storage);
  await openAndReplay(log);
  await log.close();
});

test('a checkpoint on a full disk takes the space of a prepared file', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const log = makeLog(storage);
  await openAndReplay(log);
  append(log, commitBytes(0, 20_000));
  await untilDurable(log);
  await until(() => storage.trace.filter((step) => step === 'write wal-000000000002').length >= 3);
  storage.inject({ operation: 'write', name: /^checkpoint/, nth: 1, effect: 'error', code: 'ENOSPC' });
  await log.writeCheckpoint({ position: log.endPosition, data: Buffer.from('kept') });
  assert.ok(storage.trace.includes('remove wal-000000000002'));
  await until(() => log.hasRoom);
  await log.close();
  const again = makeLog(storage);
  assert.equal((await openAndReplay(again)).checkpoint?.data.toString(), 'kept');
  await again.close();
});

test('parts that a crash left without a checkpoint are removed at open', async () => {
  const storage = new MemoryStorage();
  const log = makeLog(storage);
  await openAndReplay(log);
  append(log, commitBytes(0, 100));
  const pieces = [{ section: 0, bytes: Buffer.from('state') }];
  await log.writeCheckpoint(
    { position: log.endPosition, data: Buffer.alloc(0) },
    { isBase: true, next: () => pieces.shift() },
  );
  await log.close();
  const stored = (await storage.list()).filter((name) => closedMarkPosition(name) === undefined);
  const left = await storage.open('checkpoint-part-000000000002', { create: true, durable: false });
  await left.close();
  const again = makeLog(storage);
  await openAndReplay(again);
  assert.deepEqual(await storage.list(), stored);
  await again.close();
});

test('a failed write is told once, nothing after it is durable, and a reopened log has what was', async () => {
  for (const effect of ['error', 'short', 'late'] as const) {
    const storage = new FaultyStorage(new MemoryStorage());
    const log = makeLog(storage);
    await openAndReplay(log);
    const kept = append(log, commitBytes(1, 10_000));
    await untilDurable(log);
    await untilQuiet(storage);
    storage.inject({ operation: 'write', nth: 1, name: /^wal-0*1$/, effect });
    const failures: Error[] = [];
    log.onFailed = (error) => failures.push(error);
    log.onDurable = () => assert.fail('nothing is durable any more');
    append(log, commitBytes(2, 3000));
    await until(() => failures.length > 0);
    assert.equal(log.durablePosition, kept.position + 10_000);
    assert.throws(() => log.reserve(10), { kind: 'storage-failed' });
    await assert.rejects(log.writeCheckpoint({ position: log.endPosition, data: Buffer.alloc(0) }));
    assert.ok((await log.load(kept.position, 500)).buffer.length > 0, 'what is durable can still be read');
    await log.close();
    assert.equal(failures.length, 1);
    const again = makeLog(storage);
    const { commits } = await openAndReplay(again);
    assertSameCommits(commits.slice(0, 1), [kept]);
    assert.equal(commits.length, effect === 'late' ? 2 : 1);
    await again.close();
  }
});

test('a file is not closed under the write of a frame that is under way when the log fails', async () => {
  const held: (() => void)[] = [];
  let isNextHeld = false;
  const disk = new MemoryDisk(Number.POSITIVE_INFINITY, (end) => {
    if (isNextHeld) held.push(end);
    else setImmediate(end);
    isNextHeld = false;
  });
  const storage = new FaultyStorage(new MemoryStorage(disk));
  const log = new LocalLog({ storage, durability: 'os', clock, limits: contractLimits });
  await openAndReplay(log);
  append(log, commitBytes(1, 10_000));
  await untilDurable(log);
  await untilQuiet(storage);
  isNextHeld = true;
  append(log, commitBytes(2, 1000));
  await until(() => held.length > 0);
  storage.inject({ operation: 'sync', nth: 1, name: /^wal-/, effect: 'error' });
  await assert.rejects(log.writeCheckpoint({ position: log.durablePosition, data: Buffer.alloc(0) }), /injected/);
  const stepsBefore = storage.trace.length;
  const closing = log.close();
  await untilQuiet(storage);
  const isClosed = (): boolean => storage.trace.slice(stepsBefore).some((step) => step.startsWith('close wal-'));
  assert.equal(isClosed(), false, 'the file waits for the write');
  for (const end of held) end();
  await closing;
  assert.equal(isClosed(), true, 'and is closed then');
});

const damage = async (storage: Storage, name: string, offset: number): Promise<void> => {
  const file = await storage.open(name, { create: false, durable: true });
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  byte[0] = byte[0]! ^ 0x40;
  await new Promise((resolve) => file.write(byte, 0, 1, offset, resolve));
};

test('a damaged newest checkpoint falls back to the one before, unless files were reclaimed for it', async () => {
  for (const isReclaiming of [false, true]) {
    const storage = new MemoryStorage();
    const log = makeLog(storage);
    await openAndReplay(log);
    const appended = [];
    for (const state of ['one', 'two']) {
      for (let index = 0; index < 40; index++) {
        const commit = append(log, commitBytes(index, 3000));
        if (!isReclaiming) log.hold(commit.position);
        appended.push(commit);
      }
      await untilDurable(log);
      await log.writeCheckpoint({ position: log.endPosition, data: Buffer.from(state) });
    }
    await log.close();
    await damage(storage, 'checkpoint-000000000002', 60);
    const again = makeLog(storage);
    if (isReclaiming) {
      await assert.rejects(openAndReplay(again), { kind: 'corrupt' });
      continue;
    }
    const replayed = await openAndReplay(again);
    assert.equal(replayed.checkpoint?.data.toString(), 'one');
    assertSameCommits(replayed.commits, appended);
    await again.close();
  }
});

test('damage names the file and the place', async () => {
  const storage = new MemoryStorage();
  const log = makeLog(storage);
  await openAndReplay(log);
  for (let index = 0; index < 5; index++) {
    append(log, commitBytes(index, 1000));
    await untilDurable(log);
  }
  await log.close();
  await damage(storage, 'wal-000000000001', 3000);
  await assert.rejects(openAndReplay(makeLog(storage)), {
    kind: 'corrupt',
    message: /wal-000000000001 is damaged at offset 2\d\d\d/,
  });
});

test('damage in the first frame of the last file is not taken for the end of the log', async () => {
  const storage = new MemoryStorage();
  const log = makeLog(storage);
  await openAndReplay(log);
  for (let index = 0; index < 41; index++) {
    log.hold(append(log, commitBytes(index, 2048)).position);
    await untilDurable(log);
  }
  await log.close();
  for (const offset of [600, walHeaderBytes + 2]) {
    await damage(storage, 'wal-000000000002', offset);
    await assert.rejects(openAndReplay(makeLog(storage)), { kind: 'corrupt', message: /wal-000000000002/ });
    await damage(storage, 'wal-000000000002', offset);
  }
  const again = makeLog(storage);
  assert.equal((await openAndReplay(again)).commits.length, 41);
  await again.close();
});

test('a log is not opened with another size of file', async () => {
  const storage = new MemoryStorage();
  const log = makeLog(storage);
  await openAndReplay(log);
  await log.close();
  const other = new LocalLog({ storage, durability: 'sync', limits: { ...contractLimits, walFileBytes: 128 * 1024 } });
  await assert.rejects(openAndReplay(other), { kind: 'invalid-argument' });
});
