/**
 * Pieces of the log read back from its files, for readers behind the arena. Who loads says how files are divided into
 * windows. Readers near one another share them, and concurrent loads of one window share the read. The most recently used are kept,
 * up to `loadedBytesMax` together. The memory of one that is not kept any more is used again once nobody pins it.
 *
 * Readers that live long pin what they read until they need something else. When all windows that are pinned take
 * `readAheadBudgetBytes`, such a reader gets a copy of the little it needs, unless others have the window pinned anyway.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Position } from '../../core/ids.ts';
import { limits } from '../../core/limits.ts';
import type { StorageFile } from '../../storage/storage.ts';
import { UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import type { Chunk } from '../shard-log.ts';
import { ReadBuffers } from './read-buffers.ts';
import { loadedBytesMax } from './wal-limits.ts';

/** A piece in memory that the collector frees. */
class CopiedPiece implements Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;

  constructor(buffer: Buffer, basePosition: number) {
    this.buffer = buffer;
    this.basePosition = basePosition as Position;
  }

  pin(): void {}

  unpin(): void {}
}

/** What windows tell whom their memory belongs to. */
interface PinnedMemory {
  /** So many bytes more, or less, are pinned. */
  changed(bytes: number): void;
  /** A window is neither kept nor pinned. */
  unused(memory: Buffer): void;
}

class LoadedWindow implements Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;
  readonly endPosition: number;
  readonly #memory: Buffer;
  readonly #pinned: PinnedMemory;
  #pinCount = 0;
  #isKept = true;

  constructor(memory: Buffer, sizeBytes: number, basePosition: number, pinned: PinnedMemory) {
    this.#memory = memory;
    this.buffer = memory.subarray(0, sizeBytes);
    this.basePosition = basePosition as Position;
    this.endPosition = basePosition + sizeBytes;
    this.#pinned = pinned;
  }

  get isShared(): boolean {
    return this.#pinCount > 1;
  }

  pin(): void {
    if (this.#pinCount++ === 0) this.#pinned.changed(this.buffer.length);
  }

  unpin(): void {
    if (this.#pinCount === 0) throw new Error('chunk unpinned more often than pinned');
    if (--this.#pinCount > 0) return;
    this.#pinned.changed(-this.buffer.length);
    if (!this.#isKept) this.#pinned.unused(this.#memory);
  }

  /** It is not found any more. */
  dropped(): void {
    this.#isKept = false;
    if (this.#pinCount === 0) this.#pinned.unused(this.#memory);
  }

  /** Up to so many bytes from `position` on, in memory of their own. */
  copy(position: number, lengthBytes: number): Chunk {
    const start = position - this.basePosition;
    const bytes = this.buffer.subarray(start, start + lengthBytes);
    const buffer = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(buffer);
    return new CopiedPiece(buffer, position);
  }

  covers(position: number, lengthBytes: number): boolean {
    return position >= this.basePosition && position + lengthBytes <= this.endPosition;
  }
}

/** What to read and from where; offsets are in the file, whose first byte has `filePosition`. */
export interface LoadRequest {
  readonly handle: StorageFile;
  readonly filePosition: number;
  readonly offset: number;
  readonly lengthBytes: number;
  /** What is read, offsets in the file; [offset, offset + lengthBytes) lies in it. */
  readonly window: { readonly start: number; readonly end: number };
  /** The reader keeps what it gets until it needs something else. */
  readonly livesLong: boolean;
  /**
   * Called with what was read of the window, readBytes of it (fewer than the buffer holds at the end of the file). Throws if
   * these are not the bytes that were written: nothing of the window is handed out then.
   */
  readonly verify: (buffer: Buffer, readBytes: number) => void;
}

/** A read under way. */
interface Loading {
  readonly start: number;
  readonly end: number;
  /** How many wait for it; each gets the window pinned. */
  readerCount: number;
  result: Promise<LoadedWindow>;
}

export class LoadedWindows {
  /** Most recently used first. */
  readonly #windows: LoadedWindow[] = [];
  readonly #buffers = new ReadBuffers();
  readonly #loading = new Set<Loading>();
  #keptBytes = 0;
  #pinnedBytes = 0;
  readonly #pinned: PinnedMemory = {
    changed: (bytes) => {
      this.#pinnedBytes += bytes;
    },
    unused: (memory) => this.#buffers.giveBack(memory),
  };

  /** Readers that live long get no more than they need. */
  get isCrowded(): boolean {
    return this.#pinnedBytes >= limits.readAheadBudgetBytes;
  }

  /** True in the same turn only, unless it is pinned. */
  find(position: number, lengthBytes: number): Chunk | undefined {
    return this.#find(position, lengthBytes);
  }

  #find(position: number, lengthBytes: number): LoadedWindow | undefined {
    const windows = this.#windows;
    for (let index = 0; index < windows.length; index++) {
      const window = windows[index]!;
      if (!window.covers(position, lengthBytes)) continue;
      if (index > 0) {
        windows.copyWithin(1, 0, index);
        windows[0] = window;
      }
      return window;
    }
    return undefined;
  }

  /** Resolves when no read is under way. */
  async whenIdle(): Promise<void> {
    while (this.#loading.size > 0) await Promise.allSettled([...this.#loading].map(({ result }) => result));
  }

  /** Resolves with a piece that is pinned for the caller. */
  async load(request: LoadRequest): Promise<Chunk> {
    const { filePosition, offset, lengthBytes, livesLong } = request;
    const found = this.#find(filePosition + offset, lengthBytes);
    const wasCrowded = this.isCrowded;
    found?.pin();
    const window = found ?? (await this.#load(request));
    const neededBytes = Math.max(lengthBytes, limits.readAheadMinBytes);
    if (!livesLong || !wasCrowded || window.isShared || window.buffer.length <= neededBytes) return window;
    const piece = window.copy(filePosition + offset, neededBytes);
    window.unpin();
    return piece;
  }

  #load(request: LoadRequest): Promise<LoadedWindow> {
    const { filePosition, offset, lengthBytes, window } = request;
    const start = filePosition + window.start;
    const end = filePosition + window.end;
    for (const loading of this.#loading) {
      if (loading.start > start || loading.end < filePosition + offset + lengthBytes) continue;
      loading.readerCount++;
      return loading.result;
    }
    const loading = { start, end, readerCount: 1 } as Loading;
    this.#loading.add(loading);
    loading.result = this.#read(request, loading).finally(() => this.#loading.delete(loading));
    return loading.result;
  }

  /** Drops the windows that begin in [start, end), because these positions will stand for other bytes. */
  drop(start: number, end: number): void {
    for (let index = this.#windows.length - 1; index >= 0; index--) {
      const { basePosition } = this.#windows[index]!;
      if (basePosition >= start && basePosition < end) this.#dropAt(index);
    }
  }

  #dropAt(index: number): void {
    const [window] = this.#windows.splice(index, 1);
    this.#keptBytes -= window!.buffer.length;
    window!.dropped();
  }

  async #read({ handle, filePosition, verify }: LoadRequest, loading: Loading): Promise<LoadedWindow> {
    const { start, end } = loading;
    const offset = start - filePosition;
    const memory = this.#buffers.take(end - start);
    const window = new LoadedWindow(memory, end - start, start, this.#pinned);
    const { buffer } = window;
    try {
      const unreadable = new UnreadableBlocks();
      const readBytes = await unreadable.read(handle, buffer, offset);
      await unreadable.explain(handle.name, () => verify(buffer, readBytes));
      if (readBytes !== buffer.length) throw new BrokerError('corrupt', `${handle.name} ends at ${offset + readBytes}`);
    } catch (error) {
      window.dropped();
      throw error;
    }
    // Nobody can join it any more: its window is found from now on.
    this.#loading.delete(loading);
    // A shorter window of the same place, read when less of it was durable, is of no more use.
    const outdated = this.#windows.findIndex((each) => each.basePosition === start);
    if (outdated >= 0) this.#dropAt(outdated);
    for (let reader = 0; reader < loading.readerCount; reader++) window.pin();
    this.#windows.unshift(window);
    this.#keptBytes += buffer.length;
    while (this.#keptBytes > loadedBytesMax && this.#windows.length > 1) this.#dropAt(this.#windows.length - 1);
    return window;
  }
}
