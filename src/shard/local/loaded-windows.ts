/**
 * Pieces of the log read back from its files, for readers behind the arena. Who loads says how files are divided into
 * windows, always in the same way, so that readers near one another share them; and concurrent loads of one window share the
 * read. The most recently used are kept, up to `loadedBytesMax` together. Their memory is never reused, only dropped: whoever
 * still holds a view keeps it alive.
 */
import type { Position } from '../../core/ids.ts';
import type { StorageFile } from '../../storage/storage.ts';
import type { Chunk } from '../shard-log.ts';
import { loadedBytesMax } from './wal-limits.ts';

class LoadedWindow implements Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;
  readonly endPosition: number;

  constructor(buffer: Buffer, basePosition: number) {
    this.buffer = buffer;
    this.basePosition = basePosition as Position;
    this.endPosition = basePosition + buffer.length;
  }

  pin(): void {}

  unpin(): void {}

  /** Up to so many bytes from `position` on, in memory of their own. */
  copy(position: number, lengthBytes: number): LoadedWindow {
    const start = position - this.basePosition;
    const bytes = this.buffer.subarray(start, start + lengthBytes);
    const buffer = Buffer.allocUnsafeSlow(bytes.length);
    bytes.copy(buffer);
    return new LoadedWindow(buffer, position);
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

export class LoadedWindows {
  /** Most recently used first. */
  readonly #windows: LoadedWindow[] = [];
  #keptBytes = 0;
  /** Reads under way. */
  readonly #loading = new Set<{
    readonly start: number;
    readonly end: number;
    readonly result: Promise<LoadedWindow>;
  }>();

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

  async load(request: LoadRequest): Promise<Chunk> {
    const { filePosition, offset, lengthBytes, aheadBytes } = request;
    const window = this.#find(filePosition + offset, lengthBytes) ?? (await this.#load(request));
    if (aheadBytes === undefined || window.buffer.length <= 2 * aheadBytes) return window;
    return window.copy(filePosition + offset, Math.max(lengthBytes, aheadBytes));
  }

  #load(request: LoadRequest): Promise<LoadedWindow> {
    const { filePosition, offset, lengthBytes, window } = request;
    const start = filePosition + window.start;
    const end = filePosition + window.end;
    for (const loading of this.#loading) {
      if (loading.start <= start && loading.end >= filePosition + offset + lengthBytes) return loading.result;
    }
    const result = this.#read(request, start, end);
    const loading = { start, end, result };
    this.#loading.add(loading);
    const forget = (): void => {
      this.#loading.delete(loading);
    };
    result.then(forget, forget);
    return result;
  }

  /** Drops the windows that begin in [start, end), because these positions will stand for other bytes. */
  drop(start: number, end: number): void {
    const kept = this.#windows.filter(({ basePosition }) => basePosition < start || basePosition >= end);
    this.#windows.splice(0, this.#windows.length, ...kept);
    this.#keptBytes = kept.reduce((bytes, { buffer }) => bytes + buffer.length, 0);
  }

  async #read({ handle, filePosition, verify }: LoadRequest, start: number, end: number): Promise<LoadedWindow> {
    const offset = start - filePosition;
    const buffer = Buffer.allocUnsafeSlow(end - start);
    const readBytes = await handle.read(buffer, 0, buffer.length, offset);
    verify(buffer, readBytes);
    if (readBytes !== buffer.length) throw new Error(`${handle.name} ends at ${offset + readBytes}`);
    const window = new LoadedWindow(buffer, start);
    // A shorter window of the same place, read when less of it was durable, is of no more use.
    const outdated = this.#windows.findIndex((each) => each.basePosition === start);
    if (outdated >= 0) this.#keptBytes -= this.#windows.splice(outdated, 1)[0]!.buffer.length;
    this.#windows.unshift(window);
    this.#keptBytes += buffer.length;
    while (this.#keptBytes > loadedBytesMax && this.#windows.length > 1) {
      this.#keptBytes -= this.#windows.pop()!.buffer.length;
    }
    return window;
  }
}
