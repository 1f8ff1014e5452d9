// Faults and crashes at every operation of the storage while checkpoints are written in slices, with commits between the slices:
// what comes back is the state after some commit, and after no earlier one than the last that was durable.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clock } from '../../core/clock.ts';
import { isDamage } from '../../core/errors.ts';
import { type Fault, FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { DurableGate } from '../gate.ts';
import { PieceReader, PieceWriter } from '../piece.ts';
import { recordType, Shard, type StateOwner } from '../shard.ts';
import { type Slice, Sweep, type Swept } from '../sweep.ts';
import { checkpointNumber } from './checkpoint-file.ts';
import { partNumber } from './checkpoint-part.ts';
import { LocalLog } from './local-log.ts';
import { checkpointDeltasMax } from './wal-limits.ts';

const entityCount = 40;
const roundCount = 5;
const commitsPerRound = 60;
const sliceEntities = 3;
const runsPerKind = Number(process.env.CHECKPOINT_FAULT_RUNS ?? 25);
const limits = {
  walFileBytes: 16 * 1024,
  walBytesMax: 8 * 16 * 1024,
  walReserveBytes: 2 * 16 * 1024,
  walGroupBytes: 4 * 1024,
  arenaChunkBytes: 4 * 1024,
  arenaBytes: 16 * 1024,
  readAheadBytes: 4 * 1024,
};

/** Retries come soon, and a test does not end while one is due. */
const impatientClock: Clock = {
  now: () => Date.now(),
  after(_delayMs, callback) {
    const timer = setTimeout(callback, 1);
    return { cancel: () => clearTimeout(timer) };
  },
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Entity extends Swept {
  readonly key: number;
  value: number;
}

/** Numbers by key. A commit sets one: to the count of commits so far, or, every seventh time, to 0. */
class Numbers implements StateOwner {
  readonly recordTypes = [recordType.offsetCommit];
  readonly entities = new Map<number, Entity>();
  commitCount = 0;
  readonly #piece = new PieceWriter();
  readonly #sweep = new Sweep<number, Entity>({
    find: (key) => this.entities.get(key),
    all: () => this.entities.values(),
    capture: (entity) => this.#save(entity),
    keyBytes: () => 8,
  });
  /** Entities looked at in the largest slice. */
  largestSlice = 0;

  apply(_type: number, _version: number, buffer: Buffer, start: number): void {
    const key = buffer.readUInt32LE(start);
    this.commitCount++;
    const entity = this.entities.get(key);
    const value = this.commitCount % 7 === 0 ? 0 : this.commitCount;
    if (entity === undefined) {
      const created = { key, value, changedIn: 0, savedIn: 0 };
      this.entities.set(key, created);
      this.#sweep.created(key, created);
    } else {
      this.#sweep.changing(key, entity);
      entity.value = value;
    }
  }

  head(): Buffer {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(this.commitCount);
    return head;
  }

  restoreHead(head: Buffer): void {
    this.commitCount = head.readUInt32LE(0);
  }

  beginCheckpoint(isBase: boolean): void {
    this.#sweep.begin(isBase);
  }

  nextPiece(slice: Slice): Buffer | undefined {
    const before = slice.entitiesLeft;
    for (let entity = this.#sweep.next(slice); entity !== undefined; entity = this.#sweep.next(slice))
      this.#save(entity);
    this.largestSlice = Math.max(this.largestSlice, before - slice.entitiesLeft);
    return this.#piece.sizeBytes === 0 && this.#sweep.isDone ? undefined : this.#piece.take();
  }

  endCheckpoint(): void {
    this.#sweep.end();
    this.#piece.clear();
  }

  restorePiece(piece: Buffer): void {
    for (const reader = new PieceReader(piece, 0); !reader.isAtEnd; ) {
      const key = reader.u32();
      this.entities.set(key, { key, value: reader.u32(), changedIn: 0, savedIn: 0 });
    }
  }

  #save({ key, value }: Entity): void {
    this.#piece.u32(key);
    this.#piece.u32(value);
  }

  values(): Map<number, number> {
    return new Map([...this.entities.values()].map(({ key, value }) => [key, value]));
  }
}

/** The keys of all commits, in order, over all lives; and how many are durable. */
class History {
  keys: number[] = [];
  durableCount = 0;

  stateAfter(count: number): Map<number, number> {
    const state = new Map<number, number>();
    for (const [i, key] of this.keys.slice(0, count).entries()) state.set(key, (i + 1) % 7 === 0 ? 0 : i + 1);
    return state;
  }
}

class Life {
  readonly numbers = new Numbers();
  readonly #shard: Shard;
  readonly #history: History;
  isFailed = false;

  constructor(storage: Storage, history: History) {
    this.#history = history;
    const gate = new DurableGate(1);
    const log = new LocalLog({ storage, durability: 'sync', clock: impatientClock, limits });
    this.#shard = new Shard(0, log, gate, sliceEntities);
    this.#shard.register(this.numbers);
    this.#shard.onFailed = (error) => {
      this.isFailed = true;
      gate.fail(error);
    };
  }

  /** Opens, and checks what is found. */
  async open(): Promise<void> {
    const history = this.#history;
    await this.#shard.open();
    const { commitCount } = this.numbers;
    assert.ok(commitCount >= history.durableCount, `${commitCount} of ${history.durableCount} durable commits`);
    assert.ok(commitCount <= history.keys.length);
    assert.deepEqual(sorted(this.numbers.values()), sorted(history.stateAfter(commitCount)));
    history.keys.length = commitCount;
    history.durableCount = commitCount;
    this.#shard.endRecovery();
  }

  commit(): void {
    const { keys } = this.#history;
    const key = (keys.length * 13) % (entityCount - (keys.length % 3));
    const payload = Buffer.alloc(60);
    payload.writeUInt32LE(key);
    keys.push(key);
    this.#shard.commitRecord(recordType.offsetCommit, 1, payload);
  }

  noteDurable(): void {
    if (this.#shard.log.durablePosition >= this.#shard.log.endPosition)
      this.#history.durableCount = this.#history.keys.length;
  }

  /** Closes, which takes a checkpoint; commits go on meanwhile, as long as they are taken. */
  async close(isDead: () => boolean): Promise<void> {
    let isClosed = false;
    const closed = this.#shard.close().finally(() => {
      isClosed = true;
    });
    while (!isClosed && !isDead() && this.#shard.log.wantsClosingCheckpoint) {
      this.commit();
      await turn();
      this.noteDurable();
    }
    await closed;
  }
}

const sorted = (values: Map<number, number>): [number, number][] => [...values].sort(([a], [b]) => a - b);

/** Some rounds of commits and a checkpoint each. False when the storage failed or is dead. */
const workload = async (storage: Storage, history: History, isDead: () => boolean): Promise<boolean> => {
  for (let round = 0; round < roundCount; round++) {
    const life = new Life(storage, history);
    const opened = life.open().then(
      () => true,
      (error: { kind?: string }) => {
        // A file of the log that could not be read or opened is no damage: it may be read the next time.
        if (error.kind !== 'storage-failed' && (error.kind !== 'corrupt' || isDamage(error))) throw error;
        return false;
      },
    );
    if (!(await untilDone(opened, isDead))) return false;
    for (let i = 0; i < commitsPerRound; i++) {
      if (life.isFailed || isDead()) break;
      life.commit();
      if (i % 5 === 4) await turn();
      life.noteDurable();
    }
    const closed = life.close(isDead).then(() => true);
    if (!(await untilDone(closed, isDead))) return false;
    assert.ok(life.numbers.largestSlice <= sliceEntities);
    if (life.isFailed) return false;
  }
  return true;
};

/** What it resolves with; undefined if the machine dies before. */
const untilDone = async (work: Promise<boolean>, isDead: () => boolean): Promise<boolean | undefined> => {
  let result: boolean | undefined;
  const done = work.then((value) => {
    result = value;
  });
  while (result === undefined && !isDead()) await Promise.race([done, turn()]);
  return result;
};

const countOperations = async (): Promise<{ operationCount: number; partSyncCount: number }> => {
  const disk = new MemoryDisk();
  const faulty = new FaultyStorage(new MemoryStorage(disk));
  assert.ok(await workload(faulty, new History(), () => false));
  const writes = faulty.trace.filter((step) => /^write checkpoint-part-/.test(step)).length;
  assert.ok(writes > 3 * roundCount, `${writes} pieces: checkpoints are written in slices`);
  assert.ok(faulty.trace.filter((step) => /^rename checkpoint-/.test(step)).length >= roundCount);
  const partSyncCount = faulty.trace.filter((step) => /^sync checkpoint-part-/.test(step)).length;
  return { operationCount: faulty.trace.length, partSyncCount };
};

/** What is there is whole, it goes on from there, and nothing is left over. */
const verify = async (disk: MemoryDisk, history: History): Promise<void> => {
  assert.ok(await workload(new MemoryStorage(disk), history, () => false));
  const names = await new MemoryStorage(disk).list();
  assert.ok(names.filter((name) => checkpointNumber(name) !== undefined).length <= 2, `left over: ${names}`);
  const parts = names.filter((name) => partNumber(name) !== undefined);
  assert.ok(parts.length <= checkpointDeltasMax + 2, `left over: ${names}`);
};

const faultRun = async (fault: Omit<Fault, 'nth'>, nth: number): Promise<void> => {
  const disk = new MemoryDisk();
  const history = new History();
  const faulty = new FaultyStorage(new MemoryStorage(disk));
  faulty.inject({ ...fault, nth });
  await workload(faulty, history, () => false);
  await verify(disk, history);
};

const crashRun = async (nth: number, kind: 'machine' | 'process'): Promise<void> => {
  const disk = new MemoryDisk();
  const history = new History();
  const faulty = new FaultyStorage(new MemoryStorage(disk));
  let isDead = false;
  faulty.onCrash = () => {
    isDead = true;
    if (kind === 'machine') disk.crash(nth);
    else disk.killProcess(nth);
  };
  faulty.inject({ nth, effect: 'crash' });
  await workload(faulty, history, () => isDead);
  await verify(disk, history);
};

describe('at any operation of the storage while checkpoints are written', async () => {
  const { operationCount, partSyncCount } = await countOperations();
  const step = Math.max(1, operationCount / runsPerKind);
  const nths: number[] = [];
  for (let nth = 1; nth <= operationCount; nth += step) nths.push(Math.floor(nth));

  const each = async (runOne: (nth: number) => Promise<void>): Promise<void> => {
    for (const nth of nths) {
      await runOne(nth).catch((cause: Error) => {
        throw new Error(`at operation ${nth}: ${cause.message}`, { cause });
      });
    }
  };

  const faults = [
    { name: 'EIO', fault: { effect: 'error', code: 'EIO' } },
    { name: 'ENOSPC', fault: { effect: 'error', code: 'ENOSPC' } },
    { name: 'ENOSPC in the middle of a write', fault: { effect: 'short', code: 'ENOSPC' } },
    { name: 'EIO after all was done', fault: { effect: 'late', code: 'EIO' } },
  ] as const;
  for (const { name, fault } of faults) test(name, () => each((nth) => faultRun(fault, nth)));
  test('ENOSPC at a sync that loses what it was to bring to the disk, and a crash of the machine later', async () => {
    for (let nth = 1; nth <= partSyncCount; nth++) {
      const disk = new MemoryDisk();
      const history = new History();
      const faulty = new FaultyStorage(new MemoryStorage(disk));
      faulty.inject({ operation: 'sync', name: /^checkpoint-part-/, effect: 'lost', code: 'ENOSPC', nth });
      await workload(faulty, history, () => false);
      disk.crash(nth);
      await verify(disk, history);
    }
  });
  for (const kind of ['machine', 'process'] as const)
    test(`a crash of the ${kind}`, () => each((nth) => crashRun(nth, kind)));
});
