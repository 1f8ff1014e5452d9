/**
 * One log: an ordered sequence of messages by offset, and the index of where they lie in the shard's log.
 *
 * Messages that a queue has settled leave holes: an entry of the index whose messages are all settled is dropped.
 */
import type { LogId, Position } from '../core/ids.ts';
import type { AdoptedSegment, LogStretch } from '../shard/shard-log.ts';
import { AckSet } from './ack-set.ts';
import { type LogEntry, LogIndex } from './log-index.ts';
import type { LogStore } from './log-store.ts';
import { Producers } from './producers.ts';
import type { PositionRanges } from './rewrite-record.ts';
import {
  rowBatch,
  rowCount,
  rowFirstOffset,
  rowFlags,
  rowPage,
  rowPageRows,
  rowPlace,
  rowSizeBytes,
  rowTimestamp,
  rowTransient,
} from './segment-index.ts';
import { SettledBySubscription } from './settled-by-subscription.ts';

/** Told once per turn or group, however many messages came. */
export interface LogWatcher {
  /** durableEnd or visibleEnd has grown, or the log was closed. */
  onLogVisible(log: Log): void;
}

/** Rows [from, to) of the index of a segment. */
export interface SegmentRows {
  readonly segment: AdoptedSegment;
  readonly from: number;
  readonly to: number;
}

/** Log ids from here on belong to logs that no restart keeps; they are not written into the catalog. */
export const firstTransientLogId = 0x8000_0000;

/** Id of the subscription that is built into a queue; others get theirs from the catalog. */
export const builtInSubscription = 0;

export class Log {
  readonly id: LogId;
  readonly store: LogStore;
  /** Messages settled by the built-in subscription are deleted; those from `keptFrom` on when it has passed them. */
  readonly deletesOnAck: boolean;
  readonly producers = new Producers();
  /** Settled offsets by subscription id. */
  readonly subscriptions = new SettledBySubscription();

  /** Of a queue with replay: settled messages from here on can still be read. Never falls. Infinity: none can. */
  keptFrom: number;
  /** Readers below it get "out of range". Never falls. */
  startOffset = 0;
  /** The next offset. Never falls. */
  endOffset = 0;
  /** Messages below are durable; log readers see only these. startOffset <= durableEnd <= endOffset. */
  durableEnd = 0;
  /** Messages below may go to the consumers of a queue: also transient ones that are not durable yet. durableEnd <= visibleEnd. */
  visibleEnd = 0;
  deleted = false;
  /** The store is about to tell the watchers. */
  changeNoted = false;
  /** For checkpoints: see Swept. */
  changedIn = 0;
  savedIn = 0;

  /** Leader epochs with the first offset written under each, pairwise, ascending. */
  epochs: readonly number[] = [];

  /** Used by the block builder while it collects: its serial number, the next offset and this log's latest run. */
  buildSerial = 0;
  buildNextOffset = 0;
  buildRun = 0;

  readonly #index: LogIndex;
  /** Mostly one, and replaced as a whole: watchers come and go while they are told. */
  #watchers: readonly LogWatcher[] = [];

  /** @param keepsSettled with deletesOnAck: what is settled stays until applyStart() */
  constructor(id: LogId, store: LogStore, deletesOnAck: boolean, keepsSettled: boolean) {
    this.id = id;
    this.store = store;
    this.deletesOnAck = deletesOnAck;
    this.keptFrom = keepsSettled ? 0 : Number.POSITIVE_INFINITY;
    this.#index = new LogIndex(store);
    if (deletesOnAck) this.subscriptions.set(builtInSubscription, new AckSet(0));
  }

  get entryCount(): number {
    return this.#index.count;
  }

  /** Bytes of what is stored, without framing; an entry counts until nothing of it is wanted. */
  get sizeBytes(): number {
    return this.#index.totalBytes;
  }

  /** Epoch of the shard, Kafka's leader epoch. */
  get leaderEpoch(): number {
    return this.store.epoch;
  }

  watch(watcher: LogWatcher): void {
    // Unlike a list that is spread, this one has no room to grow: most have one.
    this.#watchers = this.#watchers.concat(watcher);
  }

  unwatch(watcher: LogWatcher): void {
    this.#watchers = this.#watchers.filter((each) => each !== watcher);
  }

  notifyWatchers(): void {
    for (const watcher of this.#watchers) watcher.onLogVisible(this);
  }

  /** Appends an index entry; only the store's apply calls it. */
  addEntry(entry: LogEntry): void {
    this.#index.add(entry);
  }

  /** Adds an entry that a checkpoint tells, or that was left behind by folds, in its place. Only recovery calls it. */
  insertEntry(entry: LogEntry): void {
    this.#index.insert(entry);
  }

  /**
   * A fold has moved the entries in a stretch of the shard's log into a segment: these rows of its index take their place, a row or some
   * at a time; others may have their turn after each time, which says how many entries there were. What was settled meanwhile is left
   * out. Only the store's apply calls it, with at least one row.
   */
  *applyFold(stretch: LogStretch, { segment, from, to }: SegmentRows, dropsTransient: boolean): Generator<number> {
    for (let row = from; row < to && !this.deleted; ) {
      const first = this.firstEntryFrom(stretch.start);
      const stretchEnd = this.firstEntryFrom(stretch.end);
      let end = first;
      let next = row;
      // As long as an entry goes on in the next row.
      do {
        next++;
        const boundary = next < to ? this.#firstEntryAt(rowFirstOffset(segment.index, next)) : stretchEnd;
        end = Math.max(first, Math.min(boundary, stretchEnd));
      } while (next < to && end > first && this.entryEndOffset(end - 1) > rowFirstOffset(segment.index, next));
      this.#index.replace(first, end, this.#entriesOf(segment, row, next, dropsTransient));
      row = next;
      yield end - first + 1;
    }
  }

  /**
   * A rewrite has moved what is live of the entries in other segments into this one: these rows of its index take their place, each
   * in its order among the others. Says how many entries there were. Only the store's apply calls it, with at least one row.
   */
  *applyRewrite(old: PositionRanges, { segment, from, to }: SegmentRows, dropsTransient: boolean): Generator<number> {
    if (this.deleted) return;
    const moved = this.#entriesOf(segment, from, to, dropsTransient);
    const index = this.#index;
    const last = to - 1;
    const endOffset = rowFirstOffset(segment.index, last) + rowCount(segment.index, last);
    const found = index.find(rowFirstOffset(segment.index, from));
    const first = found < 0 ? index.segmentCount : Math.min(found, index.segmentCount);
    const entries: LogEntry[] = [];
    let end = first;
    let next = 0;
    for (; end < index.segmentCount && index.firstOffset(end) < endOffset; end++) {
      if (index.liveCount(end) === 0 || old.has(index.position(end))) continue;
      while (next < moved.length && moved[next]!.firstOffset < index.firstOffset(end)) entries.push(moved[next++]!);
      entries.push(index.read(end));
    }
    index.replace(first, end, [...entries, ...moved.slice(next)]);
    yield end - first + moved.length;
  }

  /**
   * The log's rows in the segments of a checkpoint become its first entries, whichever order the segments have. What is settled must
   * be known by now.
   */
  restoreRows(rows: readonly SegmentRows[]): void {
    const entries = rows.flatMap(({ segment, from, to }) => this.#entriesOf(segment, from, to, true));
    entries.sort((left, right) => left.firstOffset - right.firstOffset);
    this.#index.replace(0, 0, entries);
  }

  /** Rows [from, to) of a segment's index as entries, as far as anything of them is not settled. */
  #entriesOf({ index, basePosition }: AdoptedSegment, from: number, to: number, dropsTransient: boolean): LogEntry[] {
    const entries: LogEntry[] = [];
    for (let row = from; row < to; row++) {
      const firstOffset = rowFirstOffset(index, row);
      const count = rowCount(index, row);
      if (dropsTransient && (rowFlags(index, row) & rowTransient) !== 0) {
        this.dropTransient(firstOffset, firstOffset + count);
        continue;
      }
      const liveCount = this.#liveWithin(firstOffset, firstOffset + count);
      if (liveCount === 0) continue;
      entries.push({
        firstOffset,
        position: (basePosition + rowPlace(index, row)) as Position,
        isBatch: (rowFlags(index, row) & rowBatch) !== 0,
        pageRows: (rowFlags(index, row) & rowPage) !== 0 ? rowPageRows(index, row) : 0,
        count,
        liveCount,
        timestampMs: rowTimestamp(index, row),
        sizeBytes: rowSizeBytes(index, row),
        isTransient: (rowFlags(index, row) & rowTransient) !== 0,
      });
    }
    return entries;
  }

  /** Index of the first entry in the shard's log itself that lies at or above `position`; entryCount if there is none. */
  firstEntryFrom(position: Position): number {
    return this.#index.firstFrom(position);
  }

  /** Index of the first entry that begins at or behind `offset`; entryCount if there is none. */
  #firstEntryAt(offset: number): number {
    const index = this.#index.find(offset);
    if (index < 0) return this.entryCount;
    return this.entryFirstOffset(index) < offset ? index + 1 : index;
  }

  /** How many of the messages [first, end) are not gone. */
  #liveWithin(first: number, end: number): number {
    return end <= this.startOffset ? 0 : end - first - this.goneWithin(first, end);
  }

  /** How many of the messages [from, to) were settled and are not kept. */
  goneWithin(from: number, to: number): number {
    if (!this.deletesOnAck) return 0;
    return this.subscriptions.get(builtInSubscription)!.countWithin(from, Math.min(to, this.keptFrom));
  }

  /** First offset at or after `offset` whose message is not gone in this way. */
  nextKept(offset: number): number {
    if (!this.deletesOnAck || offset >= this.keptFrom) return offset;
    return Math.min(this.subscriptions.get(builtInSubscription)!.nextOpen(offset), this.keptFrom);
  }

  /** First offset at or after `offset` whose message is; Infinity if there is none. */
  nextGone(offset: number): number {
    if (!this.deletesOnAck) return Number.POSITIVE_INFINITY;
    const settled = this.subscriptions.get(builtInSubscription)!.nextSettled(offset);
    return settled < this.keptFrom ? settled : Number.POSITIVE_INFINITY;
  }

  noteEpoch(epoch: number, firstOffset: number): void {
    if (this.epochs.length === 0 || this.epochs[this.epochs.length - 2]! < epoch)
      this.epochs = this.epochs.concat(epoch, firstOffset);
  }

  /** Leader epoch that the message at `offset` was written under, or the one that would come there. */
  epochAt(offset: number): number {
    if (offset >= this.endOffset) return this.leaderEpoch;
    const { epochs } = this;
    let found = epochs[0] ?? this.leaderEpoch;
    for (let i = 0; i < epochs.length && epochs[i + 1]! <= offset; i += 2) found = epochs[i]!;
    return found;
  }

  /**
   * Index of the entry that contains `offset`, or of the first one after it; -1 if there is none. Valid until the log
   * changes.
   */
  findEntry(offset: number): number {
    return this.#index.find(offset);
  }

  entryFirstOffset(index: number): number {
    return this.#index.firstOffset(index);
  }

  entryEndOffset(index: number): number {
    return this.#index.endOffset(index);
  }

  entryPosition(index: number): Position {
    return this.#index.position(index);
  }

  entryIsBatch(index: number): boolean {
    return this.#index.isBatch(index);
  }

  /** Rows of the page that the entry stands for; 0 if it stands for itself. */
  entryPageRows(index: number): number {
    return this.#index.pageRows(index);
  }

  /** False when all its messages are settled: readers pass over it. */
  entryIsLive(index: number): boolean {
    return this.#index.liveCount(index) !== 0;
  }

  entrySizeBytes(index: number): number {
    return this.#index.sizeBytes(index);
  }

  /** Of its bytes, about those of messages that are not settled. */
  entryLiveBytes(index: number): number {
    return this.#index.liveBytes(index);
  }

  /** All that is known of it. */
  entry(index: number): LogEntry {
    return this.#index.read(index);
  }

  entryTimestamp(index: number): number {
    return this.#index.timestampMs(index);
  }

  /** Settles [from, to) for one subscription; on a queue's own subscription what is not kept is dropped. Only apply calls it. */
  applyAck(subscriptionId: number, from: number, to: number): void {
    const acks = this.subscriptions.get(subscriptionId);
    if (acks === undefined) return;
    this.store.changing(this);
    const isOwn = this.deletesOnAck && subscriptionId === builtInSubscription;
    if (isOwn) this.#dropSettled(acks, from, Math.min(to, this.keptFrom), false);
    acks.add(from, to);
    if (isOwn) this.startOffset = Math.max(this.startOffset, Math.min(acks.floor, this.keptFrom));
  }

  /**
   * The log starts at `offset` now, if it started before: what lies below is given back. Of a queue that keeps what is settled
   * only that goes, and the log starts no later than with the first message that is not. Only apply calls it.
   */
  applyStart(offset: number): void {
    const start = Math.min(offset, this.endOffset);
    if (start <= this.startOffset) return;
    if (this.deletesOnAck) {
      if (this.keptFrom === Number.POSITIVE_INFINITY) this.applyAck(builtInSubscription, this.startOffset, start);
      else this.#keepFrom(start);
      return;
    }
    this.store.changing(this);
    this.startOffset = start;
    for (const acks of this.subscriptions.values()) acks.raiseFloor(start);
    for (let i = 0; i < this.entryCount && this.entryEndOffset(i) <= start; i++) this.#index.setLiveCount(i, 0);
    this.#index.dropEmptied();
  }

  #keepFrom(offset: number): void {
    const acks = this.subscriptions.get(builtInSubscription)!;
    const from = this.keptFrom;
    if (offset <= from) return;
    this.store.changing(this);
    this.keptFrom = offset;
    this.#dropSettled(acks, from, offset, true);
    this.startOffset = Math.max(this.startOffset, Math.min(acks.floor, offset));
  }

  /** Recovery found messages that the protocol called transient: for a queue they count as settled. */
  dropTransient(from: number, to: number): void {
    if (this.deletesOnAck) this.applyAck(builtInSubscription, from, to);
  }

  /** Messages that are in the log, whatever was settled in between. */
  get liveCount(): number {
    return this.#index.totalLiveCount;
  }

  /** Forgets everything; the space is given back. */
  drop(): void {
    this.deleted = true;
    this.#index.clear();
    this.notifyWatchers();
  }

  /** Drops the messages of [from, to) that are settled, or those that are about to be: the ones that are not yet. */
  #dropSettled(acks: AckSet, from: number, to: number, areSettled: boolean): void {
    let index = to > from ? this.findEntry(from) : -1;
    if (index < 0) return;
    for (; index < this.entryCount && this.entryFirstOffset(index) < to; index++) {
      const low = Math.max(this.entryFirstOffset(index), from);
      const high = Math.min(this.entryEndOffset(index), to);
      if (!areSettled && low === this.entryFirstOffset(index) && high === this.entryEndOffset(index)) {
        this.#index.setLiveCount(index, 0);
        continue;
      }
      const settled = low < high ? acks.countWithin(low, high) : 0;
      const dropped = areSettled ? settled : Math.max(0, high - low) - settled;
      this.#index.setLiveCount(index, this.#index.liveCount(index) - dropped);
    }
    this.#index.dropEmptied();
  }
}
