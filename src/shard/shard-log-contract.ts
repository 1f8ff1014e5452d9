/**
 * The contract of ShardLog as a test suite: every implementation runs it over every storage it supports. A stand makes
 * logs over one place that keeps its contents from one log to the next.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Position } from '../core/ids.ts';
import type { Checkpoint, ShardLog } from './shard-log.ts';

/** Sizes small enough that a test of a few hundred kilobytes rolls files and evicts chunks. */
export const contractLimits = {
  walFileBytes: 64 * 1024,
  walBytesMax: 16 * 64 * 1024,
  walReserveBytes: 4 * 64 * 1024,
  walGroupBytes: 8 * 1024,
  arenaChunkBytes: 16 * 1024,
  arenaBytes: 64 * 1024,
  readAheadBytes: 8 * 1024,
} as const;

export interface LogStand {
  /** A log over the same place as the one before, which is closed. */
  make(): Promise<ShardLog> | ShardLog;
  dispose?(): Promise<void>;
}

export interface AppendedCommit {
  readonly position: Position;
  readonly bytes: Buffer;
}

/** A commit's bytes, which say which commit it is. */
export const commitBytes = (index: number, lengthBytes: number): Buffer => {
  const bytes = Buffer.alloc(lengthBytes, index & 0xff);
  if (lengthBytes >= 4) bytes.writeUInt32LE(index, 0);
  return bytes;
};

export const append = (log: ShardLog, bytes: Buffer): AppendedCommit => {
  const position = log.reserve(bytes.length);
  bytes.copy(log.reservedBuffer, log.reservedStart);
  assert.equal(log.commit(), position + bytes.length);
  return { position, bytes };
};

export const untilDurable = async (log: ShardLog, position: number = log.endPosition): Promise<void> => {
  if (log.durablePosition >= position) return;
  await new Promise<void>((resolve) => {
    const before = log.onDurable;
    log.onDurable = (durablePosition) => {
      before(durablePosition);
      if (durablePosition < position) return;
      log.onDurable = before;
      resolve();
    };
  });
};

export interface Replayed {
  readonly checkpoint: Checkpoint | undefined;
  readonly commits: AppendedCommit[];
  readonly epoch: number;
}

export const openAndReplay = async (log: ShardLog, hold = true): Promise<Replayed> => {
  const commits: AppendedCommit[] = [];
  let checkpoint: Checkpoint | undefined;
  const opened = await log.open(
    (found) => {
      assert.equal(commits.length, 0, 'the checkpoint comes first');
      checkpoint = found;
    },
    (buffer, start, lengthBytes, position) => {
      commits.push({ position, bytes: Buffer.from(buffer.subarray(start, start + lengthBytes)) });
      if (hold) log.hold(position);
    },
  );
  assert.deepEqual(opened.checkpoint?.position, checkpoint?.position);
  return { checkpoint, commits, epoch: opened.epoch };
};

export const assertSameCommits = (actual: readonly AppendedCommit[], expected: readonly AppendedCommit[]): void => {
  assert.deepEqual(
    actual.map(({ position, bytes }) => [position, bytes.length]),
    expected.map(({ position, bytes }) => [position, bytes.length]),
  );
  for (const [index, { bytes }] of actual.entries()) assert.ok(bytes.equals(expected[index]!.bytes), `commit ${index}`);
};

export const runShardLogContract = (name: string, makeStand: () => Promise<LogStand>): void => {
  const withLogs = async (run: (next: () => Promise<ShardLog>) => Promise<void>): Promise<void> => {
    const stand = await makeStand();
    let current: ShardLog | undefined;
    try {
      await run(async () => {
        await current?.close();
        current = await stand.make();
        return current;
      });
    } finally {
      await current?.close();
      await stand.dispose?.();
    }
  };

  describe(`ShardLog: ${name}`, () => {
    testAppend(withLogs);
    testReads(withLogs);
    testCheckpoints(withLogs);
    testRoom(withLogs);
  });
};

type WithLogs = (run: (next: () => Promise<ShardLog>) => Promise<void>) => Promise<void>;

const testAppend = (withLogs: WithLogs): void => {
  test('commits come back in order, byte for byte, with their positions', () =>
    withLogs(async (next) => {
      let log = await next();
      const first = await openAndReplay(log);
      assert.deepEqual(first.commits, []);
      assert.equal(first.checkpoint, undefined);
      assert.equal(log.durablePosition, log.endPosition);
      const appended: AppendedCommit[] = [];
      for (let index = 0; index < 50; index++) {
        for (let within = 0; within < index % 7; within++) {
          appended.push(append(log, commitBytes(appended.length, 1 + ((index * 131 + within * 17) % 900))));
        }
        if (index % 3 === 0) await untilDurable(log);
      }
      log = await next();
      assertSameCommits((await openAndReplay(log)).commits, appended);
      log = await next();
      assertSameCommits((await openAndReplay(log)).commits, appended);
    }));

  test('durablePosition rises only at onDurable and reaches the end', () =>
    withLogs(async (next) => {
      const log = await next();
      await openAndReplay(log);
      let last = log.durablePosition as number;
      let callCount = 0;
      log.onDurable = (durablePosition) => {
        assert.ok(durablePosition > last);
        assert.equal(log.durablePosition, durablePosition);
        last = durablePosition;
        callCount++;
      };
      for (let index = 0; index < 100; index++) append(log, commitBytes(index, 300));
      assert.equal(log.durablePosition, last, 'nothing is durable within the turn');
      await untilDurable(log);
      assert.equal(log.durablePosition, log.endPosition);
      assert.ok(callCount < 20, `commits of one turn share writes: ${callCount}`);
    }));

  test('an abandoned reservation leaves no trace', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      const appended = [append(log, commitBytes(0, 100))];
      const end = log.endPosition;
      log.reserve(5000);
      log.reservedBuffer.fill(0xee, log.reservedStart, log.reservedStart + 5000);
      log.abandon();
      assert.equal(log.endPosition, end);
      appended.push(append(log, commitBytes(1, 200)));
      log.reserve(40_000);
      log.abandon();
      appended.push(append(log, commitBytes(2, 30)));
      log = await next();
      assertSameCommits((await openAndReplay(log)).commits, appended);
    }));

  test('large commits, and commits that roll to the next file, stay whole', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      const appended: AppendedCommit[] = [];
      for (const lengthBytes of [10, 60_000, 20, 65_000 - 600, 1, 30_000, 30_000, 30_000, 8192, 8100, 16_384, 5]) {
        appended.push(append(log, commitBytes(appended.length, lengthBytes)));
        if (appended.length % 2 === 0) await untilDurable(log);
      }
      assert.throws(() => log.reserve(contractLimits.walFileBytes), { kind: 'too-large' });
      log = await next();
      assertSameCommits((await openAndReplay(log)).commits, appended);
    }));

  test('each open has a higher epoch, and replay tells the epoch of each commit', () =>
    withLogs(async (next) => {
      const epochs: number[] = [];
      for (let round = 0; round < 4; round++) {
        const log = await next();
        const seen: number[] = [];
        const opened = await log.open(
          () => {},
          (_buffer, _start, _lengthBytes, _position, epoch) => seen.push(epoch),
        );
        assert.deepEqual(seen, epochs);
        assert.ok(opened.epoch > (epochs.at(-1) ?? 0));
        epochs.push(opened.epoch);
        append(log, commitBytes(round, 40));
      }
    }));
};

const testReads = (withLogs: WithLogs): void => {
  test('memory and storage give the same bytes, cached or not, during and after', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      const appended: AppendedCommit[] = [];
      for (let index = 0; index < 400; index++) {
        const commit = append(log, commitBytes(index, 10 + ((index * 37) % 1500)));
        appended.push(commit);
        const chunk = log.chunkAt(commit.position);
        assert.ok(chunk, 'what is not durable yet is in memory');
        const start = commit.position - chunk.basePosition;
        assert.ok(chunk.buffer.subarray(start, start + commit.bytes.length).equals(commit.bytes));
        if (index % 40 === 39) await untilDurable(log);
      }
      await untilDurable(log);
      const check = async (): Promise<number> => {
        let cachedCount = 0;
        for (const { position, bytes } of appended) {
          const cached = log.chunkAt(position);
          if (cached !== undefined) cachedCount++;
          for (const chunk of [cached, await log.load(position, bytes.length), log.chunkAt(position, bytes.length)]) {
            if (chunk === undefined) continue;
            const start = position - chunk.basePosition;
            assert.ok(chunk.buffer.subarray(start, start + bytes.length).equals(bytes), `at ${position}`);
          }
        }
        return cachedCount;
      };
      const cachedCount = await check();
      assert.ok(cachedCount > 0 && cachedCount < appended.length, `the cache has a bound: ${cachedCount}`);
      assert.ok(log.chunkAt(appended.at(-1)!.position), 'the tail is cached');
      log = await next();
      await openAndReplay(log);
      await check();
    }));

  test('a pinned chunk keeps its bytes while the log goes on', () =>
    withLogs(async (next) => {
      const log = await next();
      await openAndReplay(log);
      const { position, bytes } = append(log, commitBytes(7, 1000));
      const chunk = log.chunkAt(position)!;
      chunk.pin();
      for (let index = 0; index < 300; index++) {
        append(log, commitBytes(index, 1000));
        if (index % 8 === 7) await untilDurable(log);
      }
      const start = position - chunk.basePosition;
      assert.ok(chunk.buffer.subarray(start, start + bytes.length).equals(bytes));
      chunk.unpin();
    }));

  test('concurrent loads of one place share their result, and what is not durable is refused', () =>
    withLogs(async (next) => {
      const log = await next();
      await openAndReplay(log);
      const { position } = append(log, commitBytes(1, 500));
      await assert.rejects(log.load(position, 500));
      await untilDurable(log);
      const [a, b] = await Promise.all([log.load(position, 500), log.load(position, 100)]);
      assert.equal(a, b);
    }));
};

const testCheckpoints = (withLogs: WithLogs): void => {
  const fill = async (
    log: ShardLog,
    fileCount: number,
    held: (index: number) => boolean,
  ): Promise<AppendedCommit[]> => {
    const appended: AppendedCommit[] = [];
    for (let bytes = 0; bytes < fileCount * contractLimits.walFileBytes; bytes += 2000) {
      const commit = append(log, commitBytes(appended.length, 2000));
      if (held(appended.length)) log.hold(commit.position);
      appended.push(commit);
      if (appended.length % 10 === 0) await untilDurable(log);
    }
    await untilDurable(log);
    return appended;
  };

  test('a checkpoint comes back, and all commits that are still held', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      const appended = await fill(log, 2, () => true);
      await log.writeCheckpoint({ position: log.endPosition, data: Buffer.from('state one') });
      appended.push(append(log, commitBytes(9999, 10)));
      log = await next();
      const replayed = await openAndReplay(log);
      assert.equal(replayed.checkpoint?.data.toString(), 'state one');
      assertSameCommits(replayed.commits, appended);
    }));

  test('a checkpoint that knows places spares the next open what lies before it, and no other checkpoint does', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      assert.equal(log.wantsPlaces, false);
      const appended = await fill(log, 3, () => true);
      assert.equal(log.wantsPlaces, true);
      const sections = [Buffer.from('state'), Buffer.from('places')].map((bytes, section) => ({ section, bytes }));
      const left = [...sections];
      const { endPosition: position } = log;
      await log.writeCheckpoint(
        { position, data: Buffer.from('head') },
        { isBase: true, placeSection: 1, next: () => left.shift() },
      );
      const behind = append(log, commitBytes(9999, 10));

      const open = async (): Promise<{ knowsPlaces: boolean; pieces: string[]; positions: number[] }> => {
        const pieces: string[] = [];
        const positions: number[] = [];
        let knowsPlaces = false;
        log = await next();
        await log.open(
          (checkpoint) => {
            knowsPlaces = checkpoint!.knowsPlaces!;
            // What lies before it is not told: it is held for what the places say.
            if (knowsPlaces) for (const commit of appended) log.hold(commit.position);
          },
          (_buffer, _start, _lengthBytes, commitPosition) => {
            positions.push(commitPosition);
            if (!knowsPlaces || commitPosition >= position) log.hold(commitPosition);
          },
          (section, bytes) => pieces.push(`${section}: ${bytes}`),
        );
        return { knowsPlaces, pieces, positions };
      };
      const found = await open();
      assert.equal(found.knowsPlaces, true);
      assert.deepEqual(found.pieces, ['0: state', '1: places']);
      assert.equal(found.positions.at(-1), behind.position);
      assert.ok(found.positions.length < appended.length / 2, `${found.positions.length} commits are read`);
      for (const { position: at, bytes } of [appended[0]!, appended.at(-1)!]) {
        const chunk = await log.load(at, bytes.length);
        const start = at - chunk.basePosition;
        assert.ok(chunk.buffer.subarray(start, start + bytes.length).equals(bytes));
        chunk.unpin();
      }
      assert.equal(log.wantsClosingCheckpoint, false, 'nothing has changed');

      await log.writeCheckpoint(
        { position: log.endPosition, data: Buffer.from('head') },
        { isBase: false, next: () => undefined },
      );
      assert.equal(log.wantsClosingCheckpoint, true);
      const later = await open();
      assert.equal(later.knowsPlaces, false);
      assert.deepEqual(later.pieces, ['0: state']);
      assert.deepEqual(
        later.positions,
        [...appended, behind].map((commit) => commit.position),
      );
    }));

  test('files that nobody holds are reclaimed, also from the middle, and the rest is replayed', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      // The first commit is held for ever; what follows is held one file long and then released.
      const appended = await fill(log, 5, () => true);
      const usedBytes = log.usedBytes;
      const held = appended.slice(1).map(({ position }) => position);
      while (held.length > 0) {
        const { start, end } = log.stretchOf(held[0]!);
        const beyond = held.findIndex((position) => position >= end);
        const together = held.splice(0, beyond < 0 ? held.length : beyond);
        assert.ok(start <= together[0]!, `${together[0]} is not in [${start}, ${end})`);
        log.release(together[0]!, together.length);
      }
      append(log, commitBytes(1, 10));
      assert.equal(log.wantsCheckpoint, true);
      const position = log.endPosition;
      await log.writeCheckpoint({ position, data: Buffer.from('two') });
      assert.equal(log.wantsCheckpoint, false);
      assert.ok(log.usedBytes <= usedBytes - 3 * contractLimits.walFileBytes, `${usedBytes} -> ${log.usedBytes}`);
      const later = await fill(log, 3, () => true);
      log = await next();
      const replayed = await openAndReplay(log);
      assert.equal(replayed.checkpoint?.position, position);
      assert.ok(replayed.commits[0]!.bytes.equals(appended[0]!.bytes), 'the oldest file is kept');
      assert.ok(replayed.commits.length < appended.length / 2 + later.length, 'the middle is gone');
      assertSameCommits(replayed.commits.slice(-later.length), later);
      assert.ok((await log.load(appended[0]!.position, 2000)).buffer.length > 0);
      await assert.rejects(log.load(appended[60]!.position, 2000), { kind: 'not-found' });
    }));

  test('the log runs for many times its limit in bytes when it is drained', () =>
    withLogs(async (next) => {
      let log = await next();
      await openAndReplay(log);
      let checkpointCount = 0;
      const held: Position[] = [];
      for (let index = 0; index < 1500; index++) {
        const { position } = append(log, commitBytes(index, 2000));
        log.hold(position);
        held.push(position);
        if (held.length > 100) log.release(held.shift()!);
        if (index % 10 === 9) await untilDurable(log);
        if (log.wantsCheckpoint) {
          await log.writeCheckpoint({ position: log.endPosition, data: Buffer.from(`after ${index}`) });
          checkpointCount++;
        }
        assert.ok(log.hasRoom && log.usedBytes < log.limitBytes);
      }
      assert.ok(checkpointCount > 10);
      log = await next();
      const { commits, checkpoint } = await openAndReplay(log);
      assert.match(checkpoint!.data.toString(), /^after /);
      assert.equal(commits.at(-1)!.bytes.readUInt32LE(0), 1499);
      assert.ok(commits[0]!.position <= held[0]!, 'what is held is there');
    }));
};

const testRoom = (withLogs: WithLogs): void => {
  test('room ends before the reserve does, draining goes on, and room comes back with a checkpoint', () =>
    withLogs(async (next) => {
      const log = await next();
      await openAndReplay(log);
      const changes: boolean[] = [];
      log.onRoomChanged = (hasRoom) => changes.push(hasRoom);
      let index = 0;
      while (log.hasRoom) {
        append(log, commitBytes(index, 2000));
        if (++index % 20 === 0) await untilDurable(log);
        assert.ok(log.usedBytes <= log.limitBytes);
      }
      assert.deepEqual(changes, [false]);
      assert.ok(log.limitBytes - log.usedBytes >= contractLimits.walReserveBytes - contractLimits.walFileBytes);
      append(log, commitBytes(index, 2000));
      await untilDurable(log);
      assert.equal(log.wantsCheckpoint, true);
      await log.writeCheckpoint({ position: log.endPosition, data: Buffer.alloc(0) });
      assert.equal(log.hasRoom, true);
      assert.deepEqual(changes, [false, true]);
    }));

  test('a closed log takes nothing, and close waits for what was committed', () =>
    withLogs(async (next) => {
      const log = await next();
      await openAndReplay(log);
      for (let index = 0; index < 50; index++) append(log, commitBytes(index, 700));
      await log.close();
      assert.equal(log.durablePosition, log.endPosition);
      assert.throws(() => log.reserve(1), { kind: 'closing' });
    }));
};
