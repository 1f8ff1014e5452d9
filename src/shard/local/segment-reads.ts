/** Reads segments back, a read-ahead of whole pages at a time, and checks every page. Owns what is open and in memory for that. */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import type { Chunk } from '../shard-log.ts';
import { FileHandles } from './file-handles.ts';
import { LoadedWindows } from './loaded-windows.ts';
import { readError } from './operating-error.ts';
import { PageTables } from './page-tables.ts';
import { assertPages, readSegmentParts, segmentFileName, segmentPageBytes, wholePart } from './segment-file.ts';
import { entriesPerRead, segmentHandlesMax } from './wal-limits.ts';

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

/** What a read needs to know of a segment. */
export interface ReadableSegment {
  readonly id: number;
  /** Its positions begin here. */
  readonly basePosition: number;
  readonly dataBytes: number;
  /** Nothing is read from it any more. */
  readonly isReclaimed: boolean;
}

export class SegmentReads {
  /** What one read is good for: whole pages. */
  readonly readAheadBytes: number;
  readonly #windows = new LoadedWindows();
  readonly #pageTables = new PageTables();
  readonly #handles: FileHandles;

  constructor(storage: Storage, readAheadBytes: number) {
    this.readAheadBytes = roundUp(readAheadBytes, segmentPageBytes);
    this.#handles = new FileHandles(storage, segmentHandlesMax);
  }

  /** The page table of a segment that will be read: a later read does without reading that first. */
  keepPageTable(id: number, pageTable: Buffer): void {
    this.#pageTables.keep(id, pageTable);
  }

  dropPageTable(id: number): void {
    this.#pageTables.drop(id);
  }

  /** A piece of memory that load() brought in and that holds all of [position, position + lengthBytes). */
  find(position: number, lengthBytes: number): Chunk | undefined {
    return this.#windows.find(position, lengthBytes);
  }

  /** Reads [position, position + lengthBytes) of the segment and what is behind it, pinned. As SegmentFiles.load(). */
  async load(segment: ReadableSegment, position: number, lengthBytes: number, aheadBytes?: number): Promise<Chunk> {
    const { id, basePosition, dataBytes } = segment;
    const end = position + lengthBytes - basePosition;
    if (end > dataBytes) {
      const wanted = `${segmentFileName(id)} is to be read at byte ${position - basePosition}, ${lengthBytes} bytes`;
      throw new BrokerError('corrupt', `${wanted}, and has ${dataBytes}`);
    }
    const cached = this.#windows.find(position, lengthBytes);
    if (cached !== undefined) {
      cached.pin();
      return cached;
    }
    const start = position - basePosition;
    const offset = start - (start % segmentPageBytes);
    const pagesEnd = Math.min(dataBytes, roundUp(end, segmentPageBytes));
    const livesLong = aheadBytes !== undefined;
    // Whoever wants so much may begin in the middle of an entry and end in another, and both are read as a whole.
    const wholeBytes = this.readAheadBytes + (2 * this.readAheadBytes) / entriesPerRead;
    const wantedBytes = livesLong && this.#windows.isCrowded ? 0 : (aheadBytes ?? wholeBytes);
    const wideEnd = Math.min(dataBytes, Math.max(pagesEnd, roundUp(start + wantedBytes, segmentPageBytes)));
    const load = (windowEnd: number): Promise<Chunk> =>
      this.#use(id, async (handle) => {
        const pageTable = this.#pageTables.get(id) ?? (await this.#readPageTable(handle, id));
        return await this.#windows.load({
          handle,
          filePosition: basePosition,
          offset,
          lengthBytes: pagesEnd - offset,
          window: { start: offset, end: windowEnd },
          verify: (buffer, readBytes) => assertPages({ id, pageTable }, buffer, readBytes, offset),
          livesLong,
        });
      });
    try {
      return await load(wideEnd);
    } catch (error) {
      // What is asked for may be whole: damage around it is for those who read there.
      if (!(error instanceof BrokerError) || error.kind !== 'corrupt' || segment.isReclaimed) throw error;
      return await load(pagesEnd);
    }
  }

  async #use<Result>(id: number, read: (handle: StorageFile) => Promise<Result>): Promise<Result> {
    const name = segmentFileName(id);
    try {
      return await this.#handles.use(name, read);
    } catch (error) {
      throw readError(error, name);
    }
  }

  async #readPageTable(handle: StorageFile, id: number): Promise<Buffer> {
    const pageTable = wholePart(handle.name, (await readSegmentParts(handle, id)).pageTable);
    this.#pageTables.keep(id, pageTable);
    return pageTable;
  }

  /** The index of a segment, as it was stored. Rejects as load() does. */
  async readIndex(id: number): Promise<Buffer> {
    const { index } = await this.#use(id, (handle) => readSegmentParts(handle, id));
    return wholePart(segmentFileName(id), index);
  }

  /** Waits for reads of the segment and forgets it: its positions, up to endPosition, will stand for other bytes. */
  async forget({ id, basePosition }: ReadableSegment, endPosition: number): Promise<void> {
    await this.#handles.close(segmentFileName(id));
    this.#pageTables.drop(id);
    this.#windows.drop(basePosition, endPosition);
  }

  /** Closes all files once nobody reads them. */
  close(): Promise<void> {
    return this.#handles.closeAll();
  }
}
