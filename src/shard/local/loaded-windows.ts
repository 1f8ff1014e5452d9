/**
 * Pieces of the log read back from its files, for readers behind the arena. Who loads says how files are divided into
 * windows, always in the same way, so that readers near one another share them; and concurrent loads of one window share the
 * read. The most recently used are kept, up to `loadedBytesMax` together. The memory of one that is not kept any more is used
 * again once nobody pins it.
 */
import type { Position } from '../../core/ids.ts';
import type { StorageFile } from '../../storage/storage.ts';
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

class LoadedWindow implements Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;
  readonly endPosition: number;
  readonly #onUnused: () => void;
  #pinCount: number;
  #isKept = true;

  /** @param onUnused it is neither kept nor pinned */
  constructor(buffer: Buffer, basePosition: number, pinCount: number, onUnused: () => void) {
    this.buffer = buffer;
    this.basePosition = basePosition as Position;
    this.endPosition = basePosition + buffer.length;
    this.#pinCount = pinCount;
    this.#onUnused = onUnused;
  }

  pin(): void {
    this.#pinCount++;
  }

  unpin(): void {
    if (this.#pinCount === 0) throw new Error('chunk unpinned more often than pinned');
    if (--this.#pinCount === 0 && !this.#isKept) this.#onUnused();
  }

  /** It is not found any more. */
  dropped(): void {
    this.#isKept = false;
    if (this.#pinCount === 0) this.#onUnused();
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
  /** Least size of a piece for a reader that wants no more than it needs: it gets a copy, not all of the window. */
  readonly aheadBytes: number | undefined;
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
    const { filePosition, offset, lengthBytes, aheadBytes } = request;
    const found = this.#find(filePosition + offset, lengthBytes);
    found?.pin();
    const window = found ?? (await this.#load(request));
    if (aheadBytes === undefined || window.buffer.length <= 2 * aheadBytes) return window;
    const piece = window.copy(filePosition + offset, Math.max(lengthBytes, aheadBytes));
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
    const buffer = memory.subarray(0, end - start);
    const giveBack = (): void => this.#buffers.giveBack(memory);
    try {
      const readBytes = await handle.read(buffer, 0, buffer.length, offset);
      verify(buffer, readBytes);
      if (readBytes !== buffer.length) throw new Error(`${handle.name} ends at ${offset + readBytes}`);
    } catch (error) {
      giveBack();
      throw error;
    }
    // Nobody can join it any more: its window is found from now on.
    this.#loading.delete(loading);
    // A shorter window of the same place, read when less of it was durable, is of no more use.
    const outdated = this.#windows.findIndex((each) => each.basePosition === start);
    if (outdated >= 0) this.#dropAt(outdated);
    const window = new LoadedWindow(buffer, start, loading.readerCount, giveBack);
    this.#windows.unshift(window);
    this.#keptBytes += buffer.length;
    while (this.#keptBytes > loadedBytesMax && this.#windows.length > 1) this.#dropAt(this.#windows.length - 1);
    return window;
  }
}
