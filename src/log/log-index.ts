/**
 * The index of one log: where its messages lie, an entry per run of a message block or per batch, ascending by first offset, in one
 * typed array. Entries in segments come first, those in the shard's log itself behind them.
 *
 * What a log has much of in one segment has an entry per page of rows: the rows between are read when they are needed.
 *
 * Each entry holds its place in the shard's log until all its messages are settled; it is removed from the array some time later.
 */
import type { Position } from '../core/ids.ts';
import { isSegmentPosition, type LogStretch } from '../shard/shard-log.ts';
import type { LogStore } from './log-store.ts';

/** Fields of an index entry. */
const entryFields = 5;
/** What an entry takes in memory; as much again where the list has room to grow. */
export const indexEntryBytes = entryFields * Float64Array.BYTES_PER_ELEMENT;
const firstOffsetField = 0;
/** Position times two, plus one for a batch. */
const placeField = 1;
/** Messages at append times 2^26, plus those not settled yet (logs of queues only). */
const countsField = 2;
/** Times two, plus one if it is transient. */
const timestampField = 3;
/** Bytes of its messages or batches, plus 2^40 times the rows of its page. */
const sizeField = 4;
const pageUnit = 2 ** 40;
const countUnit = 0x400_0000;

const initialEntries = 4;
/** Then, and from there on twice as many: many logs have few entries, and what is too many of a small index counts. */
const secondEntries = 12;
/** From here on the array is typed. A small one would take more for itself than for its entries, and longer to make. */
const typedFromEntries = 96;
/** Fewer emptied entries than this are not worth a compaction of the index. */
const compactFrom = 64;

/**
 * What the index knows of a run or batch, of several batches that follow one another, or of a page of rows in a segment
 * (segment-index.ts). Filled again and again.
 */
export class LogEntry {
  firstOffset = 0;
  position = 0 as Position;
  isBatch = false;
  /** If not 0 the position is that of a page with so many rows, all of them of batches or none. */
  pageRows = 0;
  count = 0;
  /** How many of the messages are not settled. */
  liveCount = 0;
  /** Latest time of a message. */
  timestampMs = 0;
  sizeBytes = 0;
  /** The protocol called its messages transient. */
  isTransient = false;
}

type Entries = number[] | Float64Array;

/** Of counts. The remainder of numbers above 2^31 is a call of the C library, several times as dear as the division. */
const liveOf = (counts: number): number => counts - Math.floor(counts / countUnit) * countUnit;

const newEntries = (count: number): Entries =>
  // Not zeros: they would make an array of small integers, to be converted when it gets its first entry.
  count < typedFromEntries ? new Array<number>(count * entryFields).fill(0.5) : new Float64Array(count * entryFields);

export class LogIndex {
  readonly #store: LogStore;
  /** Entries [#head, #head + #count). Allocated with the first entry. */
  #entries: Entries | undefined;
  #head = 0;
  #count = 0;
  /** The first so many entries lie in segments, or were left behind by a fold. */
  #segmentCount = 0;
  #sizeBytes = 0;
  /** Entries whose messages are all settled, not yet removed. Their space is given back already. */
  #emptied = 0;
  /** Where the last lookup ended, relative to #head. */
  #hint = 0;
  /** Released one after the other and not given back yet: so many entries in the stretch of this position. */
  #releasedCount = 0;
  #releasedPosition = 0 as Position;
  /** That stretch; not looked up for a single entry. */
  #releasedStretch: LogStretch | undefined;

  constructor(store: LogStore) {
    this.#store = store;
  }

  get count(): number {
    return this.#count;
  }

  get segmentCount(): number {
    return this.#segmentCount;
  }

  /** Bytes of the messages and batches of all entries, settled ones among them. */
  get totalBytes(): number {
    return this.#sizeBytes;
  }

  /** Messages that are not settled. */
  get totalLiveCount(): number {
    let live = 0;
    for (let i = 0; i < this.#count; i++) live += this.liveCount(i);
    return live;
  }

  firstOffset(index: number): number {
    return this.#entries![(this.#head + index) * entryFields]!;
  }

  endOffset(index: number): number {
    const at = (this.#head + index) * entryFields;
    return this.#entries![at]! + Math.floor(this.#entries![at + countsField]! / countUnit);
  }

  position(index: number): Position {
    return Math.floor(this.#entries![(this.#head + index) * entryFields + placeField]! / 2) as Position;
  }

  isBatch(index: number): boolean {
    return this.#entries![(this.#head + index) * entryFields + placeField]! % 2 === 1;
  }

  liveCount(index: number): number {
    return liveOf(this.#entries![(this.#head + index) * entryFields + countsField]!);
  }

  sizeBytes(index: number): number {
    const size = this.#entries![(this.#head + index) * entryFields + sizeField]!;
    return size < pageUnit ? size : size % pageUnit;
  }

  pageRows(index: number): number {
    return Math.floor(this.#entries![(this.#head + index) * entryFields + sizeField]! / pageUnit);
  }

  timestampMs(index: number): number {
    return Math.floor(this.#entries![(this.#head + index) * entryFields + timestampField]! / 2);
  }

  isTransient(index: number): boolean {
    return this.#entries![(this.#head + index) * entryFields + timestampField]! % 2 !== 0;
  }

  /** Of its bytes, those of messages that are not settled, if all are of one size. */
  liveBytes(index: number): number {
    const counts = this.#entries![(this.#head + index) * entryFields + countsField]!;
    const live = liveOf(counts);
    return live === 0 ? 0 : Math.ceil((this.sizeBytes(index) * live) / Math.floor(counts / countUnit));
  }

  /** The entry. */
  read(index: number): LogEntry {
    return {
      firstOffset: this.firstOffset(index),
      position: this.position(index),
      isBatch: this.isBatch(index),
      pageRows: this.pageRows(index),
      count: this.endOffset(index) - this.firstOffset(index),
      liveCount: this.liveCount(index),
      timestampMs: this.timestampMs(index),
      sizeBytes: this.sizeBytes(index),
      isTransient: this.isTransient(index),
    };
  }

  /** The entry that contains `offset`, or the first one after it; -1 if there is none. Valid until the index changes. */
  find(offset: number): number {
    const count = this.#count;
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

  /** From `index` (contains `offset` or starts before it) to the entry that contains it or comes after it. */
  #settle(index: number, offset: number): number {
    this.#hint = index;
    if (offset < this.endOffset(index) || offset < this.firstOffset(index)) return index;
    return index + 1 < this.#count ? index + 1 : -1;
  }

  /** The first entry in the shard's log itself that lies at or above `position`; `count` if there is none. */
  firstFrom(position: Position): number {
    let low = this.#segmentCount;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.position(middle) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Appends an entry that lies in the shard's log. */
  add(entry: LogEntry): void {
    this.#makeRoom(1);
    this.#set(this.#count++, entry);
  }

  /** Adds an entry that a checkpoint tells, or that was left behind by folds, in its place. */
  insert(entry: LogEntry): void {
    let index = this.#count;
    while (index > 0 && this.firstOffset(index - 1) > entry.firstOffset) index--;
    this.#splice(index, index, 1);
    this.#set(index, entry);
    this.#hint = 0;
    if (isSegmentPosition(entry.position)) {
      this.#segmentCount = Math.max(this.#segmentCount, index) + 1;
      this.#store.shard.log.segments.addLiveBytes(entry.position, this.liveBytes(index));
    } else if (index < this.#segmentCount) {
      this.#segmentCount++;
    }
  }

  /**
   * Puts entries that lie in segments in place of [from, to); what is before them and in no segment was left behind.
   */
  replace(from: number, to: number, entries: readonly LogEntry[]): void {
    this.#segmentCount = Math.max(this.#segmentCount, from);
    const segmentsEnd = Math.max(from, Math.min(to, this.#segmentCount));
    for (let i = from; i < to; i++) {
      this.#sizeBytes -= this.sizeBytes(i);
      if (this.liveCount(i) === 0) this.#emptied--;
      else this.#release(i);
    }
    this.#giveBack();
    this.#splice(from, to, entries.length);
    this.#segmentCount += entries.length - (segmentsEnd - from);
    entries.forEach((entry, i) => {
      this.#set(from + i, entry);
      this.#store.shard.log.segments.addLiveBytes(entry.position, this.liveBytes(from + i));
    });
    this.#hint = 0;
  }

  /** So many messages of the entry are not settled any more. dropEmptied() is to follow. */
  setLiveCount(index: number, liveCount: number): void {
    const at = (this.#head + index) * entryFields + countsField;
    const counts = this.#entries![at]!;
    const before = liveOf(counts);
    if (liveCount === before) return;
    if (liveCount === 0) {
      this.#release(index);
      this.#emptied++;
    }
    const bytesBefore = index < this.#segmentCount && liveCount > 0 ? this.liveBytes(index) : 0;
    this.#entries![at] = counts - before + liveCount;
    if (bytesBefore > 0)
      this.#store.shard.log.segments.addLiveBytes(this.position(index), this.liveBytes(index) - bytesBefore);
  }

  /** Removes emptied entries from the head, and those in the middle once they are the larger part of the index. */
  dropEmptied(): void {
    if (this.#emptied === 0) return;
    this.#giveBack();
    const entries = this.#entries!;
    let first = this.#head;
    const end = first + this.#count;
    while (first < end && liveOf(entries[first * entryFields + countsField]!) === 0) {
      const size = entries[first * entryFields + sizeField]!;
      this.#sizeBytes -= size < pageUnit ? size : size % pageUnit;
      first++;
    }
    const dropped = first - this.#head;
    this.#head = first;
    this.#count -= dropped;
    this.#emptied -= dropped;
    this.#segmentCount = Math.max(0, this.#segmentCount - dropped);
    this.#hint = Math.max(0, this.#hint - dropped);
    if (this.#emptied > compactFrom && this.#emptied * 2 > this.#count) this.#compact();
    if (this.#count === 0) this.#head = 0;
  }

  /** Forgets everything; the space is given back. */
  clear(): void {
    for (let i = 0; i < this.#count; i++) if (this.liveCount(i) > 0) this.#release(i);
    this.#giveBack();
    this.#entries = undefined;
    this.#emptied = 0;
    this.#head = 0;
    this.#count = 0;
    this.#segmentCount = 0;
    this.#sizeBytes = 0;
  }

  #set(index: number, entry: LogEntry): void {
    const at = (this.#head + index) * entryFields;
    const entries = this.#entries!;
    if (entry.count >= countUnit) throw new RangeError(`an entry of ${entry.count} messages cannot be counted`);
    entries[at + firstOffsetField] = entry.firstOffset;
    entries[at + placeField] = entry.position * 2 + (entry.isBatch ? 1 : 0);
    entries[at + countsField] = entry.count * countUnit + entry.liveCount;
    entries[at + timestampField] = entry.timestampMs * 2 + (entry.isTransient ? 1 : 0);
    entries[at + sizeField] = entry.sizeBytes + entry.pageRows * pageUnit;
    this.#sizeBytes += entry.sizeBytes;
    this.#store.holdEntry(entry.position);
  }

  /** giveBack() is to follow. Millions may go at once, most of them beside one another: each alone would cost several times as much. */
  #release(index: number): void {
    const position = this.position(index);
    if (index < this.#segmentCount) this.#store.shard.log.segments.addLiveBytes(position, -this.liveBytes(index));
    if (this.#releasedCount > 0) {
      this.#releasedStretch ??= this.#store.shard.log.stretchOf(this.#releasedPosition);
      const { start, end } = this.#releasedStretch;
      if (position >= start && position < end) {
        this.#releasedCount++;
        return;
      }
      this.#giveBack();
    }
    this.#releasedPosition = position;
    this.#releasedCount = 1;
  }

  #giveBack(): void {
    if (this.#releasedCount === 0) return;
    this.#store.releaseEntries(this.#releasedPosition, this.#releasedCount);
    this.#releasedCount = 0;
    this.#releasedStretch = undefined;
  }

  /** Makes room for `count` entries in place of [from, to); they are to be set. What is less moves: that before or that behind. */
  #splice(from: number, to: number, count: number): void {
    const added = count - (to - from);
    if (added === 0) return;
    this.#makeRoom(Math.max(0, added));
    const base = this.#head * entryFields;
    if (to === this.#count) {
      // Nothing moves.
    } else if (added < 0 && from < this.#count - to) {
      this.#entries!.copyWithin(base - added * entryFields, base, base + from * entryFields);
      this.#head -= added;
    } else {
      const end = base + this.#count * entryFields;
      this.#entries!.copyWithin(base + (from + count) * entryFields, base + to * entryFields, end);
    }
    this.#count += added;
  }

  #compact(): void {
    const entries = this.#entries!;
    let kept = 0;
    let keptInSegments = 0;
    for (let i = this.#head; i < this.#head + this.#count; i++) {
      const at = i * entryFields;
      if (liveOf(entries[at + countsField]!) === 0) {
        this.#sizeBytes -= entries[at + sizeField]! % pageUnit;
        continue;
      }
      entries.copyWithin(kept * entryFields, at, at + entryFields);
      if (i < this.#head + this.#segmentCount) keptInSegments++;
      kept++;
    }
    this.#segmentCount = keptInSegments;
    this.#head = 0;
    this.#count = kept;
    this.#emptied = 0;
    this.#hint = 0;
  }

  /** For `count` more entries behind the last one. */
  #makeRoom(count: number): void {
    this.#entries ??= newEntries(initialEntries);
    const capacity = this.#entries.length / entryFields;
    const neededEntries = this.#count + count;
    if (this.#head + neededEntries <= capacity) return;
    if (this.#head * 2 > capacity && neededEntries <= capacity) {
      this.#entries.copyWithin(0, this.#head * entryFields, (this.#head + this.#count) * entryFields);
    } else {
      const grownEntries = capacity === initialEntries ? secondEntries : capacity * 2;
      const grown = newEntries(Math.max(grownEntries, neededEntries));
      const from = this.#head * entryFields;
      const to = from + this.#count * entryFields;
      if (grown instanceof Float64Array && this.#entries instanceof Float64Array)
        grown.set(this.#entries.subarray(from, to));
      else for (let i = from; i < to; i++) grown[i - from] = this.#entries[i]!;
      this.#entries = grown;
    }
    this.#head = 0;
  }
}
