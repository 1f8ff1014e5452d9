// Which frames of a damaged log count.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import type { StorageFile } from '../../storage/storage.ts';
import { UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import { alignFrame, type Chain, frameHeaderBytes, sealFrame } from './frame.ts';
import { salvage } from './salvage.ts';
import { walFileName, walHeaderBytes } from './wal-file.ts';

const salt = 99;
const walFileBytes = 8192;
const unreadable = new UnreadableBlocks();
const bodyBytes = 30;

/** Writes frames of 30 bytes into a file, each at its offset, and goes on behind the one before. */
class FrameWriter {
  readonly #bytes = Buffer.alloc(walFileBytes);
  #offset = walHeaderBytes;

  get offset(): number {
    return this.#offset;
  }

  skip(lengthBytes: number): void {
    this.#offset = alignFrame(this.#offset + lengthBytes);
  }

  write(chain: Chain, count: number, durableThrough = chain.nextSequence - 1): void {
    for (let i = 0; i < count; i++) {
      const fields = { previousCrc: chain.previousCrc, epoch: chain.epoch, sequence: chain.nextSequence++ };
      const end = this.#offset + frameHeaderBytes + bodyBytes;
      chain.previousCrc = sealFrame(this.#bytes, this.#offset, end, { ...fields, durableThrough }, salt);
      this.#offset = alignFrame(end);
    }
  }

  async file(storage: MemoryStorage, sequence: number): Promise<StorageFile> {
    const file = await storage.open(walFileName(sequence), { create: true, durable: false });
    await new Promise((resolve) => file.write(this.#bytes, 0, walFileBytes, 0, resolve));
    return file;
  }
}

const onProgress = (): void => {};
const unopened = new Map<number, Error>();

test('what a later epoch has written over does not come back, though a frame in between is damaged', async () => {
  const storage = new MemoryStorage();
  const chain: Chain = { nextSequence: 1, previousCrc: 0, epoch: 1 };
  const first = new FrameWriter();
  first.write(chain, 5);
  const end = first.offset;
  const lost: Chain = { ...chain };
  // Frame 6 never came to the disk, 7 to 9 did; the log went on with another frame 6 in the next file.
  new FrameWriter().write(lost, 1);
  first.skip(frameHeaderBytes + bodyBytes);
  first.write(lost, 3, 5);
  const second = new FrameWriter();
  const next: Chain = { ...chain, epoch: 2 };
  second.write(next, 4);
  const files = new Map([
    [1, await first.file(storage, 1)],
    [2, await second.file(storage, 2)],
  ]);
  const {
    entries,
    losses,
    chain: end2,
  } = await salvage({
    files,
    unopened,
    salt,
    walFileBytes,
    checkpoint: undefined,
    unreadPosition: 0,
    unreadable,
    onProgress,
  });
  assert.deepEqual(
    entries.map(({ sequence, startOffset, chainStart: { frameSequence } }) => [sequence, startOffset, frameSequence]),
    [
      [1, walHeaderBytes, 1],
      [2, walHeaderBytes, 6],
    ],
  );
  assert.equal(alignFrame(entries[0]!.endOffset), end);
  assert.deepEqual([losses, end2.nextSequence, end2.epoch], [[], 10, 2]);
});

test('frames behind a gap count only if something says that what is missing had been on disk', async () => {
  for (const durableThrough of [5, 6]) {
    const storage = new MemoryStorage();
    const chain: Chain = { nextSequence: 1, previousCrc: 0, epoch: 1 };
    const writer = new FrameWriter();
    writer.write(chain, 5);
    const end = writer.offset;
    new FrameWriter().write(chain, 1);
    writer.skip(frameHeaderBytes + bodyBytes);
    const behind = writer.offset;
    writer.write(chain, 2, durableThrough);
    const files = new Map([[1, await writer.file(storage, 1)]]);
    const { entries, losses } = await salvage({
      files,
      unopened,
      salt,
      walFileBytes,
      checkpoint: undefined,
      unreadPosition: 0,
      unreadable,
      onProgress,
    });
    assert.deepEqual(
      losses.map(({ what }) => what),
      durableThrough === 5 ? [] : [`wal-000000000001 from byte ${end} to byte ${behind}: 1 groups of commits`],
    );
    assert.equal(entries.length, losses.length + 1);
  }
});
