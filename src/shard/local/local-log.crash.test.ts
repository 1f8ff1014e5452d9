/**
 * What a crash or an I/O error leaves: every commit announced as durable is there, in order, byte for byte, nothing
 * twice, no holes; and whatever the state refers to can be read. The log is driven by a small shard (a set of messages,
 * put and deleted) that holds, releases and checkpoints as a real one does.
 *
 * Runs are a function of their seed. WAL_CRASH_SEED replays one, WAL_CRASH_RUNS sets how many there are.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clock } from '../../core/clock.ts';
import type { Position } from '../../core/ids.ts';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage, seededRandom } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Durability } from '../shard-log.ts';
import { LocalLog } from './local-log.ts';
import { walFileSequence } from './wal-file.ts';

const walFileBytes = 16 * 1024;
const crashLimits = {
  walFileBytes,
  walBytesMax: 24 * walFileBytes,
  walReserveBytes: 2 * walFileBytes,
  walGroupBytes: 2 * 1024,
  arenaChunkBytes: 4 * 1024,
  arenaBytes: 16 * 1024,
  readAheadBytes: 4 * 1024,
};

const firstSeed = Number(process.env.WAL_CRASH_SEED ?? 1);
const runCount = Number(process.env.WAL_CRASH_RUNS ?? (process.env.WAL_CRASH_SEED === undefined ? 25 : 1));

/** Retries come soon, and a test does not end while one is due. */
const impatientClock: Clock = {
  now: () => Date.now(),
  after(_delayMs, callback) {
    const timer = setTimeout(callback, 1);
    return { cancel: () => clearTimeout(timer) };
  },
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Commit: u32 serial, u32 message id, u8 kind, and for a put the body. */
const headBytes = 9;
type Operation = { readonly kind: 'put'; readonly lengthBytes: number } | { readonly kind: 'delete' };

const bodyByte = (id: number, index: number): number => (id * 31 + index * 7) & 0xff;

interface History {
  /** All operations that may be on disk, by serial. Cut back at recovery to what was found. */
  operations: Array<Operation & { readonly id: number }>;
  /** How many of them were announced as durable. */
  durableCount: number;
  /** How many of them survive even a power cut: in mode 'os' those in a stored checkpoint. */
  safeCount: number;
}

class MessageShard {
  readonly log: LocalLog;
  readonly #history: History;
  /** Of every message that is there, where its body is. */
  readonly live = new Map<number, { readonly position: Position; readonly lengthBytes: number }>();
  /** Ends of the commits of this life, in order, for counting what is durable. */
  readonly #ends: Array<{ readonly end: number; readonly count: number }> = [];
  appliedCount = 0;
  failure: Error | undefined;
  #checkpointing: Promise<void> | undefined;

  constructor(storage: Storage, durability: Durability, history: History) {
    this.log = new LocalLog({ storage, durability, clock: impatientClock, limits: crashLimits });
    this.#history = history;
    this.log.onDurable = (durablePosition) => {
      while (this.#ends.length > 0 && this.#ends[0]!.end <= durablePosition) {
        history.durableCount = this.#ends.shift()!.count;
        if (durability === 'sync') history.safeCount = history.durableCount;
      }
    };
    this.log.onFailed = (error) => {
      this.failure = error;
    };
  }

  /** Opens, and checks that what is found is a right past: at least `requiredCount` operations, in order. */
  async open(requiredCount: number): Promise<void> {
    const wanted = new Set<number>();
    let checkpointPosition = 0;
    await this.log.open(
      (checkpoint) => {
        if (checkpoint === undefined) return;
        const state = JSON.parse(checkpoint.data.toString()) as { count: number; live: [number, number, number][] };
        checkpointPosition = checkpoint.position;
        this.appliedCount = state.count;
        for (const [id, position, lengthBytes] of state.live) {
          this.live.set(id, { position: position as Position, lengthBytes });
          wanted.add(id);
          this.log.hold(position as Position);
        }
      },
      (buffer, start, lengthBytes, position) => {
        const serial = buffer.readUInt32LE(start);
        const id = buffer.readUInt32LE(start + 4);
        const operation = this.#history.operations[serial];
        assert.ok(operation, `commit ${serial} was never appended`);
        assert.equal(operation.id, id);
        if (operation.kind === 'put') assertBody(buffer, start, lengthBytes, id, operation.lengthBytes);
        if (position < checkpointPosition) {
          if (this.live.get(id)?.position === position) wanted.delete(id);
          return;
        }
        assert.equal(serial, this.appliedCount, 'no hole, nothing twice');
        this.#apply(operation, position);
      },
    );
    for (const id of wanted) {
      assert.ok(!this.live.has(id), `message ${id} is there but its commit was not replayed`);
    }
    assert.ok(this.appliedCount >= requiredCount, `${this.appliedCount} of ${requiredCount} durable commits found`);
    this.#history.operations.length = this.appliedCount;
    this.#history.durableCount = this.appliedCount;
    this.#history.safeCount = this.appliedCount;
    this.#assertState();
  }

  #assertState(): void {
    const expected = new Set<number>();
    for (const operation of this.#history.operations) {
      if (operation.kind === 'put') expected.add(operation.id);
      else expected.delete(operation.id);
    }
    assert.deepEqual([...this.live.keys()].sort(), [...expected].sort());
  }

  append(operation: Operation, id: number): void {
    const lengthBytes = operation.kind === 'put' ? operation.lengthBytes : headBytes;
    const position = this.log.reserve(lengthBytes);
    const { reservedBuffer: buffer, reservedStart: start } = this.log;
    buffer.writeUInt32LE(this.appliedCount, start);
    buffer.writeUInt32LE(id, start + 4);
    buffer[start + 8] = operation.kind === 'put' ? 1 : 2;
    for (let index = headBytes; index < lengthBytes; index++) buffer[start + index] = bodyByte(id, index);
    const end = this.log.commit();
    this.#history.operations[this.appliedCount] = { ...operation, id };
    this.#apply({ ...operation, id }, position);
    this.#ends.push({ end, count: this.appliedCount });
  }

  #apply(operation: Operation & { readonly id: number }, position: Position): void {
    this.appliedCount++;
    if (operation.kind === 'put') {
      this.live.set(operation.id, { position, lengthBytes: operation.lengthBytes });
      this.log.hold(position);
      return;
    }
    this.log.release(this.live.get(operation.id)!.position);
    this.live.delete(operation.id);
  }

  checkpoint(): Promise<void> {
    const count = this.appliedCount;
    const live = [...this.live].map(([id, { position, lengthBytes }]) => [id, position, lengthBytes]);
    const data = Buffer.from(JSON.stringify({ count, live }));
    this.#checkpointing ??= this.log
      .writeCheckpoint({ position: this.log.endPosition, data })
      .then(() => {
        this.#history.safeCount = Math.max(this.#history.safeCount, count);
      })
      .finally(() => {
        this.#checkpointing = undefined;
      });
    return this.#checkpointing;
  }

  /** Reads every message that is there. */
  async readAll(): Promise<void> {
    for (const [id, { position, lengthBytes }] of this.live) {
      if (position + lengthBytes > this.log.durablePosition) continue;
      for (const chunk of [this.log.chunkAt(position), await this.log.load(position, lengthBytes)]) {
        if (chunk !== undefined) {
          assertBody(chunk.buffer, position - chunk.basePosition, lengthBytes, id, lengthBytes);
        }
      }
    }
  }
}

const assertBody = (buffer: Buffer, start: number, lengthBytes: number, id: number, expectedBytes: number): void => {
  assert.equal(lengthBytes, expectedBytes);
  for (let index = headBytes; index < lengthBytes; index++) {
    if (buffer[start + index] !== bodyByte(id, index)) assert.fail(`message ${id} differs at byte ${index}`);
  }
};

interface Workload {
  readonly random: () => number;
  readonly stepCount: number;
  /** Set when the storage crashed: nothing is awaited any more. */
  isOver: () => boolean;
}

let nextId = 1;

const work = async (shard: MessageShard, { random, stepCount, isOver }: Workload): Promise<void> => {
  const pick = (): number | undefined => {
    const ids = [...shard.live.keys()];
    // The oldest goes first, mostly; a few stay for ever, so that files in the middle fall free.
    return ids[random() < 0.7 ? Math.min(2, ids.length - 1) : Math.floor(random() * ids.length)];
  };
  const isStopped = (): boolean => isOver() || shard.failure !== undefined;
  for (let step = 0; step < stepCount && !isStopped(); step++) {
    const dice = random();
    if (dice < 0.55 || shard.live.size === 0) {
      if (!shard.log.hasRoom) await turn();
      else shard.append({ kind: 'put', lengthBytes: headBytes + putBytes(random) }, nextId++);
    } else if (dice < 0.85) {
      const id = shard.live.size > 3 ? pick() : undefined;
      if (id !== undefined) shard.append({ kind: 'delete' }, id);
    } else if (dice < 0.97) {
      await turn();
    } else {
      for (let count = 0; count < 50 && shard.log.durablePosition < shard.log.endPosition && !isStopped(); count++) {
        await turn();
      }
    }
    if (shard.log.wantsCheckpoint || random() < 0.01) void shard.checkpoint().catch(() => {});
  }
};

const putBytes = (random: () => number): number => {
  const dice = random();
  return Math.floor(dice < 0.7 ? random() * 300 : dice < 0.97 ? random() * 3000 : random() * 14_000);
};

describe('crash', () => {
  for (const durability of ['sync', 'os'] satisfies Durability[]) {
    test(`what was announced as durable is there after any crash (${durability})`, async () => {
      for (let seed = firstSeed; seed < firstSeed + runCount; seed++) {
        try {
          await crashRun(seed, durability);
        } catch (error) {
          throw new Error(`WAL_CRASH_SEED=${seed} ${durability}: ${(error as Error).message}`, { cause: error });
        }
      }
    });
  }
});

/** Some lives of one log, each ended by a crash at a random operation of the storage, also in the middle of open(). */
const crashRun = async (seed: number, durability: Durability): Promise<void> => {
  const random = seededRandom(seed);
  const disk = new MemoryDisk();
  const history: History = { operations: [], durableCount: 0, safeCount: 0 };
  for (let life = 0; life < 8; life++) {
    const storage = new FaultyStorage(new MemoryStorage(disk));
    const isPowerCut = random() < 0.6;
    let isOver = false;
    const crashed = new Promise<void>((resolve) => {
      storage.onCrash = () => {
        isOver = true;
        const crashSeed = Math.floor(random() * 2 ** 32);
        if (isPowerCut) disk.crash(crashSeed);
        else disk.killProcess(crashSeed);
        resolve();
      };
    });
    storage.inject({ nth: 1 + Math.floor(random() ** 2 * 400), effect: 'crash' });
    const shard = new MessageShard(storage, durability, history);
    const live = async (): Promise<void> => {
      await shard.open(history.durableCount);
      await shard.readAll();
      await work(shard, { random, stepCount: Math.floor(random() * 600), isOver: () => isOver });
      if (!isOver) await shard.readAll();
      if (!isOver) await shard.log.close();
    };
    await Promise.race([live(), crashed]);
    assert.equal(shard.failure, undefined);
    // The promise of mode 'os' ends where the machine does.
    if (isOver && isPowerCut) history.durableCount = Math.min(history.durableCount, history.safeCount);
  }
};

describe('errors', () => {
  const fixedRun = async (storage: Storage, history: History): Promise<MessageShard | undefined> => {
    const shard = new MessageShard(storage, 'sync', history);
    try {
      await shard.open(history.durableCount);
    } catch (error) {
      assert.equal((error as { kind?: string }).kind, 'storage-failed', String(error));
      return undefined;
    }
    await work(shard, { random: seededRandom(4711), stepCount: 130, isOver: () => false });
    for (let count = 0; count < 100 && shard.log.durablePosition < shard.log.endPosition; count++) await turn();
    await shard.checkpoint().catch(() => {});
    return shard;
  };

  const cases = [
    { effect: 'error', code: 'EIO' },
    { effect: 'error', code: 'ENOSPC' },
    { effect: 'short', code: 'ENOSPC' },
    { effect: 'late', code: 'EIO' },
  ] as const;

  for (const fault of cases) {
    test(`${fault.code} (${fault.effect}) at each operation in turn loses nothing that was announced`, async () => {
      const counting = new FaultyStorage(new MemoryStorage());
      const fine: History = { operations: [], durableCount: 0, safeCount: 0 };
      const shard = await fixedRun(counting, fine);
      await shard!.log.close();
      for (let nth = 1; nth <= counting.operationCount; nth++) {
        const what = `${nth}: ${counting.trace[nth - 1]}`;
        if (fault.effect === 'short' && !what.includes('write')) continue;
        const disk = new MemoryDisk();
        const history: History = { operations: [], durableCount: 0, safeCount: 0 };
        const storage = new FaultyStorage(new MemoryStorage(disk));
        storage.inject({ nth, ...fault });
        try {
          const broken = await fixedRun(storage, history);
          await broken?.log.close();
          const reopened = new MessageShard(storage, 'sync', history);
          await reopened.open(history.durableCount);
          await reopened.readAll();
          reopened.append({ kind: 'put', lengthBytes: 500 }, nextId++);
          await turn();
          disk.crash(nth);
          const last = new MessageShard(new MemoryStorage(disk), 'sync', history);
          await last.open(history.durableCount);
          await last.readAll();
          await last.log.close();
        } catch (error) {
          throw new Error(`operation ${what}: ${(error as Error).message}`, { cause: error });
        }
      }
    });
  }
});

describe('corruption', () => {
  test('a damaged byte in what was durable is found at open', async () => {
    let foundCount = 0;
    for (let seed = firstSeed; seed < firstSeed + runCount; seed++) {
      const random = seededRandom(seed);
      const disk = new MemoryDisk();
      const history: History = { operations: [], durableCount: 0, safeCount: 0 };
      const shard = new MessageShard(new MemoryStorage(disk), 'sync', history);
      await shard.open(0);
      await work(shard, { random, stepCount: 250, isOver: () => false });
      await shard.log.close();
      const end = shard.log.endPosition;
      const storage = new MemoryStorage(disk);
      const names = (await storage.list()).filter((name) => (walFileSequence(name) ?? 0) * walFileBytes < end);
      const victims = names.filter((name) => walFileSequence(name) !== undefined);
      const name = victims[Math.floor(random() * victims.length)]!;
      const offset = Math.floor(random() * walFileBytes);
      const file = await storage.open(name, { create: false, durable: true });
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, offset);
      byte[0] = byte[0]! ^ (1 << Math.floor(random() * 8));
      await new Promise((resolve) => file.write(byte, 0, 1, offset, resolve));
      const again = new MessageShard(storage, 'sync', history);
      const required = history.durableCount;
      try {
        await again.open(0);
      } catch (error) {
        assert.equal((error as { kind?: string }).kind, 'corrupt', `WAL_CRASH_SEED=${seed}: ${error}`);
        assert.match((error as Error).message, new RegExp(name.replace(/^wal-0*/, '')));
        foundCount++;
        continue;
      }
      // Not found: then the byte held nothing, or the very last group, of which nothing says that it had been durable.
      const missingCount = required - again.appliedCount;
      assert.ok(missingCount === 0 || missingCount < 60, `WAL_CRASH_SEED=${seed}: ${missingCount} commits are gone`);
      await again.log.close();
    }
    assert.ok(foundCount > runCount / 3, `found ${foundCount} of ${runCount}`);
  });
});
