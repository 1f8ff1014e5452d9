/**
 * The segments of one log. A segment file becomes known in one of two ways, found by open() or finished by a writer, and
 * belongs to the state once it is adopted. What open() found and nobody adopted is an orphan: its fold was not committed,
 * or it was reclaimed and its removal was lost in a crash.
 *
 * Positions: from 2^51 on, beyond any of the log itself, each adopted segment has a slot of 2^31 of them. Slots are taken in
 * turn, so that a position of a reclaimed segment stands for nothing for as long as possible, not for other bytes.
 *
 * A checkpoint at close tells the segments with their slots, and where messages lie in them. So the next open need not look at their
 * files, and adopts them without an index; damage in one is found when it is read.
 *
 * Holds are counted per segment, as they are per log file in wal-files.ts, and for the same purpose: a segment is given
 * back by a checkpoint behind the last release. One just adopted counts as released by the commit that adopts it; whoever
 * applies that commit holds what it wants in the same turn.
 *
 * What cannot be removed does no harm: ids are not given again, and the next open tries again.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Position } from '../../core/ids.ts';
import type { Storage } from '../../storage/storage.ts';
import { PieceReader, PieceWriter } from '../piece.ts';
import {
  type AdoptedSegment,
  type Chunk,
  isSegmentPosition,
  type LogStretch,
  type SegmentUse,
  type SegmentUses,
  type SegmentWriter,
  segmentPositionsFrom,
} from '../shard-log.ts';
import {
  parseSegmentFileName,
  readSegmentFile,
  type SegmentFile,
  SegmentFileWriter,
  segmentFileName,
} from './segment-file.ts';
import { type ReadableSegment, SegmentReads } from './segment-reads.ts';
import { entriesPerRead, segmentsMax, segmentsOpenedAtOnce, smallSegmentsMax, sparseLiveParts } from './wal-limits.ts';

const slotBytes = 2 ** 31;
const slotAt = (position: number): number => Math.floor((position - segmentPositionsFrom) / slotBytes);
const noIndex = Buffer.alloc(0);

export interface SegmentFilesOptions {
  readonly storage: Storage;
  /** Size of one read, in bytes; rounded up to whole pages. */
  readonly readAheadBytes: number;
  /** Segments with less data are small. */
  readonly smallBytes: number;
  /** Segments in use at once, segmentsMax if absent. */
  readonly slotCount?: number;
}

/** A segment file that is whole, without its page table. */
interface FoundSegment extends Pick<SegmentFile, 'dataBytes' | 'sizeBytes' | 'index'> {
  /** See Segment. */
  readonly fullBytes: number;
  /** Of a segment that a checkpoint tells: the places of messages in it are told as well, for this slot. */
  readonly slot?: number;
}

/** An adopted segment. The index is not kept, and the page table only while it is used. */
interface Segment extends ReadableSegment {
  /** Size of the file. */
  readonly sizeBytes: number;
  holdCount: number;
  /** Of what is held. */
  liveBytes: number;
  /** What liveBytes is measured against: what was wanted at first, as far as that is known, or all data. */
  fullBytes: number;
  /** It was so at the last findSparse(). */
  wasSparse: boolean;
  /** End of the log when holdCount last fell to 0, or when it was adopted. */
  releasedAt: number;
  /** Nothing is read from it any more; its slot is free when its file is removed. */
  isReclaimed: boolean;
}

export class SegmentFiles implements SegmentUses {
  readonly #storage: Storage;
  readonly #slotCount: number;
  readonly #smallBytes: number;
  readonly #reads: SegmentReads;
  /** Named by a checkpoint, be they there or not. */
  readonly #told = new Map<number, FoundSegment>();
  /** Found by open(), or why it cannot be adopted. Adopted ones are removed. */
  readonly #found = new Map<number, FoundSegment | Error>();
  /** Finished by a writer and not yet adopted. */
  readonly #finished = new Map<number, FoundSegment>();
  /** Neither finished nor given up. */
  readonly #writers = new Set<SegmentFileWriter>();
  /** Adopted and not reclaimed, by id. */
  readonly #adopted = new Map<number, Segment>();
  /** Those of them without holds. */
  readonly #unheld = new Set<Segment>();
  /** All that have a slot: adopted, or reclaimed and not yet removed. */
  readonly #bySlot = new Map<number, Segment>();
  /** Slots are looked for from here on. */
  #nextSlot = 0;
  /** No file ever seen has a higher id. */
  #lastId = 0;
  #usedBytes = 0;
  /** While it is above zero no file is removed: backups copy them. */
  #pinCount = 0;
  /** Reclaimed, to be removed when nothing pins them. */
  #pinned: Segment[] = [];
  /** Reclaimed segments whose files are being removed. */
  readonly #removals = new Set<Promise<void>>();
  #isClosed = false;

  constructor({ storage, readAheadBytes, smallBytes, slotCount = segmentsMax }: SegmentFilesOptions) {
    this.#storage = storage;
    this.#slotCount = slotCount;
    this.#smallBytes = smallBytes;
    this.#reads = new SegmentReads(storage, readAheadBytes);
  }

  /** Takes what table() wrote. Before open(), which reads only the segments that are not in it. */
  restoreTable(piece: Buffer): void {
    const reader = new PieceReader(piece, 0);
    while (!reader.isAtEnd) {
      const id = reader.count();
      const slot = reader.count();
      const dataBytes = reader.count();
      const sizeBytes = reader.count();
      this.#told.set(id, { slot, dataBytes, sizeBytes, index: noIndex, fullBytes: dataBytes });
    }
  }

  /** The adopted segments, for a checkpoint that says where messages lie in them. */
  table(): Buffer {
    const out = new PieceWriter();
    for (const { id, basePosition, dataBytes, sizeBytes } of this.#adopted.values()) {
      out.count(id);
      out.count(slotAt(basePosition));
      out.count(dataBytes);
      out.count(sizeBytes);
    }
    return out.take();
  }

  /**
   * Finds the segments of the directory and removes those that were not finished. Called once, before any is adopted. A
   * segment that is damaged or cannot be read is an error only when it is adopted.
   * @param onRead told how many of how many files have been looked at
   */
  async open(onRead = (_done: number, _whole: number): void => {}): Promise<void> {
    const all = (await this.#storage.list()).filter((name) => parseSegmentFileName(name) !== undefined);
    const names = all.values();
    let done = 0;
    const openSome = async (): Promise<void> => {
      for (const name of names) {
        await this.#openFile(name);
        onRead(++done, all.length);
      }
    };
    await Promise.all(Array.from({ length: segmentsOpenedAtOnce }, openSome));
  }

  async #openFile(name: string): Promise<void> {
    const { id, isFinished } = parseSegmentFileName(name)!;
    this.skipIds(id);
    if (isFinished) this.#found.set(id, this.#told.get(id) ?? (await this.#read(id)));
    else await this.#remove(name);
  }

  async #read(id: number): Promise<FoundSegment | Error> {
    try {
      const file = await readSegmentFile(this.#storage, id);
      return this.#note(file, file.dataBytes);
    } catch (error) {
      return error as Error;
    }
  }

  #note({ id, dataBytes, sizeBytes, index, pageTable }: SegmentFile, fullBytes: number): FoundSegment {
    this.#reads.keepPageTable(id, pageTable);
    return { dataBytes, sizeBytes, index, fullBytes };
  }

  /** The highest id given or seen. */
  get lastId(): number {
    return this.#lastId;
  }

  /**
   * Ids given from here on are higher. The directory alone does not tell which ids were given: the segments that had
   * the highest ones may have been reclaimed, while commits that name them are still replayed.
   */
  skipIds(id: number): void {
    this.#lastId = Math.max(this.#lastId, id);
  }

  /** Begins a segment; several may be written at once. Rejects with the error of the system, and leaves nothing then. */
  async create(): Promise<SegmentWriter> {
    this.#assertOpen();
    const id = ++this.#lastId;
    const writer: SegmentFileWriter = new SegmentFileWriter({
      storage: this.#storage,
      id,
      entryBytes: this.#reads.readAheadBytes / entriesPerRead,
      onFinished: (file, wantedBytes) => {
        this.#finished.set(id, this.#note(file, wantedBytes));
        this.#writers.delete(writer);
      },
      onAbandoned: () => {
        if (this.#adopted.has(id)) throw new Error(`segment ${id} is adopted`);
        this.#finished.delete(id);
        this.#reads.dropPageTable(id);
        this.#writers.delete(writer);
      },
    });
    this.#writers.add(writer);
    try {
      await writer.open();
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    return writer;
  }

  /**
   * Makes a segment part of the state. It is not reclaimable before a checkpoint beyond endPosition, the end of the commit
   * that names it.
   * @throws BrokerError 'corrupt' if it is missing or damaged, 'unsupported' if another version wrote it, and the error
   * of the system if open() could not read it
   */
  adopt(id: number, endPosition: number): AdoptedSegment {
    if (this.#adopted.has(id)) throw new Error(`segment ${id} is adopted already`);
    const file = this.#finished.get(id) ?? this.#found.get(id);
    if (file === undefined) throw new BrokerError('corrupt', `${segmentFileName(id)} is missing`);
    if (file instanceof Error) throw file;
    const { dataBytes, sizeBytes, index, fullBytes } = file;
    const slot = file.slot ?? this.#takeSlot();
    const basePosition = segmentPositionsFrom + slot * slotBytes;
    const segment: Segment = {
      id,
      basePosition,
      dataBytes,
      sizeBytes,
      holdCount: 0,
      liveBytes: 0,
      fullBytes,
      wasSparse: false,
      releasedAt: endPosition,
      isReclaimed: false,
    };
    this.#finished.delete(id);
    this.#found.delete(id);
    this.#adopted.set(id, segment);
    this.#unheld.add(segment);
    this.#bySlot.set(slot, segment);
    this.#usedBytes += sizeBytes;
    return { basePosition: basePosition as Position, index };
  }

  #takeSlot(): number {
    if (this.#bySlot.size === this.#slotCount) throw new RangeError(`more than ${this.#slotCount} segments`);
    while (this.#bySlot.has(this.#nextSlot)) this.#nextSlot = (this.#nextSlot + 1) % this.#slotCount;
    const slot = this.#nextSlot;
    this.#nextSlot = (slot + 1) % this.#slotCount;
    return slot;
  }

  /** Removes what open() found and nobody adopted. Called when all that may adopt a segment has been replayed. */
  async removeOrphans(): Promise<void> {
    this.#told.clear();
    const ids = [...this.#found.keys()];
    this.#found.clear();
    for (const id of ids) {
      this.#reads.dropPageTable(id);
      await this.#remove(segmentFileName(id));
    }
  }

  /** A piece of memory that load() brought in and that holds all of [position, position + lengthBytes). */
  find(position: number, lengthBytes: number): Chunk | undefined {
    return this.#reads.find(position, lengthBytes);
  }

  /**
   * Reads [position, position + lengthBytes), which lies in one segment, and what is behind it, pinned. Rejects with BrokerError
   * 'corrupt' if any of these pages is not what was written, 'not-found' if the segment was reclaimed, 'closing', or
   * with the error of the system.
   */
  async load(position: number, lengthBytes: number, aheadBytes?: number): Promise<Chunk> {
    this.#assertOpen();
    const segment = this.#segmentAt(position);
    if (segment === undefined) throw new BrokerError('not-found', `position ${position} is no longer in the log`);
    return await this.#reads.load(segment, position, lengthBytes, aheadBytes);
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new BrokerError('closing', 'the log is closed');
  }

  #segmentAt(position: number): Segment | undefined {
    const segment = this.#bySlot.get(slotAt(position));
    return segment?.isReclaimed === false ? segment : undefined;
  }

  /** Something at this position is wanted beyond a checkpoint (counted per segment). */
  hold(position: number): void {
    const segment = this.#heldSegment(position);
    if (segment.holdCount === 0) this.#unheld.delete(segment);
    segment.holdCount++;
  }

  /** Takes holds back. endPosition is the end of the log; the last release makes the segment reclaimable beyond it. */
  release(position: number, count: number, endPosition: number): void {
    const segment = this.#heldSegment(position);
    if (segment.holdCount < count) throw new Error(`position ${position} released more often than held`);
    segment.holdCount -= count;
    if (segment.holdCount > 0) return;
    segment.releasedAt = endPosition;
    this.#unheld.add(segment);
  }

  addLiveBytes(position: number, bytes: number): void {
    if (!isSegmentPosition(position)) return;
    const segment = this.#heldSegment(position);
    segment.liveBytes += bytes;
    if (segment.liveBytes > segment.fullBytes) segment.fullBytes = segment.liveBytes;
  }

  findSparse(except: ReadonlySet<number>): SegmentUse[] {
    const small: Segment[] = [];
    const sparse: Segment[] = [];
    for (const segment of this.#adopted.values()) {
      if (segment.holdCount === 0 || except.has(segment.id)) continue;
      if (segment.dataBytes < this.#smallBytes) {
        small.push(segment);
        continue;
      }
      const isSparse = segment.liveBytes * sparseLiveParts < segment.fullBytes;
      if (isSparse && segment.wasSparse) sparse.push(segment);
      segment.wasSparse = isSparse;
    }
    if (small.length >= smallSegmentsMax) sparse.push(...small);
    return sparse.map(({ id, liveBytes }) => ({ id, liveBytes }));
  }

  rangeOf(id: number): LogStretch | undefined {
    const segment = this.#adopted.get(id);
    return segment && stretchOf(segment);
  }

  stretchOf(position: number): LogStretch {
    return stretchOf(this.#heldSegment(position));
  }

  async readIndex(id: number): Promise<Buffer> {
    this.#assertOpen();
    if (!this.#adopted.has(id)) throw new BrokerError('not-found', `${segmentFileName(id)} is no longer there`);
    return await this.#reads.readIndex(id);
  }

  #heldSegment(position: number): Segment {
    const segment = this.#segmentAt(position);
    if (segment === undefined) throw new Error(`position ${position} lies in no segment`);
    return segment;
  }

  /** Bytes on disk of the adopted segments. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Adopted segments in which something is held. */
  liveIds(): number[] {
    return [...this.#adopted.values()].filter(({ holdCount }) => holdCount > 0).map(({ id }) => id);
  }

  /** Adopted segments that the state at `position` does not refer to. */
  reclaimable(position: number): number[] {
    return this.#reclaimable(position).map(({ id }) => id);
  }

  /** Bytes on disk of these. */
  reclaimableBytes(position: number): number {
    return this.#reclaimable(position).reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  }

  #reclaimable(position: number): Segment[] {
    return [...this.#unheld].filter(({ releasedAt }) => releasedAt < position);
  }

  /**
   * Gives segments back, once a durable checkpoint no longer refers to them. At once nothing is read from them any more;
   * resolves when the reads under way have ended and the files are removed.
   */
  async reclaim(ids: readonly number[]): Promise<void> {
    const segments = ids.map((id) => {
      const segment = this.#adopted.get(id);
      if (segment === undefined || segment.holdCount > 0) throw new Error(`segment ${id} is not to be reclaimed`);
      return segment;
    });
    for (const segment of segments) {
      segment.isReclaimed = true;
      this.#adopted.delete(segment.id);
      this.#unheld.delete(segment);
      this.#usedBytes -= segment.sizeBytes;
    }
    if (this.#pinCount > 0) this.#pinned.push(...segments);
    else await this.#removeFiles(segments);
  }

  /** The adopted segments; none of their files is removed until unpin(). */
  pin(): readonly { readonly name: string; readonly sizeBytes: number }[] {
    this.#pinCount++;
    return [...this.#adopted.values()].map(({ id, sizeBytes }) => ({ name: segmentFileName(id), sizeBytes }));
  }

  async unpin(): Promise<void> {
    if (--this.#pinCount === 0 && !this.#isClosed) await this.#removeFiles(this.#pinned.splice(0));
  }

  async #removeFiles(segments: Segment[]): Promise<void> {
    const removal = this.#removeReclaimed(segments);
    this.#removals.add(removal);
    await removal;
    this.#removals.delete(removal);
  }

  async #removeReclaimed(segments: Segment[]): Promise<void> {
    for (const segment of segments) {
      const { id, basePosition } = segment;
      await this.#reads.forget(segment, basePosition + slotBytes);
      this.#bySlot.delete(slotAt(basePosition));
      await this.#remove(segmentFileName(id));
    }
  }

  async #remove(name: string): Promise<void> {
    await this.#storage.remove(name).catch(() => {});
  }

  /**
   * Waits for reads, writes and removals under way, gives up what is not finished and closes all files. What is finished
   * stays: a commit may name it.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const writer of this.#writers) {
      await writer.whenIdle();
      if (this.#writers.has(writer)) await writer.abandon();
    }
    await Promise.all(this.#removals);
    await this.#reads.close();
  }
}

const stretchOf = ({ basePosition, dataBytes }: Segment): LogStretch => ({
  start: basePosition as Position,
  end: (basePosition + dataBytes) as Position,
});
