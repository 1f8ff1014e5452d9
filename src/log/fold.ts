/**
 * One fold: what is still wanted of the oldest stretch of the shard's log is copied into segments, and one commit moves the logs'
 * entries there; the stretch is then held by nobody. Messages that were settled before are never written again.
 *
 *   stretch of the log -> per log, in order of offset: what is live -> segments, synced -> commit -> the entries move
 *
 * It runs between other turns of the event loop in small slices. Whatever happens to the logs meanwhile (acks, deletions) is
 * taken into account when the commit is applied.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BrokerError, isDamage } from '../core/errors.ts';
import { recordType } from '../shard/shard.ts';
import type { LogStretch } from '../shard/shard-log.ts';
import { batchBytes } from './batch-header.ts';
import { foldRecordBytes, writeFoldRecord } from './folded-segments.ts';
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

/** A log and what it has in the stretch. */
interface Share {
  readonly log: Log;
  readonly liveBytes: number;
}

export class Fold {
  readonly #store: LogStore;
  readonly #stretch: LogStretch;
  /** Something before the stretch was left behind. */
  readonly #leaves: boolean;
  readonly #isCancelled: () => boolean;
  readonly #copy: SegmentCopy;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(store: LogStore, stretch: LogStretch, leaves: boolean, isCancelled: () => boolean) {
    this.#store = store;
    this.#stretch = stretch;
    this.#leaves = leaves;
    this.#isCancelled = isCancelled;
    this.#copy = new SegmentCopy(store);
  }

  async run(): Promise<void> {
    const { shard } = this.#store;
    const shares = await this.#shares();
    const neededBytes = shares.reduce((bytes, { liveBytes }) => bytes + liveBytes, 0);
    if ((await shard.log.freeBytes()) < neededBytes) {
      throw new BrokerError('storage-full', 'the disk is too full to move messages out of the write-ahead log');
    }
    this.#bytes = await shard.log.readStretch(this.#stretch).catch((error: Error) => {
      throw new UnreadableStretch(error);
    });
    const ids = await this.#writeSegments(shares).catch(async (error: unknown) => {
      await this.#copy.abandon();
      throw error;
    });
    if (this.#isCancelled()) {
      await this.#copy.abandon();
      return;
    }
    this.#commit(ids);
    await moveEntries(this.#store, this.#isCancelled);
  }

  /** The logs that have something in the stretch, in order, and about how much: what is settled later is left out. */
  async #shares(): Promise<Share[]> {
    const shares: Share[] = [];
    let costLeft = this.#store.entriesPerTurn;
    for (const log of [...this.#store.logs]) {
      const entryCount = log.deleted ? 0 : this.#entryCount(log);
      if (entryCount > 0) shares.push({ log, liveBytes: this.#liveBytes(log) });
      costLeft -= 1 + entryCount;
      if (costLeft > 0) continue;
      await nextTurn();
      costLeft = this.#store.entriesPerTurn;
    }
    return shares.sort((left, right) => left.log.id - right.log.id);
  }

  /** Index of the log's first entry in the stretch, -1 if it has none there. */
  #firstEntry(log: Log): number {
    const entry = log.firstEntryFrom(this.#stretch.start);
    return entry < log.entryCount && log.entryPosition(entry) < this.#stretch.end ? entry : -1;
  }

  #entryCount(log: Log): number {
    const first = this.#firstEntry(log);
    return first < 0 ? 0 : log.firstEntryFrom(this.#stretch.end) - first;
  }

  #liveBytes(log: Log): number {
    let bytes = 0;
    for (let entry = this.#firstEntry(log); entry < log.entryCount; entry++) {
      if (log.entryPosition(entry) >= this.#stretch.end) break;
      if (log.entryIsLive(entry)) bytes += log.entrySizeBytes(entry);
    }
    return bytes;
  }

  /** Ids of the segments, all durable. */
  async #writeSegments(shares: readonly Share[]): Promise<number[]> {
    for (const share of shares) {
      await this.#foldLog(share);
      if (this.#isCancelled()) return [];
    }
    return await this.#copy.finish();
  }

  #commit(ids: readonly number[]): void {
    const { shard } = this.#store;
    const at = shard.beginCommit(recordType.fold, 1, foldRecordBytes(ids.length));
    writeFoldRecord(shard.log.reservedBuffer, at, { stretch: this.#stretch, leaves: this.#leaves, ids });
    shard.endCommit();
  }

  async #foldLog({ log, liveBytes }: Share): Promise<void> {
    const isLeft = (): boolean => !log.deleted && this.#firstEntry(log) >= 0;
    if (!isLeft()) return;
    await this.#copy.begin(liveBytes);
    // Others have had their turn meanwhile.
    if (!isLeft()) return;
    let offset = log.entryFirstOffset(this.#firstEntry(log));
    while (!log.deleted && !this.#isCancelled()) {
      const entry = log.findEntry(offset);
      if (entry < 0 || log.entryPosition(entry) >= this.#stretch.end) return;
      offset = log.entryEndOffset(entry);
      if (log.entryIsLive(entry)) this.#copyEntry(log, entry);
      if (this.#copy.isSliceOver) await this.#copy.endSlice();
    }
  }

  #copyEntry(log: Log, entry: number): void {
    const at = log.entryPosition(entry) - this.#stretch.start;
    const isBatch = log.entryIsBatch(entry);
    const buffer = this.#bytes;
    const [from, to] = [log.entryFirstOffset(entry), log.entryEndOffset(entry)];
    this.#copy.copy({ log, buffer, at, end: isBatch ? at + batchBytes(buffer, at) : at, isBatch, from, to });
  }
}
