/**
 * One fold: what is still wanted of the oldest stretch of the shard's log is copied into segments, and one commit moves the logs'
 * entries there; the stretch is then held by nobody. Messages that were settled before are never written again.
 *
 *   stretch of the log -> per log, in order of offset: what is live -> segments, synced -> commit -> the entries move
 *
 * The stretch is much larger than what of it is in memory at a time. A log that has more in it than `foldGatherBytes` is copied
 * piece by piece, as its entries lie there in order. Of logs with less, as many as fit are gathered in one pass over the stretch
 * (gathered-entries.ts), then the next ones in another.
 *
 * It runs between other turns of the event loop in small slices. Whatever happens to the logs meanwhile (acks, deletions) is
 * taken into account when the commit is applied.
 */
import { BrokerError, isDamage } from '../core/errors.ts';
import type { Position } from '../core/ids.ts';
import type { ReusedMemory } from '../core/reused-memory.ts';
import { recordType } from '../shard/shard.ts';
import type { LogStretch, StretchPiece, StretchReader } from '../shard/shard-log.ts';
import { batchBytes } from './batch-header.ts';
import { type EntrySource, StretchPieces } from './entry-source.ts';
import { type FoldShare, findShares } from './fold-shares.ts';
import { foldRecordBytes, writeFoldRecord } from './folded-segments.ts';
import { GatheredEntries } from './gathered-entries.ts';
import type { Log } from './log.ts';
import type { LogStore } from './log-store.ts';
import { moveEntries } from './move-entries.ts';
import { SegmentCopy } from './segment-copy.ts';

/** What is to be folded cannot be read. */
export class UnreadableStretch extends Error {
  /** Not as it was written; what the disk does not give may come later. */
  readonly isDamaged: boolean;

  constructor(cause: Error) {
    super(`${cause.message}; messages that lie there stay there`, { cause });
    this.isDamaged = isDamage(cause);
  }
}

export interface FoldOptions {
  readonly store: LogStore;
  readonly stretch: LogStretch;
  /** Something before the stretch was left behind. */
  readonly leaves: boolean;
  readonly isCancelled: () => boolean;
  /** For what is gathered. */
  readonly memory: ReusedMemory;
}

export class Fold {
  readonly #options: FoldOptions;
  readonly #reader: StretchReader;
  readonly #copy: SegmentCopy;
  readonly #gathered: GatheredEntries;
  readonly #pieces = new StretchPieces();

  /** The stretch is one that is to be folded in this turn. */
  constructor(options: FoldOptions) {
    const { store, stretch, memory, isCancelled } = options;
    this.#options = options;
    this.#reader = store.shard.log.openStretch(stretch);
    this.#copy = new SegmentCopy(store);
    this.#gathered = new GatheredEntries({
      stretch,
      read: (position) => this.#read(position),
      memory,
      bytesMax: store.foldGatherBytes,
      entriesPerTurn: store.entriesPerTurn,
      isCancelled,
    });
  }

  async run(): Promise<void> {
    const { store, isCancelled } = this.#options;
    const ids = await this.#writeSegments()
      .catch(async (error: unknown) => {
        await this.#copy.abandon();
        throw error;
      })
      .finally(() => this.#reader.close());
    if (isCancelled()) {
      await this.#copy.abandon();
      return;
    }
    this.#commit(ids);
    await moveEntries(store, isCancelled);
  }

  /** Ids of the segments, all durable. */
  async #writeSegments(): Promise<readonly number[]> {
    const { store, stretch, isCancelled } = this.#options;
    const shares = await findShares(store, stretch);
    const neededBytes = shares.reduce((bytes, { liveBytes }) => bytes + liveBytes, 0);
    if ((await store.shard.log.freeBytes()) < neededBytes) {
      throw new BrokerError('storage-full', 'the disk is too full to move messages out of the write-ahead log');
    }
    for (const index of shares.keys()) {
      await this.#foldLog(shares, index);
      if (isCancelled()) return [];
    }
    return await this.#copy.finish();
  }

  async #read(position: Position): Promise<StretchPiece> {
    try {
      const piece = await this.#reader.read(position);
      this.#pieces.piece = piece;
      return piece;
    } catch (error) {
      throw new UnreadableStretch(error as Error);
    }
  }

  #commit(ids: readonly number[]): void {
    const { store, stretch, leaves } = this.#options;
    const { shard } = store;
    const at = shard.beginCommit(recordType.fold, 1, foldRecordBytes(ids.length));
    writeFoldRecord(shard.log.reservedBuffer, at, { stretch, leaves, ids });
    shard.endCommit();
  }

  /** Copies one share; the others come later. */
  async #foldLog(shares: readonly FoldShare[], index: number): Promise<void> {
    const { log, firstOffset, liveBytes, gatherBytes } = shares[index]!;
    const isGathered = gatherBytes <= this.#options.store.foldGatherBytes;
    const source: EntrySource = isGathered ? this.#gathered : this.#pieces;
    if (this.#nextEntry(log, firstOffset) < 0) return;
    await this.#copy.begin(liveBytes);
    let offset = firstOffset;
    while (!this.#options.isCancelled()) {
      // Others have had their turn meanwhile.
      const entry = this.#nextEntry(log, offset);
      if (entry < 0) return;
      const position = log.entryPosition(entry);
      const at = source.placeOf(position);
      if (at < 0) {
        await this.#copy.flush();
        if (isGathered) await this.#gathered.gather(shares.slice(index), offset);
        else await this.#read(position);
        continue;
      }
      offset = log.entryEndOffset(entry);
      this.#copyEntry(log, entry, source.buffer, at);
      if (this.#copy.isSliceOver) await this.#copy.endSlice();
    }
  }

  /** The first entry at or behind `offset` that is live and lies in the stretch; -1 if there is none. */
  #nextEntry(log: Log, offset: number): number {
    const { stretch } = this.#options;
    const first = log.deleted ? -1 : log.findEntry(offset);
    if (first < 0) return -1;
    for (let entry = first; entry < log.entryCount && log.entryPosition(entry) < stretch.end; entry++) {
      if (log.entryIsLive(entry)) return entry;
    }
    return -1;
  }

  #copyEntry(log: Log, entry: number, buffer: Buffer, at: number): void {
    const isBatch = log.entryIsBatch(entry);
    const [from, to] = [log.entryFirstOffset(entry), log.entryEndOffset(entry)];
    this.#copy.copy({ log, buffer, at, end: isBatch ? at + batchBytes(buffer, at) : at, isBatch, from, to });
  }
}
