/**
 * One log: an ordered sequence of messages by offset, and the index of where they lie in the shard's log.
 *
 * The index holds an entry per run of a message block or per batch, not per message, in one typed array. Messages that a
 * queue has settled leave holes: an entry whose messages are all settled is dropped.
 */
import type { Epoch, LogId, Position } from '../core/ids.ts';
import { AckSet } from './ack-set.ts';
import type { LogStore } from './log-store.ts';
import { Producers } from './producers.ts';

/** Told once per turn or group, however many messages came. */
export interface LogWatcher {
  /** durableEnd or visibleEnd has grown, or the log was closed. */
  onLogVisible(log: Log): void;
}

/** Fields of an index entry. */
const entryFields = 4;
const firstOffsetField = 0;
/** Position times two, plus one for a batch. */
const placeField = 1;
/** Messages at append times 2^26, plus those not settled yet (logs of queues only). */
const countsField = 2;
const timestampField = 3;
const countUnit = 0x400_0000;

const initialEntries = 4;
/** Fewer emptied entries than this are not worth a compaction of the index. */
const compactFrom = 64;

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
  /** Entries whose messages are all settled, not yet removed from the index. Their space is given back already. */
  #emptied = 0;
  /** Where the last lookup ended, relative to #head. */
  #hint = 0;
  readonly #watchers = new Set<LogWatcher>();

  constructor(id: LogId, store: LogStore, deletesOnAck: boolean) {
    this.id = id;
    this.store = store;
    this.deletesOnAck = deletesOnAck;
    if (deletesOnAck) this.subscriptions.set(builtInSubscription, new AckSet(0));
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  /** Epoch of the shard, Kafka's leader epoch. */
  get leaderEpoch(): number {
    return this.store.epoch;
  }

  watch(watcher: LogWatcher): void {
    this.#watchers.add(watcher);
  }

  unwatch(watcher: LogWatcher): void {
    this.#watchers.delete(watcher);
  }

  notifyWatchers(): void {
    for (const watcher of this.#watchers) watcher.onLogVisible(this);
  }

  /** Appends an index entry; only the store's apply calls it. `liveCount` of the messages are not settled. */
  addEntry(
    firstOffset: number,
    position: Position,
    isBatch: boolean,
    count: number,
    liveCount: number,
    timestampMs: number,
  ): void {
    this.#makeRoom();
    const at = (this.#head + this.#entryCount) * entryFields;
    const entries = this.#entries!;
    entries[at + firstOffsetField] = firstOffset;
    entries[at + placeField] = position * 2 + (isBatch ? 1 : 0);
    entries[at + countsField] = count * countUnit + liveCount;
    entries[at + timestampField] = timestampMs;
    this.#entryCount++;
    this.store.holdEntry(position);
  }

  noteEpoch(epoch: Epoch, firstOffset: number): void {
    if (this.epochs.length === 0 || this.epochs[this.epochs.length - 2]! < epoch) this.epochs.push(epoch, firstOffset);
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

  entryTimestamp(index: number): number {
    return this.#entries![(this.#head + index) * entryFields + timestampField]!;
  }

  /** Settles [from, to) for one subscription; on a queue's own subscription the messages are dropped. Only apply calls it. */
  applyAck(subscriptionId: number, from: number, to: number): void {
    const acks = this.subscriptions.get(subscriptionId);
    if (acks === undefined) return;
    if (this.deletesOnAck && subscriptionId === builtInSubscription) this.#dropSettled(acks, from, to);
    acks.add(from, to);
    if (this.deletesOnAck && subscriptionId === builtInSubscription)
      this.startOffset = Math.max(this.startOffset, acks.floor);
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
      this.#head++;
      this.#entryCount--;
      this.#emptied--;
      if (this.#hint > 0) this.#hint--;
    }
    if (this.#emptied > compactFrom && this.#emptied * 2 > this.#entryCount) this.#compact();
    if (this.#entryCount === 0) this.#head = 0;
  }

  #compact(): void {
    const entries = this.#entries!;
    let kept = 0;
    for (let i = this.#head; i < this.#head + this.#entryCount; i++) {
      const at = i * entryFields;
      if (entries[at + countsField]! % countUnit === 0) continue;
      entries.copyWithin(kept * entryFields, at, at + entryFields);
      kept++;
    }
    this.#head = 0;
    this.#entryCount = kept;
    this.#emptied = 0;
    this.#hint = 0;
  }

  #makeRoom(): void {
    if (this.#entries === undefined) {
      this.#entries = new Float64Array(initialEntries * entryFields);
      return;
    }
    const capacity = this.#entries.length / entryFields;
    if (this.#head + this.#entryCount < capacity) return;
    if (this.#head * 2 > capacity) {
      this.#entries.copyWithin(0, this.#head * entryFields, (this.#head + this.#entryCount) * entryFields);
    } else {
      const grown = new Float64Array(this.#entries.length * 2);
      grown.set(this.#entries.subarray(this.#head * entryFields, (this.#head + this.#entryCount) * entryFields));
      this.#entries = grown;
    }
    this.#head = 0;
  }
}
