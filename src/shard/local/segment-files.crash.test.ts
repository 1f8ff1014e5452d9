/**
 * What a crash, an I/O error or damage leaves: a segment whose finish() resolved is there whole; another one is whole and
 * an orphan, or not there; and no byte is handed out that was not written.
 *
 * Runs are a function of their seed. SEGMENT_CRASH_SEED replays one.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage, seededRandom } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import type { AdoptedSegment } from '../shard-log.ts';
import { segmentFileName, segmentPageBytes } from './segment-file.ts';
import type { SegmentFiles } from './segment-files.ts';
import {
  assertChunk,
  assertSegment,
  openSegments,
  segmentNames,
  testData,
  testIndex,
  writeSegment,
} from './segment-test-data.ts';

const firstSeed = Number(process.env.SEGMENT_CRASH_SEED ?? 1);
const seedCount = process.env.SEGMENT_CRASH_SEED === undefined ? 6 : 1;
const dataBytes = 3 * segmentPageBytes + 1234;
/** The seed of a segment's bytes is its id here. */
const segmentCount = 3;

interface Outcome {
  readonly finished: Set<number>;
  /** Of the finished ones, those that reclaim() was called for. */
  readonly reclaimed: Set<number>;
}

/** Two segments at once, one of them reclaimed, then another one. */
const workload = async (storage: Storage, { finished, reclaimed }: Outcome): Promise<void> => {
  const files = await openSegments(storage);
  await files.removeOrphans();
  const write = async (id: number): Promise<void> => {
    assert.equal(await writeSegment(files, id, dataBytes), id);
    finished.add(id);
    files.adopt(id, 0);
  };
  await Promise.all([write(1), write(2)]);
  reclaimed.add(1);
  await files.reclaim([1]);
  await write(3);
  await files.close();
};

const adoptIfThere = (files: SegmentFiles, id: number): AdoptedSegment | undefined => {
  try {
    return files.adopt(id, 0);
  } catch (error) {
    assert.equal((error as Error).message, `${segmentFileName(id)} is missing`);
    return undefined;
  }
};

describe('crash', () => {
  test('at every step of the storage', async () => {
    const counting = new FaultyStorage(new MemoryStorage());
    await workload(counting, { finished: new Set(), reclaimed: new Set() });
    for (let nth = 1; nth <= counting.operationCount; nth++) {
      for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
        for (const isPowerCut of [true, false]) {
          try {
            await crashRun(nth, seed, isPowerCut);
          } catch (error) {
            const what = `SEGMENT_CRASH_SEED=${seed}, ${isPowerCut ? 'power cut' : 'kill'} at ${nth}: `;
            throw new Error(what + counting.trace[nth - 1] + (error as Error).message, { cause: error });
          }
        }
      }
    }
  });
});

const crashRun = async (nth: number, seed: number, isPowerCut: boolean): Promise<void> => {
  const disk = new MemoryDisk();
  const storage = new FaultyStorage(new MemoryStorage(disk));
  const outcome: Outcome = { finished: new Set(), reclaimed: new Set() };
  const crashed = new Promise<void>((resolve) => {
    storage.onCrash = () => {
      if (isPowerCut) disk.crash(seed);
      else disk.killProcess(seed);
      resolve();
    };
  });
  storage.inject({ nth, effect: 'crash' });
  await Promise.race([crashed, workload(storage, outcome).then(() => assert.fail('there was no crash'))]);

  const { finished, reclaimed } = outcome;
  const found = new MemoryStorage(disk);
  // All that is there is whole, also what nobody knows of.
  const curious = await openSegments(found);
  for (let id = 1; id <= segmentCount; id++) {
    const segment = adoptIfThere(curious, id);
    assert.ok(segment !== undefined || !finished.has(id) || reclaimed.has(id), `segment ${id} is lost`);
    if (segment !== undefined) await assertSegment(curious, segment, testData(id, dataBytes), { seed: id });
  }
  await curious.close();

  const files = await openSegments(found);
  const kept = [...finished].filter((id) => !reclaimed.has(id));
  for (const id of kept) files.adopt(id, 0);
  await files.removeOrphans();
  assert.deepEqual(await segmentNames(found), kept.sort().map(segmentFileName));
  const next = await writeSegment(files, 9, dataBytes);
  assert.ok(kept.every((id) => id < next));
  await assertSegment(files, files.adopt(next, 0), testData(9, dataBytes), { seed: 9 });
  await files.close();
};

describe('errors', () => {
  const cases = [
    { effect: 'error', code: 'EIO' },
    { effect: 'short', code: 'ENOSPC' },
    { effect: 'late', code: 'EIO' },
    { effect: 'lost', code: 'EIO' },
  ] as const;

  for (const fault of cases) {
    test(`${fault.code} (${fault.effect}) at each step of writing is told, and nothing remains`, async () => {
      const write = async (files: SegmentFiles): Promise<number> => {
        const writer = await files.create();
        try {
          for (let at = 0; at < 3; at++) await writer.append(testData(1, 50_000), 0, 50_000);
          return await writer.finish(testIndex(1), 0);
        } catch (error) {
          await assert.rejects(writer.append(testData(1, 1), 0, 1), /no longer written/);
          await writer.abandon();
          throw error;
        }
      };
      const counting = new FaultyStorage(new MemoryStorage());
      await write(await openSegments(counting));
      // Of open() comes the first one, list.
      for (let nth = 1; nth < counting.operationCount; nth++) {
        const what = counting.trace[nth]!;
        if (fault.effect === 'short' && !what.startsWith('write')) continue;
        if (fault.effect === 'lost' && !what.startsWith('sync ')) continue;
        const disk = new MemoryDisk();
        const storage = new FaultyStorage(new MemoryStorage(disk));
        const files = await openSegments(storage);
        storage.inject({ nth, ...fault });
        await assert.rejects(write(files), { code: fault.code }, what);
        assert.deepEqual(await segmentNames(storage), [], what);
        assert.throws(() => files.adopt(1, 0), { kind: 'corrupt' });
        assert.equal(await write(files), 2);
        await files.close();
        disk.crash(nth);
        const again = await openSegments(new MemoryStorage(disk));
        const { index } = again.adopt(2, 0);
        assert.ok(index.equals(testIndex(1)));
        await again.close();
      }
    });
  }

  test('what cannot be removed is an orphan of the next open', async () => {
    const storage = new FaultyStorage(new MemoryStorage());
    const files = await openSegments(storage);
    const id = await writeSegment(files, 1, 100);
    files.adopt(id, 0);
    const unfinished = await files.create();
    storage.inject({ operation: 'remove', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
    await unfinished.abandon();
    await files.reclaim([id]);
    await files.close();
    const blocked = await openSegments(storage);
    await blocked.removeOrphans();
    assert.equal((await segmentNames(storage)).length, 2);
    assert.equal(await writeSegment(blocked, 1, 100), 3, 'their ids are not given again');
    storage.heal();
    await blocked.close();
    const again = await openSegments(storage);
    await again.removeOrphans();
    assert.deepEqual(await segmentNames(storage), []);
  });

  test('a read that fails can be tried again; a segment that open() cannot read is one that cannot be adopted', async () => {
    for (const operation of ['open', 'read'] as const) {
      const storage = new FaultyStorage(new MemoryStorage());
      const files = await openSegments(storage);
      const segment = files.adopt(await writeSegment(files, 1, dataBytes), 0);
      storage.inject({ operation, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
      await assert.rejects(files.load(segment.basePosition, 10), {
        kind: 'corrupt',
        message: /^segment-000000000001 .*EIO/,
      });
      storage.heal();
      await assertSegment(files, segment, testData(1, dataBytes), { seed: 1 });
      await files.close();
      storage.inject({ operation, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
      const again = await openSegments(storage);
      assert.throws(() => again.adopt(1, 0), { kind: 'corrupt', message: /^segment-000000000001 is damaged: .*EIO/ });
    }
  });
});

describe('damage', () => {
  const makeSegment = async (): Promise<{ storage: MemoryStorage; sizeBytes: number }> => {
    const storage = new MemoryStorage();
    const files = await openSegments(storage);
    files.adopt(await writeSegment(files, 1, dataBytes), 0);
    await files.close();
    return { storage, sizeBytes: files.usedBytes };
  };

  const flipBit = async (storage: Storage, at: number, bit: number): Promise<void> => {
    const file = await storage.open(segmentFileName(1), { create: false, durable: false });
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0] = byte[0]! ^ (1 << bit);
    await new Promise<void>((resolve) => file.write(byte, 0, 1, at, () => resolve()));
  };

  const named = (what: RegExp) => (error: Error & { kind?: string }) => {
    assert.equal(error.kind, 'corrupt');
    assert.match(error.message, /^segment-000000000001 is damaged: /);
    assert.match(error.message, what);
    return true;
  };

  test('of any bit behind the data is found when the segment is adopted', async () => {
    const random = seededRandom(firstSeed);
    const { storage, sizeBytes } = await makeSegment();
    const indexEnd = dataBytes + testIndex(1).length;
    const places = Array.from({ length: 60 }, () => dataBytes + Math.floor(random() * (sizeBytes - dataBytes)));
    places.push(dataBytes, indexEnd - 1, indexEnd, sizeBytes - 65, sizeBytes - 64, sizeBytes - 58, sizeBytes - 1);
    for (const at of places) {
      const bit = Math.floor(random() * 8);
      await flipBit(storage, at, bit);
      const files = await openSegments(storage);
      const part =
        at < indexEnd
          ? `the index at offset ${dataBytes}`
          : at < sizeBytes - 64
            ? `the page table at offset ${indexEnd}`
            : `the footer at offset ${sizeBytes - 64}`;
      assert.throws(() => files.adopt(1, 0), named(new RegExp(`${part}$`)));
      await flipBit(storage, at, bit);
    }
    const files = await openSegments(storage);
    await assertSegment(files, files.adopt(1, 0), testData(1, dataBytes), { seed: 1 });
  });

  test('of any bit of the data is found when its page is read, and other pages are still served', async () => {
    const random = seededRandom(firstSeed);
    const { storage } = await makeSegment();
    const data = testData(1, dataBytes);
    for (let run = 0; run < 40; run++) {
      const at = run === 0 ? dataBytes - 1 : Math.floor(random() * dataBytes);
      const bit = Math.floor(random() * 8);
      await flipBit(storage, at, bit);
      const files = await openSegments(storage);
      const { basePosition } = files.adopt(1, 0);
      const page = at - (at % segmentPageBytes);
      const position = basePosition + at;
      await assert.rejects(files.load(position, 1), named(new RegExp(`the page at offset ${page}$`)));
      await assert.rejects(files.load(basePosition, dataBytes), named(new RegExp(`the page at offset ${page}$`)));
      assert.equal(files.find(position, 1), undefined);
      // Damage spoils its window of two pages, not the other one.
      const other = page < 2 * segmentPageBytes ? 2 * segmentPageBytes : 0;
      const expected = data.subarray(other, other + segmentPageBytes);
      assertChunk(await files.load(basePosition + other, expected.length), basePosition + other, expected);
      await files.close();
      await flipBit(storage, at, bit);
    }
  });

  test('a file that was cut is found at open, and one cut later when it is read', async () => {
    for (const cutBytes of [0, 10, 63, 64, 1000, segmentPageBytes, 2 * segmentPageBytes, dataBytes]) {
      const { storage } = await makeSegment();
      const open = await openSegments(storage);
      const { basePosition } = open.adopt(1, 0);
      const file = await storage.open(segmentFileName(1), { create: false, durable: false });
      await file.truncate(cutBytes);
      const offset = Math.min(3, Math.floor(cutBytes / segmentPageBytes)) * segmentPageBytes;
      if (cutBytes < dataBytes) {
        await assert.rejects(open.load(basePosition, dataBytes), named(new RegExp(`the page at offset ${offset}$`)));
      }
      const again = await openSegments(storage);
      assert.throws(() => again.adopt(1, 0), named(/./));
    }
  });

  test('a segment under the name of another one is damage', async () => {
    const { storage } = await makeSegment();
    await storage.rename(segmentFileName(1), segmentFileName(2));
    const files = await openSegments(storage);
    assert.throws(() => files.adopt(2, 0), /segment-000000000002 is damaged: the footer is that of another file/);
    assert.throws(() => files.adopt(1, 0), /segment-000000000001 is missing/);
  });
});
