import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../core/limits.ts';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import type { Chunk } from '../shard-log.ts';
import { LoadedWindows } from './loaded-windows.ts';
import { loadedBytesMax } from './wal-limits.ts';

const windowBytes = 1024 * 1024;
const windowCount = (4 * loadedBytesMax) / windowBytes;

/** A file in which each window holds its number, and a function that loads one of them. */
const open = async (): Promise<{
  windows: LoadedWindows;
  load: (index: number, livesLong?: boolean) => Promise<Chunk>;
}> => {
  const file = await new MemoryStorage().open('log', { create: true, durable: false });
  const bytes = Buffer.alloc(windowBytes);
  for (let index = 0; index < windowCount; index++) {
    bytes.fill(index);
    await new Promise((resolve) => file.write(bytes, 0, windowBytes, index * windowBytes, resolve));
  }
  const windows = new LoadedWindows();
  const load = (index: number, livesLong = false): Promise<Chunk> =>
    windows.load({
      handle: file,
      filePosition: 0,
      offset: index * windowBytes,
      lengthBytes: 1,
      window: { start: index * windowBytes, end: (index + 1) * windowBytes },
      livesLong,
      verify: () => {},
    });
  return { windows, load };
};

const isFilledWith = ({ buffer }: Chunk, value: number): boolean => buffer.every((byte) => byte === value);

test('memory of what is not kept is used again, but not while it is pinned', async () => {
  const { load } = await open();
  const pinned = await load(0);
  const memories = new Set([pinned.buffer.buffer]);
  for (let index = 1; index < windowCount; index++) {
    const chunk = await load(index);
    assert.ok(isFilledWith(chunk, index));
    memories.add(chunk.buffer.buffer);
    chunk.unpin();
    assert.ok(isFilledWith(pinned, 0));
  }
  assert.ok(memories.size <= loadedBytesMax / windowBytes + 2, `${memories.size} buffers`);
  pinned.unpin();
  assert.throws(() => pinned.unpin());
});

test('each of several that wait for one read has it pinned', async () => {
  const { windows, load } = await open();
  const [first, second] = await Promise.all([load(0), load(0)]);
  assert.equal(first, second);
  windows.drop(0, windowBytes);
  first!.unpin();
  for (let index = 1; index < windowCount; index++) (await load(index)).unpin();
  assert.ok(isFilledWith(second!, 0));
});

test('who keeps what it reads gets less when much is kept, unless others keep it too', async () => {
  const { load } = await open();
  const fullCount = limits.readAheadBudgetBytes / windowBytes;
  const kept: Chunk[] = [];
  for (let index = 0; index < fullCount; index++) kept.push(await load(index, true));
  assert.ok(kept.every(({ buffer }) => buffer.length === windowBytes));

  const little = await load(fullCount, true);
  assert.equal(little.buffer.length, limits.readAheadMinBytes);
  assert.ok(isFilledWith(little, fullCount));
  assert.equal(await load(fullCount - 1, true), kept.at(-1));
  assert.equal((await load(fullCount + 1)).buffer.length, windowBytes, 'who lets go of it soon gets all');

  for (const chunk of kept.splice(0, 2)) chunk.unpin();
  assert.equal((await load(fullCount + 2, true)).buffer.length, windowBytes);
});
