/**
 * One rewrite: what is left in segments of which little is wanted is copied into new ones, with the offsets unchanged, and one
 * commit moves the logs' entries there; the old segments are then held by nobody. So a stuck message pins itself alone.
 *
 *   index of each segment -> per log, in order of offset: what is live -> segments, synced -> commit -> the entries move
 *
 * Only what is live is read. As with a fold, what happens to the logs meanwhile is taken into account when the commit is applied.
 */
import { BrokerError } from '../core/errors.ts';
import { recordType } from '../shard/shard.ts';
import type { SegmentUse } from '../shard/shard-log.ts';
import type { Log } from './log.ts';
import { LogReader } from './log-reader.ts';
import type { LogStore } from './log-store.ts';
import { moveEntries } from './move-entries.ts';
import { PositionRanges, rewriteRecordBytes, writeRewriteRecord } from './rewrite-record.ts';
import { SegmentCopy } from './segment-copy.ts';
import { rowBytes, rowCount, rowFirstOffset, rowLogId } from './segment-index.ts';

/** Offsets [from, to) of a log, which has something in the segments. */
interface Share {
  readonly id: number;
  from: number;
  to: number;
}

export class Rewrite {
  readonly #store: LogStore;
  /** What there is room for of those that were given. */
  #sources: readonly SegmentUse[];
  #ranges = new PositionRanges([]);
  readonly #isCancelled: () => boolean;
  readonly #copy: SegmentCopy;
  /** The segment that could not be read. */
  unreadable: SegmentUse | undefined;

  constructor(store: LogStore, sources: readonly SegmentUse[], isCancelled: () => boolean) {
    this.#store = store;
    this.#sources = sources;
    this.#isCancelled = isCancelled;
    this.#copy = new SegmentCopy(store);
  }

  async run(): Promise<void> {
    const { log } = this.#store.shard;
    const freeBytes = await log.freeBytes();
    const left = this.#sources.filter(({ id }) => log.segments.rangeOf(id) !== undefined);
    this.#sources = fitting(left, freeBytes);
    if (this.#sources.length === 0 && left.length > 0) {
      throw new BrokerError('storage-full', 'the disk is too full to write segments anew');
    }
    this.#ranges = new PositionRanges(this.#sources.map(({ id }) => log.segments.rangeOf(id)));
    const shares = await this.#shares();
    const ids = await this.#writeSegments(shares).catch(async (error: unknown) => {
      await this.#copy.abandon();
      throw error;
    });
    if (this.#isCancelled()) {
      await this.#copy.abandon();
    } else if (ids.length > 0) {
      this.#commit(ids);
      await moveEntries(this.#store, this.#isCancelled);
    }
  }

  /** The logs that have something in the segments, in order. */
  async #shares(): Promise<Share[]> {
    const shares = new Map<number, Share>();
    for (const source of this.#sources) {
      const index = await this.#read(source, () => this.#store.shard.log.segments.readIndex(source.id));
      for (let row = 0; row < index.length / rowBytes; row++) {
        const id = rowLogId(index, row);
        const from = rowFirstOffset(index, row);
        const to = from + rowCount(index, row);
        const share = shares.get(id);
        if (share === undefined) {
          shares.set(id, { id, from, to });
        } else {
          share.from = Math.min(share.from, from);
          share.to = Math.max(share.to, to);
        }
      }
    }
    return [...shares.values()].sort((left, right) => left.id - right.id);
  }

  async #read<Result>(source: SegmentUse, read: () => Promise<Result>): Promise<Result> {
    try {
      return await read();
    } catch (error) {
      this.unreadable = source;
      throw error;
    }
  }

  /** Ids of the segments, all durable; none if nothing is wanted any more. */
  async #writeSegments(shares: readonly Share[]): Promise<number[]> {
    for (const share of shares) {
      await this.#copyLog(share);
      if (this.#isCancelled()) return [];
    }
    return await this.#copy.finish();
  }

  #commit(ids: readonly number[]): void {
    const { shard } = this.#store;
    const sourceIds = this.#sources.map(({ id }) => id);
    const at = shard.beginCommit(recordType.rewrite, 1, rewriteRecordBytes(sourceIds, ids));
    writeRewriteRecord(shard.log.reservedBuffer, at, sourceIds, ids);
    shard.endCommit();
  }

  async #copyLog(share: Share): Promise<void> {
    const liveBytes = await this.#liveBytes(share);
    if (liveBytes === 0) return;
    await this.#copy.begin(liveBytes);
    // Others have had their turn meanwhile.
    const log = this.#store.log(share.id);
    if (log === undefined) return;
    const reader = new LogReader(log, true);
    try {
      await this.#copyEntries(reader, share);
    } finally {
      reader.release();
    }
  }

  async #copyEntries(reader: LogReader, share: Share): Promise<void> {
    const { log } = reader;
    let offset = share.from;
    while (!log.deleted && !this.#isCancelled()) {
      const entry = this.#nextEntry(log, Math.max(offset, log.startOffset), share.to);
      if (entry < 0) return;
      offset = Math.max(offset, log.startOffset, log.entryFirstOffset(entry));
      if (!reader.locate(entry, offset)) {
        await this.#fill(reader, offset);
        continue;
      }
      const { chunk, at, entryEnd, isBatch } = reader;
      const to = reader.endOffset;
      this.#copy.copy({ log, buffer: chunk.buffer, chunk, at, end: entryEnd, isBatch, from: offset, to });
      offset = to;
      if (this.#copy.isSliceOver) await this.#copy.endSlice();
    }
  }

  /** The first entry at or behind `offset` and below `to` that lies in the segments and is live; -1 if there is none. */
  #nextEntry(log: Log, offset: number, to: number): number {
    let entry = log.findEntry(offset);
    if (entry < 0) return -1;
    while (entry < log.entryCount && log.entryFirstOffset(entry) < to) {
      if (log.entryIsLive(entry) && this.#ranges.has(log.entryPosition(entry))) return entry;
      entry++;
    }
    return -1;
  }

  /** About how much is to be copied; 0 if the log is gone. */
  async #liveBytes({ id, from, to }: Share): Promise<number> {
    let bytes = 0;
    for (let offset = from; ; ) {
      const log = this.#store.log(id);
      const entry = log === undefined ? -1 : this.#nextEntry(log, offset, to);
      if (entry < 0) return bytes;
      bytes += log!.entryLiveBytes(entry);
      offset = log!.entryEndOffset(entry);
      this.#copy.skip();
      if (this.#copy.isSliceOver) await this.#copy.endSlice();
    }
  }

  /** Reads what the reader missed. If it cannot be read, that matters only while it is wanted. */
  async #fill(reader: LogReader, offset: number): Promise<void> {
    const { log } = reader;
    const position = log.entryPosition(log.findEntry(offset));
    try {
      await reader.fill();
      this.#copy.noteRead(reader.filledBytes);
    } catch (error) {
      const entry = log.deleted ? -1 : log.findEntry(offset);
      if (entry < 0 || log.entryPosition(entry) !== position || !log.entryIsLive(entry)) return;
      const { segments } = this.#store.shard.log;
      this.unreadable = this.#sources.find(({ id }) => new PositionRanges([segments.rangeOf(id)]).has(position));
      throw error;
    }
  }
}

/** Those that there is room for together: each of them gives back more than it takes. */
const fitting = (segments: readonly SegmentUse[], freeBytes: number): SegmentUse[] => {
  let bytesLeft = freeBytes;
  return segments.filter(({ liveBytes }) => {
    if (liveBytes > bytesLeft) return false;
    bytesLeft -= liveBytes;
    return true;
  });
};
