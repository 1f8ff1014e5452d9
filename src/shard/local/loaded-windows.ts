/**
 * Pieces of the log read back from its files, for readers behind the arena. Windows lie on a grid of the bytes to read ahead,
 * so that readers near one another share them, and concurrent loads of one window share the read. The most recently used are
 * kept, up to `loadedBytesMax` together. Their memory is never reused, only dropped: whoever still holds a view keeps it alive.
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
  /** Nothing is read from here on: it is not durable, or not part of the log. */
  readonly limitOffset: number;
  /** Size of the window; that of all if absent. */
  readonly aheadBytes: number | undefined;
  /**
   * Called with what was read from `offset` of the file on, readBytes of it (fewer than the buffer holds at the end of the
   * file). Throws if these are not the bytes that were written: nothing of the window is handed out then.
   */
  readonly verify?: (buffer: Buffer, readBytes: number, offset: number) => void;
}

export class LoadedWindows {
  readonly #readAheadBytes: number;
  /** Most recently used first. */
  readonly #windows: LoadedWindow[] = [];
  #keptBytes = 0;
  /** Reads under way. */
  readonly #loading = new Set<{ readonly start: number; readonly end: number; readonly result: Promise<Chunk> }>();

  constructor(readAheadBytes: number) {
    this.#readAheadBytes = readAheadBytes;
  }

  find(position: number, lengthBytes: number): Chunk | undefined {
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

  load(request: LoadRequest): Promise<Chunk> {
    const { filePosition, offset, lengthBytes, limitOffset } = request;
    const cached = this.find(filePosition + offset, lengthBytes);
    if (cached !== undefined) return Promise.resolve(cached);
    const aheadBytes = Math.min(request.aheadBytes ?? this.#readAheadBytes, this.#readAheadBytes);
    const gridStart = offset - (offset % aheadBytes);
    const start = filePosition + gridStart;
    const end = filePosition + Math.min(limitOffset, Math.max(gridStart + aheadBytes, offset + lengthBytes));
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

  async #read({ handle, filePosition, verify }: LoadRequest, start: number, end: number): Promise<Chunk> {
    const offset = start - filePosition;
    const buffer = Buffer.allocUnsafeSlow(end - start);
    const readBytes = await handle.read(buffer, 0, buffer.length, offset);
    verify?.(buffer, readBytes, offset);
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
