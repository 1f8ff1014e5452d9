/** Segments are written, adopted, read, held and given back. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { DiskStorage } from '../../storage/disk-storage.ts';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { isSegmentPosition } from '../shard-log.ts';
import { segmentFileName, segmentPageBytes } from './segment-file.ts';
import { SegmentFiles } from './segment-files.ts';
import {
  assertChunk,
  assertSegment,
  openSegments,
  segmentNames,
  testData,
  testReadAheadBytes,
  testSmallBytes,
  writeSegment,
} from './segment-test-data.ts';
import { loadedBytesMax, segmentHandlesMax } from './wal-limits.ts';

const openFileCount = (storage: FaultyStorage): number =>
  storage.trace.filter((step) => step.startsWith('open ')).length -
  storage.trace.filter((step) => step.startsWith('close ')).length;

/** Returns the names of files that are closed while they are read, or read after they were closed. */
const watchCloses = (storage: MemoryStorage): string[] => {
  const wrong: string[] = [];
  const open = storage.open.bind(storage);
  storage.open = async (name, options) => {
    const file = await open(name, options);
    const [read, close] = [file.read.bind(file), file.close.bind(file)];
    let readCount = 0;
    let isClosed = false;
    file.read = async (...args) => {
      if (isClosed) wrong.push(name);
      readCount++;
      // Not all reads take the same time.
      for (let turns = Number(name.slice(-2)) % 5; turns > 0; turns--) await setImmediate();
      return read(...args).finally(() => readCount--);
    };
    file.close = () => {
      isClosed = true;
      if (readCount > 0) wrong.push(name);
      return close();
    };
    return file;
  };
  return wrong;
};

const roundTrip = async (storage: Storage): Promise<void> => {
  const sizes = [0, 1, 1000, segmentPageBytes - 1, segmentPageBytes, segmentPageBytes + 1, 7 * segmentPageBytes + 99];
  const files = await openSegments(storage);
  const ids: number[] = [];
  for (const [seed, size] of sizes.entries()) ids.push(await writeSegment(files, seed, size));
  const adopted = ids.map((id) => files.adopt(id, 100));
  for (const [seed, size] of sizes.entries())
    await assertSegment(files, adopted[seed]!, testData(seed, size), { seed });
  const { usedBytes } = files;
  await files.close();

  const again = await openSegments(storage);
  for (const seed of [...sizes.keys()].reverse()) {
    await assertSegment(again, again.adopt(ids[seed]!, 100), testData(seed, sizes[seed]!), { seed, stepBytes: 70_001 });
  }
  await again.removeOrphans();
  assert.equal(again.usedBytes, usedBytes);
  assert.equal((await segmentNames(storage)).length, sizes.length);
  assert.equal(await writeSegment(again, 1, 10), Math.max(...ids) + 1, 'ids go on');
  await again.close();
};

describe('round trip', () => {
  test('in memory', () => roundTrip(new MemoryStorage()));

  test('on disk', async () => {
    const path = await mkdtemp(join(tmpdir(), 'rosettamq-segments-'));
    try {
      await roundTrip(await DiskStorage.at(path));
    } finally {
      await rm(path, { recursive: true });
    }
  });

  test('a large segment is synced in parts while it is written', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const data = testData(1, 20 * 1024 * 1024);
    const writer = await files.create();
    for (let at = 0; at < data.length; at += 1024 * 1024) await writer.append(data, at, at + 1024 * 1024);
    const { basePosition } = files.adopt(await writer.finish(Buffer.alloc(0), 0), 0);
    assert.equal(storage.trace.filter((step) => step.startsWith('sync ')).length, 3);
    assertChunk(await files.load(basePosition, data.length), basePosition, data);
    await files.close();
  });
});

describe('writers', () => {
  test('several at once do not mix', async () => {
    const storage = new MemoryStorage();
    const files = await openSegments(storage);
    const seeds = [1, 2, 3, 4, 5];
    const ids = await Promise.all(seeds.map((seed) => writeSegment(files, seed, seed * 30_000)));
    assert.equal(new Set(ids).size, seeds.length);
    for (const [index, seed] of seeds.entries()) {
      await assertSegment(files, files.adopt(ids[index]!, 0), testData(seed, seed * 30_000), { seed });
    }
    await files.close();
  });

  test('what is given up leaves nothing, finished or not', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const early = await files.create();
    await early.append(Buffer.from('some bytes'), 0, 10);
    await early.abandon();
    const underWay = await files.create();
    const appending = underWay.append(testData(1, 1000), 0, 1000);
    await Promise.all([underWay.abandon(), appending]);
    const late = await files.create();
    const id = await late.finish(Buffer.alloc(0), 0);
    await late.abandon();
    assert.deepEqual(await segmentNames(storage), []);
    assert.throws(() => files.adopt(id, 0), { kind: 'corrupt' });
    await assert.rejects(early.append(Buffer.from('more'), 0, 4), /no longer written/);
    assert.equal(openFileCount(storage), 0);
  });

  test('a segment that is adopted is not given up', async () => {
    const storage = new MemoryStorage();
    const files = await openSegments(storage);
    const writer = await files.create();
    files.adopt(await writer.finish(Buffer.alloc(0), 0), 0);
    await assert.rejects(writer.abandon(), /adopted/);
    assert.equal((await segmentNames(storage)).length, 1);
  });

  test('one call at a time, no call after the last, not more bytes than positions', async () => {
    const files = await openSegments(new MemoryStorage());
    const writer = await files.create();
    const appending = writer.append(testData(1, 10), 0, 10);
    await assert.rejects(writer.append(testData(1, 10), 0, 10), /one call at a time/);
    await appending;
    await writer.finish(Buffer.alloc(0), 0);
    await assert.rejects(writer.append(testData(1, 10), 0, 10), /no longer written/);
    await assert.rejects(writer.finish(Buffer.alloc(0), 0), /no longer written/);
    const full = await files.create();
    await assert.rejects(full.append(Buffer.alloc(0), 0, 2 ** 31), RangeError);
    await full.abandon();
    await files.close();
  });

  test('an id named elsewhere is not given again', async () => {
    const files = await openSegments(new MemoryStorage());
    files.skipIds(41);
    assert.equal(await writeSegment(files, 1, 10), 42);
    files.skipIds(7);
    assert.equal(files.lastId, 42);
  });

  test('close() gives up what is not finished and leaves what is', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const [finished, open] = [await files.create(), await files.create()];
    await open.append(testData(1, 1000), 0, 1000);
    const creating = files.create();
    const finishing = finished.finish(Buffer.from('kept'), 0);
    await files.close();
    await creating;
    assert.deepEqual(await segmentNames(storage), [segmentFileName(await finishing)]);
    assert.equal(openFileCount(storage), 0);
    await assert.rejects(files.create(), { kind: 'closing' });
  });
});

describe('reads', () => {
  test('load whole pages from what is asked for on, once', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const data = testData(3, 10 * segmentPageBytes - 77);
    const { basePosition } = files.adopt(await writeSegment(files, 3, data.length), 0);
    const readCount = (): number => storage.trace.filter((step) => step.startsWith('read ')).length;
    const at = testReadAheadBytes + 5;
    assert.equal(files.find(basePosition + at, 10), undefined);
    const [a, b, c] = await Promise.all([10, 20, 40_000].map((size) => files.load(basePosition + at, size)));
    assert.equal(a, b);
    assert.equal(a, c);
    assert.equal(readCount(), 1);
    assert.equal(a!.basePosition, basePosition + testReadAheadBytes);
    assert.equal(a!.buffer.length, testReadAheadBytes + segmentPageBytes);
    assert.equal(files.find(basePosition + at, testReadAheadBytes), a);
    assert.equal(await files.load(basePosition + at, 10), a);
    const across = await files.load(basePosition + 2 * testReadAheadBytes - 3, testReadAheadBytes + 10);
    const acrossStart = 2 * testReadAheadBytes - segmentPageBytes;
    assertChunk(
      across,
      basePosition + acrossStart,
      data.subarray(acrossStart, 3 * testReadAheadBytes + segmentPageBytes),
    );
    const page = await files.load(basePosition + 4 * testReadAheadBytes, 10, 1);
    assert.equal(page.buffer.length, segmentPageBytes, 'who asks for little gets a page');
    const last = await files.load(basePosition + data.length - 1, 1);
    assert.equal(last.basePosition + last.buffer.length, basePosition + data.length);
    await assert.rejects(files.load(basePosition + data.length - 1, 2), { kind: 'corrupt' });
    await files.close();
    await assert.rejects(files.load(basePosition, 1), { kind: 'closing' });
  });

  test('of more segments than may stay open, none of which is closed while it is read', async () => {
    const memory = new MemoryStorage();
    const closedEarly = watchCloses(memory);
    const storage = new FaultyStorage(memory);
    const files = await openSegments(storage);
    const count = segmentHandlesMax + 40;
    // So large that what was read first is not in memory any more in the end.
    const sizeBytes = Math.ceil((1.2 * loadedBytesMax) / count);
    const ids: number[] = [];
    for (let seed = 0; seed < count; seed++) ids.push(await writeSegment(files, seed, sizeBytes));
    const bases = ids.map((id) => files.adopt(id, 0).basePosition);
    const read = async (seed: number): Promise<void> => {
      assertChunk(await files.load(bases[seed]!, sizeBytes), bases[seed]!, testData(seed, sizeBytes));
    };
    const opensOf = (seed: number): number =>
      storage.trace.filter((step) => step === `open ${segmentFileName(ids[seed]!)}`).length;
    for (let seed = 0; seed < count; seed++) {
      await read(seed);
      assert.equal(openFileCount(storage), Math.min(seed + 1, segmentHandlesMax));
    }
    assert.equal(opensOf(count - 20), 1);
    await read(count - 20);
    assert.equal(opensOf(count - 20), 1, 'recently used ones stay open');
    await read(0);
    assert.equal(opensOf(0), 2);
    await Promise.all(ids.map((_, seed) => read(seed)));
    assert.equal(openFileCount(storage), segmentHandlesMax);
    const closing = Promise.allSettled(ids.map((_, seed) => read(seed)));
    await files.close();
    await closing;
    assert.equal(openFileCount(storage), 0);
    assert.deepEqual(closedEarly, []);
  });
});

describe('holds', () => {
  test('a segment is reclaimable behind the last release, or behind its adoption', async () => {
    const files = await openSegments(new MemoryStorage());
    const [first, second] = [await writeSegment(files, 1, 1000), await writeSegment(files, 2, 2000)];
    const a = files.adopt(first, 500);
    assert.deepEqual(files.reclaimable(500), []);
    assert.deepEqual(files.reclaimable(501), [first]);
    const b = files.adopt(second, 600);
    files.hold(a.basePosition);
    files.hold(a.basePosition + 999);
    assert.deepEqual(files.liveIds(), [first]);
    assert.deepEqual(files.reclaimable(10_000), [second]);
    files.release(a.basePosition + 3, 1, 700);
    assert.deepEqual(files.liveIds(), [first]);
    files.release(a.basePosition, 1, 800);
    assert.deepEqual(files.liveIds(), []);
    assert.deepEqual(files.reclaimable(800), [second]);
    assert.deepEqual(files.reclaimable(801).sort(), [first, second]);
    assert.equal(files.reclaimableBytes(801), files.usedBytes);
    files.hold(b.basePosition);
    files.hold(b.basePosition + 5);
    const { start, end } = files.stretchOf(b.basePosition + 5);
    assert.deepEqual([start, end], [b.basePosition, b.basePosition + 2000]);
    files.release(start, 1, 850);
    assert.throws(() => files.release(start, 2, 850), /more often/);
    assert.throws(() => files.release(a.basePosition, 1, 900), /more often/);
    await assert.rejects(files.reclaim([first, second]), /not to be reclaimed/);
    assert.deepEqual(files.reclaimable(801), [first], 'and nothing of it was done');
    await files.close();
  });

  test('a reclaimed segment is gone for readers at once, and its file when the reads have ended', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const data = testData(1, 3 * segmentPageBytes);
    const id = await writeSegment(files, 1, data.length);
    const { basePosition } = files.adopt(id, 0);
    const loading = files.load(basePosition, 100);
    const reclaiming = files.reclaim(files.reclaimable(1));
    assert.equal(files.usedBytes, 0);
    assert.deepEqual(files.reclaimable(1), []);
    await assert.rejects(files.load(basePosition, 100), { kind: 'not-found' });
    assert.throws(() => files.hold(basePosition), /no segment/);
    assertChunk(await loading, basePosition, data.subarray(0, 100));
    await reclaiming;
    assert.equal(files.find(basePosition, 100), undefined);
    assert.deepEqual(storage.trace.slice(-4), [
      ...['open', 'read', 'close', 'remove'].map((operation) => `${operation} ${segmentFileName(id)}`),
    ]);
    assert.deepEqual(await segmentNames(storage), []);
    assert.throws(() => files.adopt(id, 0), { kind: 'corrupt' });
  });

  test('a slot is taken again only after all others, and does not show what was there before', async () => {
    const files = new SegmentFiles({
      storage: new MemoryStorage(),
      readAheadBytes: testReadAheadBytes,
      smallBytes: testSmallBytes,
      slotCount: 3,
    });
    await files.open();
    const adopt = async (seed: number): Promise<{ id: number; basePosition: number }> => {
      const id = await writeSegment(files, seed, 1000);
      const { basePosition } = files.adopt(id, 0);
      assert.ok(isSegmentPosition(basePosition));
      assert.ok(Number.isSafeInteger(basePosition + 2 ** 31));
      assertChunk(await files.load(basePosition, 1000), basePosition, testData(seed, 1000));
      return { id, basePosition };
    };
    const first = await adopt(1);
    await files.reclaim([first.id]);
    const others = [await adopt(2), await adopt(3)];
    assert.equal(new Set([first, ...others].map(({ basePosition }) => basePosition)).size, 3);
    const again = await adopt(4);
    assert.equal(again.basePosition, first.basePosition);
    assertChunk(files.find(again.basePosition, 1000)!, again.basePosition, testData(4, 1000));
    await assert.rejects(adopt(5), RangeError);
    await files.reclaim([others[1]!.id]);
    assert.equal((await adopt(6)).basePosition, others[1]!.basePosition);
    await files.close();
  });

  test('positions of the log itself are none of a segment', () => {
    assert.equal(isSegmentPosition(0), false);
    assert.equal(isSegmentPosition(2 ** 51 - 1), false);
  });
});
