/**
 * One log: an ordered sequence of messages by offset, and the index of where they lie in the shard's log.
 *
 * The index holds an entry per run of a message block or per batch, not per message, in one typed array. Messages that a
 * queue has settled leave holes: an entry whose messages are all settled is dropped.
 */
import type { LogId, Position } from '../core/ids.ts';
import type { AdoptedSegment, LogStretch } from '../shard/shard-log.ts';
import { AckSet } from './ack-set.ts';
import type { LogStore } from './log-store.ts';
import { Producers } from './producers.ts';
import {
  rowBatch,
  rowCount,
  rowFirstOffset,
  rowFlags,
  rowPlace,
  rowSizeBytes,
  rowTimestamp,
  rowTransient,
} from './segment-index.ts';

/** Told once per turn or group, however many messages came. */
export interface LogWatcher {
  /** durableEnd or visibleEnd has grown, or the log was closed. */
  onLogVisible(log: Log): void;
}

/** Fields of an index entry. */
const entryFields = 5;
const firstOffsetField = 0;
/** Position times two, plus one for a batch. */
const placeField = 1;
/** Messages at append times 2^26, plus those not settled yet (logs of queues only). */
const countsField = 2;
const timestampField = 3;
/** Of its messages or batches. */
const sizeField = 4;
const countUnit = 0x400_0000;

const initialEntries = 4;
/** Fewer emptied entries than this are not worth a compaction of the index. */
const compactFrom = 64;

/** What the index knows of a run or batch, or of several batches that follow one another. Filled again and again. */
export class LogEntry {
  firstOffset = 0;
  position = 0 as Position;
  isBatch = false;
  count = 0;
  /** How many of the messages are not settled. */
  liveCount = 0;
  /** Latest time of a message. */
  timestampMs = 0;
  sizeBytes = 0;
}

/** Id of the subscription that is built into a queue; others get theirs from the catalog. */
export const builtInSubscription = 0;

export class Log {
  readonly id: LogId;
  readonly store: LogStore;
  /** Messages settled by the built-in subscription are deleted. */
  readonly deletesOnAck: boolean;
  readonly producers = new Producers();
  /** Settled offsets by subscription id. */
  readonly subscriptions = new Map<number, AckSet>();

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
  readonly epochs: number[] = [];

  /** Used by the block builder while it collects: its serial number, the next offset and this log's latest run. */
  buildSerial = 0;
  buildNextOffset = 0;
  buildRun = 0;

  /** Entries [#head, #head + entryCount), ascending by first offset. Allocated with the first entry. */
  #entries: Float64Array | undefined;
  #head = 0;
  #entryCount = 0;
  /** Bytes of the messages and batches of all entries, settled ones among them. */
  #sizeBytes = 0;
  /** The first so many entries lie in segments, or were left behind by a fold. */
  #segmentEntryCount = 0;
  /** Entries whose messages are all settled, not yet removed from the index. Their space is given back already. */
  #emptied = 0;
  /** Where the last lookup ended, relative to #head. */
  #hint = 0;
  /** Mostly one, and replaced as a whole: watchers come and go while they are told. */
  #watchers: readonly LogWatcher[] = [];

  constructor(id: LogId, store: LogStore, deletesOnAck: boolean) {
    this.id = id;
    this.store = store;
    this.deletesOnAck = deletesOnAck;
    if (deletesOnAck) this.subscriptions.set(builtInSubscription, new AckSet(0));
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  /** Bytes of what is stored, without framing; an entry counts until nothing of it is wanted. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Epoch of the shard, Kafka's leader epoch. */
  get leaderEpoch(): number {
    return this.store.epoch;
  }

  watch(watcher: LogWatcher): void {
    this.#watchers = [...this.#watchers, watcher];
  }

  unwatch(watcher: LogWatcher): void {
    this.#watchers = this.#watchers.filter((each) => each !== watcher);
  }

  notifyWatchers(): void {
    for (const watcher of this.#watchers) watcher.onLogVisible(this);
  }

  /** Appends an index entry; only the store's apply calls it. */
  addEntry(entry: LogEntry): void {
    this.#makeRoom(1);
    this.#setEntry(this.#entryCount++, entry);
  }

  /** Adds an entry that was left behind by folds, in its place. Only the store's apply calls it, in recovery. */
  insertEntry(entry: LogEntry): void {
    let index = this.#entryCount;
    while (index > 0 && this.entryFirstOffset(index - 1) > entry.firstOffset) index--;
    if (index < this.#segmentEntryCount) this.#segmentEntryCount++;
    this.#splice(index, index, 1);
    this.#setEntry(index, entry);
    this.#hint = 0;
  }

  #setEntry(index: number, entry: LogEntry): void {
    const at = (this.#head + index) * entryFields;
    const entries = this.#entries!;
    entries[at + firstOffsetField] = entry.firstOffset;
    entries[at + placeField] = entry.position * 2 + (entry.isBatch ? 1 : 0);
    entries[at + countsField] = entry.count * countUnit + entry.liveCount;
    entries[at + timestampField] = entry.timestampMs;
    entries[at + sizeField] = entry.sizeBytes;
    this.#sizeBytes += entry.sizeBytes;
    this.store.holdEntry(entry.position);
  }

  /** Replaces the entries [from, to) by `count` others, which are to be set. */
  #splice(from: number, to: number, count: number): void {
    if (count === to - from) return;
    this.#makeRoom(Math.max(0, count - (to - from)));
    const base = this.#head * entryFields;
    const end = base + this.#entryCount * entryFields;
    this.#entries!.copyWithin(base + (from + count) * entryFields, base + to * entryFields, end);
    this.#entryCount += count - (to - from);
  }

  /**
   * A fold has moved the entries in a stretch of the shard's log into a segment: rows [from, to) of its index take their
   * place. What was settled meanwhile is left out. Only the store's apply calls it, with at least one row.
   */
  applyFold(
    stretch: LogStretch,
    segment: AdoptedSegment,
    { from, to }: { readonly from: number; readonly to: number },
    dropsTransient: boolean,
  ): void {
    const rows: number[] = [];
    for (let row = from; row < to; row++) {
      if (dropsTransient && (rowFlags(segment.index, row) & rowTransient) !== 0)
        this.#dropTransientRow(segment.index, row);
      else if (this.#liveOfRow(segment.index, row) > 0) rows.push(row);
    }
    const first = this.firstEntryFrom(stretch.start);
    let end = first;
    while (end < this.#entryCount && this.entryPosition(end) < stretch.end) {
      if (this.entryIsLive(end)) this.store.releaseEntry(this.entryPosition(end));
      else this.#emptied--;
      this.#sizeBytes -= this.entrySizeBytes(end);
      end++;
    }
    this.#splice(first, end, rows.length);
    const { index, basePosition } = segment;
    rows.forEach((row, i) => {
      this.#setEntry(first + i, {
        firstOffset: rowFirstOffset(index, row),
        position: (basePosition + rowPlace(index, row)) as Position,
        isBatch: (rowFlags(index, row) & rowBatch) !== 0,
        count: rowCount(index, row),
        liveCount: this.#liveOfRow(index, row),
        timestampMs: rowTimestamp(index, row),
        sizeBytes: rowSizeBytes(index, row),
      });
    });
    this.#segmentEntryCount = first + rows.length;
    this.#hint = 0;
  }

  /** Index of the first entry in the shard's log itself that lies at or above `position`; entryCount if there is none. */
  firstEntryFrom(position: Position): number {
    let index = this.#segmentEntryCount;
    while (index < this.#entryCount && this.entryPosition(index) < position) index++;
    return index;
  }

  #dropTransientRow(index: Buffer, row: number): void {
    const first = rowFirstOffset(index, row);
    this.dropTransient(first, first + rowCount(index, row));
  }

  #liveOfRow(index: Buffer, row: number): number {
    const first = rowFirstOffset(index, row);
    const end = first + rowCount(index, row);
    if (end <= this.startOffset) return 0;
    if (!this.deletesOnAck) return end - first;
    return end - first - this.subscriptions.get(builtInSubscription)!.countWithin(first, end);
  }

  noteEpoch(epoch: number, firstOffset: number): void {
    if (this.epochs.length === 0 || this.epochs[this.epochs.length - 2]! < epoch) this.epochs.push(epoch, firstOffset);
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
    const count = this.#entryCount;
    if (count === 0) return -1;
    const entries = this.#entries!;
    // Sequential readers: the same entry as last time or the one after it.
    let low = this.#hint < count && entries[(this.#head + this.#hint) * entryFields]! <= offset ? this.#hint : 0;
    if (low > 0 || this.#hint === 0) {
      if (low + 1 >= count || entries[(this.#head + low + 1) * entryFields]! > offset) return this.#settle(low, offset);
      if (low + 2 >= count || entries[(this.#head + low + 2) * entryFields]! > offset)
        return this.#settle(low + 1, offset);
    }
    let high = count;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (entries[(this.#head + middle) * entryFields]! <= offset) low = middle;
      else high = middle;
    }
    return this.#settle(low, offset);
  }

  entryFirstOffset(index: number): number {
    return this.#entries![(this.#head + index) * entryFields]!;
  }

  entryEndOffset(index: number): number {
    const at = (this.#head + index) * entryFields;
    return this.#entries![at]! + Math.floor(this.#entries![at + countsField]! / countUnit);
  }

  entryPosition(index: number): Position {
    return Math.floor(this.#entries![(this.#head + index) * entryFields + placeField]! / 2) as Position;
  }

  entryIsBatch(index: number): boolean {
    return this.#entries![(this.#head + index) * entryFields + placeField]! % 2 === 1;
  }

  /** False when all its messages are settled: readers pass over it. */
  entryIsLive(index: number): boolean {
    return this.#entries![(this.#head + index) * entryFields + countsField]! % countUnit !== 0;
  }

  entrySizeBytes(index: number): number {
    return this.#entries![(this.#head + index) * entryFields + sizeField]!;
  }

  entryTimestamp(index: number): number {
    return this.#entries![(this.#head + index) * entryFields + timestampField]!;
  }

  /** Settles [from, to) for one subscription; on a queue's own subscription the messages are dropped. Only apply calls it. */
  applyAck(subscriptionId: number, from: number, to: number): void {
    const acks = this.subscriptions.get(subscriptionId);
    if (acks === undefined) return;
    this.store.changing(this);
    if (this.deletesOnAck && subscriptionId === builtInSubscription) this.#dropSettled(acks, from, to);
    acks.add(from, to);
    if (this.deletesOnAck && subscriptionId === builtInSubscription)
      this.startOffset = Math.max(this.startOffset, acks.floor);
  }

  /** The log starts at `offset` now, if it started before: what lies below is given back. Only apply calls it. */
  applyStart(offset: number): void {
    const start = Math.min(offset, this.endOffset);
    if (start <= this.startOffset) return;
    if (this.deletesOnAck) {
      this.applyAck(builtInSubscription, this.startOffset, start);
      return;
    }
    this.store.changing(this);
    this.startOffset = start;
    for (const acks of this.subscriptions.values()) acks.raiseFloor(start);
    for (let i = 0; i < this.#entryCount && this.entryEndOffset(i) <= start; i++) {
      if (!this.entryIsLive(i)) continue;
      this.store.releaseEntry(this.entryPosition(i));
      const at = (this.#head + i) * entryFields + countsField;
      this.#entries![at] = this.#entries![at]! - (this.#entries![at]! % countUnit);
      this.#emptied++;
    }
    if (this.#emptied > 0) this.#dropEmptied();
  }

  /** Recovery found messages that the protocol called transient: for a queue they count as settled. */
  dropTransient(from: number, to: number): void {
    if (this.deletesOnAck) this.applyAck(builtInSubscription, from, to);
  }

  /** Messages that are in the log, whatever was settled in between. */
  get liveCount(): number {
    let live = 0;
    for (let i = 0; i < this.#entryCount; i++)
      live += this.#entries![(this.#head + i) * entryFields + countsField]! % countUnit;
    return live;
  }

  /** Forgets everything; the space is given back. */
  drop(): void {
    this.deleted = true;
    for (let i = 0; i < this.#entryCount; i++) {
      if (this.entryIsLive(i)) this.store.releaseEntry(this.entryPosition(i));
    }
    this.#entries = undefined;
    this.#emptied = 0;
    this.#head = 0;
    this.#entryCount = 0;
    this.#segmentEntryCount = 0;
    this.#sizeBytes = 0;
    this.notifyWatchers();
  }

  /** From `index` (contains `offset` or starts before it) to the entry that contains it or comes after it. */
  #settle(index: number, offset: number): number {
    this.#hint = index;
    if (offset < this.entryEndOffset(index) || offset < this.entryFirstOffset(index)) return index;
    return index + 1 < this.#entryCount ? index + 1 : -1;
  }

  #dropSettled(acks: AckSet, from: number, to: number): void {
    let index = this.findEntry(from);
    if (index < 0) return;
    while (index < this.#entryCount) {
      const first = this.entryFirstOffset(index);
      if (first >= to) break;
      const at = (this.#head + index) * entryFields + countsField;
      const counts = this.#entries![at]!;
      const low = Math.max(first, from);
      const high = Math.min(this.entryEndOffset(index), to);
      const live = (counts % countUnit) - (high - low - acks.countWithin(low, high));
      if (live === 0 && counts % countUnit > 0) {
        this.store.releaseEntry(this.entryPosition(index));
        this.#emptied++;
      }
      this.#entries![at] = counts - (counts % countUnit) + live;
      index++;
    }
    if (this.#emptied > 0) this.#dropEmptied();
  }

  /** Removes emptied entries from the head, and those in the middle once they are the larger part of the index. */
  #dropEmptied(): void {
    const entries = this.#entries!;
    while (this.#entryCount > 0 && entries[this.#head * entryFields + countsField]! % countUnit === 0) {
      this.#sizeBytes -= this.entrySizeBytes(0);
      this.#head++;
      this.#entryCount--;
      this.#emptied--;
      if (this.#segmentEntryCount > 0) this.#segmentEntryCount--;
      if (this.#hint > 0) this.#hint--;
    }
    if (this.#emptied > compactFrom && this.#emptied * 2 > this.#entryCount) this.#compact();
    if (this.#entryCount === 0) this.#head = 0;
  }

  #compact(): void {
    const entries = this.#entries!;
    let kept = 0;
    let keptInSegments = 0;
    for (let i = this.#head; i < this.#head + this.#entryCount; i++) {
      const at = i * entryFields;
      if (entries[at + countsField]! % countUnit === 0) {
        this.#sizeBytes -= entries[at + sizeField]!;
        continue;
      }
      entries.copyWithin(kept * entryFields, at, at + entryFields);
      if (i < this.#head + this.#segmentEntryCount) keptInSegments++;
      kept++;
    }
    this.#segmentEntryCount = keptInSegments;
    this.#head = 0;
    this.#entryCount = kept;
    this.#emptied = 0;
    this.#hint = 0;
  }

  /** For `count` more entries behind the last one. */
  #makeRoom(count: number): void {
    this.#entries ??= new Float64Array(initialEntries * entryFields);
    const capacity = this.#entries.length / entryFields;
    const neededEntries = this.#entryCount + count;
    if (this.#head + neededEntries <= capacity) return;
    if (this.#head * 2 > capacity && neededEntries <= capacity) {
      this.#entries.copyWithin(0, this.#head * entryFields, (this.#head + this.#entryCount) * entryFields);
    } else {
      const grown = new Float64Array(Math.max(capacity * 2, neededEntries) * entryFields);
      grown.set(this.#entries.subarray(this.#head * entryFields, (this.#head + this.#entryCount) * entryFields));
      this.#entries = grown;
    }
    this.#head = 0;
  }
}
