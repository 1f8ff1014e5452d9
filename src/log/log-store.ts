/**
 * All logs of one shard, and the only code that changes them: it applies message blocks, batches and acks, at run time and
 * in recovery alike.
 */
import type { Epoch, LogId, Position } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import {
  type ApplyPhase,
  type RecordType,
  type Rider,
  recordHeaderBytes,
  recordType,
  type Shard,
  type StateOwner,
  writeRecordHeader,
} from '../shard/shard.ts';
import { AckSet } from './ack-set.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchLastOffsetDelta,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
} from './batch-header.ts';
import {
  blockHeaderBytes,
  blockRunCount,
  blockTimestamp,
  runBytes,
  runCount,
  runFirstOffset,
  runFlags,
  runLogId,
  runTransient,
} from './block.ts';
import { builtInSubscription, Log } from './log.ts';
import type { ProducersSnapshot } from './producers.ts';

/** Before a batch in its record: u32 log id, u32 zero, f64 time of the append. */
export const batchPrefixBytes = 16;
/** An ack in its record: u32 log id, u32 subscription id, f64 from, f64 to. */
export const ackBytes = 24;
/** A delivered mark in its record: u32 log id, u32 subscription id, f64 mark. */
const markBytes = 16;

type AcksSnapshot = [subscriptionId: number, floor: number, mark: number, ranges: readonly number[]];

interface LogSnapshot {
  id: number;
  start: number;
  end: number;
  epochs: number[];
  producers: ProducersSnapshot;
  acks: AcksSnapshot[];
}

export class LogStore implements StateOwner, Rider {
  readonly recordTypes: readonly RecordType[] = [
    recordType.messageBlock,
    recordType.batch,
    recordType.ack,
    recordType.deliveredMark,
  ];
  readonly wantsHeld = true;
  readonly shard: Shard;
  readonly #logs = new Map<number, Log>();
  /** Runs and batches that are not durable yet, in order: end position in the shard's log, log, end offset. */
  #pendingPositions: number[] = [];
  #pendingLogs: Log[] = [];
  #pendingEnds: number[] = [];
  #pendingHead = 0;
  /** Logs whose watchers must be told. */
  #changed: Log[] = [];
  #notifyScheduled = false;
  /** Delivered marks that wait for a commit to ride on. */
  readonly #dirtyMarks = new Map<AckSet, { readonly log: Log; readonly subscriptionId: number }>();
  /**
   * State of logs found in the checkpoint that the catalog has not told of yet. Kept until recovery is over, because
   * subscriptions are told after their logs.
   */
  readonly #restored = new Map<number, LogSnapshot>();
  /** Index entries of all logs. */
  #entryCount = 0;
  /** The highest id of a log that is not in the catalog: it must not be given to another log. */
  highestUnknownLogId = 0;
  /**
   * The highest id of a subscription found in the shard, whether the catalog has it or not: acks and marks of one that it
   * does not know would be those of another that is given its id.
   */
  highestSubscriptionId = 0;
  /** hasRoom may have changed. */
  onRoomChanged: () => void = () => {};

  constructor(shard: Shard) {
    this.shard = shard;
    shard.register(this);
    shard.addRider(this);
  }

  get epoch(): Epoch {
    return this.shard.epoch;
  }

  get hasRoom(): boolean {
    return this.shard.log.hasRoom && this.#entryCount < limits.walEntriesMax;
  }

  log(id: number): Log | undefined {
    return this.#logs.get(id);
  }

  /** The catalog says that this log exists. */
  createLog(id: LogId, deletesOnAck: boolean): Log {
    const log = new Log(id, this, deletesOnAck);
    this.#logs.set(id, log);
    const snapshot = this.#restored.get(id);
    if (snapshot !== undefined) restoreLog(log, snapshot);
    return log;
  }

  /** The catalog says that this subscription exists and where it began. */
  addSubscription(log: Log, subscriptionId: number, startFloor: number): AckSet {
    const acks = new AckSet(startFloor);
    log.subscriptions.set(subscriptionId, acks);
    const restored = this.#restored.get(log.id)?.acks.find(([id]) => id === subscriptionId);
    if (restored !== undefined) restoreAcks(acks, restored);
    return acks;
  }

  /** The catalog says that this log is gone. */
  deleteLog(log: Log): void {
    this.#logs.delete(log.id);
    for (const acks of log.subscriptions.values()) this.#dirtyMarks.delete(acks);
    log.drop();
  }

  /** The shards are open: what the checkpoint held of logs that the catalog does not know is nobody's. */
  endRecovery(): void {
    for (const id of this.#restored.keys()) if (!this.#logs.has(id)) this.#noteUnknown(id);
    this.#restored.clear();
  }

  removeSubscription(log: Log, subscriptionId: number): void {
    const acks = log.subscriptions.get(subscriptionId);
    if (acks !== undefined) this.#dirtyMarks.delete(acks);
    log.subscriptions.delete(subscriptionId);
  }

  holdEntry(position: Position): void {
    if (++this.#entryCount === limits.walEntriesMax) this.onRoomChanged();
    this.shard.log.hold(position);
  }

  releaseEntry(position: Position): void {
    if (this.#entryCount-- === limits.walEntriesMax) this.onRoomChanged();
    this.shard.log.release(position);
  }

  /** Messages below `mark` have been delivered; written along with the next commit. */
  noteDelivered(log: Log, subscriptionId: number, acks: AckSet, mark: number): void {
    if (mark <= acks.pendingMark) return;
    if (acks.pendingMark <= acks.deliveredMark) this.#dirtyMarks.set(acks, { log, subscriptionId });
    acks.pendingMark = mark;
  }

  sizeBytes(): number {
    return this.#dirtyMarks.size === 0 ? 0 : recordHeaderBytes + markBytes * this.#dirtyMarks.size;
  }

  write(buffer: Buffer, start: number): void {
    let at = writeRecordHeader(buffer, start, recordType.deliveredMark, 1, markBytes * this.#dirtyMarks.size);
    for (const [acks, { log, subscriptionId }] of this.#dirtyMarks) {
      buffer.writeUInt32LE(log.id, at);
      buffer.writeUInt32LE(subscriptionId, at + 4);
      buffer.writeDoubleLE(acks.pendingMark, at + 8);
      at += markBytes;
    }
  }

  committed(): void {
    this.#dirtyMarks.clear();
  }

  apply(
    type: number,
    _version: number,
    buffer: Buffer,
    start: number,
    end: number,
    position: Position,
    phase: ApplyPhase,
    epoch: Epoch,
  ): void {
    if (type === recordType.messageBlock) this.#applyBlock(buffer, start, end, position, phase, epoch);
    else if (type === recordType.batch) this.#applyBatch(buffer, start, end, position, phase);
    else if (phase === 'held') return;
    else if (type === recordType.ack) this.#applyAcks(buffer, start, end);
    else this.#applyMarks(buffer, start, end);
  }

  durableUpTo(position: Position): void {
    let at = this.#pendingHead;
    const count = this.#pendingPositions.length;
    while (at < count && this.#pendingPositions[at]! <= position) {
      const log = this.#pendingLogs[at]!;
      log.durableEnd = this.#pendingEnds[at]!;
      if (log.visibleEnd < log.durableEnd) log.visibleEnd = log.durableEnd;
      this.#noteChanged(log);
      at++;
    }
    this.#pendingHead = at;
    if (at === count) {
      this.#pendingHead = this.#pendingPositions.length = this.#pendingLogs.length = this.#pendingEnds.length = 0;
    } else if (at > 4096 && at * 2 > count) {
      this.#pendingPositions = this.#pendingPositions.slice(at);
      this.#pendingLogs = this.#pendingLogs.slice(at);
      this.#pendingEnds = this.#pendingEnds.slice(at);
      this.#pendingHead = 0;
    }
    this.notifyChanged();
  }

  /** Tells the watchers of all logs that changed. */
  notifyChanged(): void {
    this.#notifyScheduled = false;
    const changed = this.#changed;
    if (changed.length === 0) return;
    this.#changed = [];
    for (const log of changed) log.changeNoted = false;
    for (const log of changed) log.notifyWatchers();
  }

  snapshot(): Buffer {
    const logs: LogSnapshot[] = [];
    for (const log of this.#logs.values()) {
      if (log.id >= firstTransientLogId) continue;
      logs.push({
        id: log.id,
        start: log.startOffset,
        end: log.endOffset,
        epochs: log.epochs,
        producers: log.producers.snapshot(),
        acks: [...log.subscriptions].map(([id, acks]) => [id, acks.floor, acks.deliveredMark, acks.ranges]),
      });
    }
    return Buffer.from(JSON.stringify(logs));
  }

  restore(snapshot: Buffer): void {
    for (const log of JSON.parse(snapshot.toString()) as LogSnapshot[]) {
      for (const [id] of log.acks) this.#noteSubscription(id);
      // The catalog of shard 0 comes after the logs of shard 0, but before those of the other shards.
      const existing = this.#logs.get(log.id);
      if (existing !== undefined) restoreLog(existing, log);
      else this.#restored.set(log.id, log);
    }
  }

  #applyBlock(buffer: Buffer, start: number, end: number, position: Position, phase: ApplyPhase, epoch: Epoch): void {
    const timestampMs = blockTimestamp(buffer, start);
    let run = start + blockHeaderBytes;
    for (let i = blockRunCount(buffer, start); i > 0; i--, run += runBytes) {
      const log = this.#logs.get(runLogId(buffer, run));
      if (log === undefined) {
        this.#noteUnknown(runLogId(buffer, run));
        continue;
      }
      const firstOffset = runFirstOffset(buffer, run);
      const isTransient = (runFlags(buffer, run) & runTransient) !== 0;
      const place = (position + run - start) as Position;
      this.#append(log, firstOffset, runCount(buffer, run), place, false, isTransient, timestampMs, phase, epoch);
      if (phase === 'live') this.#notePending((position + end - start) as Position, log, isTransient, firstOffset);
    }
  }

  #applyBatch(buffer: Buffer, start: number, end: number, position: Position, phase: ApplyPhase): void {
    const log = this.#logs.get(buffer.readUInt32LE(start));
    if (log === undefined) {
      this.#noteUnknown(buffer.readUInt32LE(start));
      return;
    }
    const batch = start + batchPrefixBytes;
    const baseOffset = batchBaseOffset(buffer, batch);
    const count = batchLastOffsetDelta(buffer, batch) + 1;
    const place = (position + batchPrefixBytes) as Position;
    const epoch = batchLeaderEpoch(buffer, batch) as Epoch;
    this.#append(log, baseOffset, count, place, true, false, batchMaxTimestamp(buffer, batch), phase, epoch);
    const producerId = batchProducerId(buffer, batch);
    if (producerId >= 0 && phase !== 'held') {
      const sequence = batchBaseSequence(buffer, batch);
      const appendedMs = buffer.readDoubleLE(start + 8);
      log.producers.apply(producerId, batchProducerEpoch(buffer, batch), sequence, count, baseOffset, appendedMs);
    }
    if (phase === 'live') this.#notePending((position + end - start) as Position, log, false, baseOffset);
  }

  #append(
    log: Log,
    firstOffset: number,
    count: number,
    place: Position,
    isBatch: boolean,
    isTransient: boolean,
    timestampMs: number,
    phase: ApplyPhase,
    epoch: Epoch,
  ): void {
    const endOffset = firstOffset + count;
    let live = count;
    if (phase === 'held') {
      // The log's own numbers came with the checkpoint; what of this is still wanted?
      if (endOffset <= log.startOffset) return;
      if (isTransient) {
        log.dropTransient(firstOffset, endOffset);
        return;
      }
      live -= log.deletesOnAck ? log.subscriptions.get(builtInSubscription)!.countWithin(firstOffset, endOffset) : 0;
      if (live === 0) return;
    } else {
      log.noteEpoch(epoch, firstOffset);
      log.endOffset = endOffset;
      if (phase === 'replay') {
        log.durableEnd = log.visibleEnd = endOffset;
        if (isTransient) {
          log.dropTransient(firstOffset, endOffset);
          return;
        }
      }
    }
    log.addEntry(firstOffset, place, isBatch, count, live, timestampMs);
  }

  #notePending(position: Position, log: Log, isTransient: boolean, firstOffset: number): void {
    this.#pendingPositions.push(position);
    this.#pendingLogs.push(log);
    this.#pendingEnds.push(log.endOffset);
    if (isTransient && log.visibleEnd === firstOffset) {
      log.visibleEnd = log.endOffset;
      this.#noteChanged(log);
      if (!this.#notifyScheduled) {
        this.#notifyScheduled = true;
        process.nextTick(() => this.notifyChanged());
      }
    }
  }

  #noteUnknown(id: number): void {
    if (id < firstTransientLogId && id > this.highestUnknownLogId) this.highestUnknownLogId = id;
  }

  #noteSubscription(id: number): void {
    if (id > this.highestSubscriptionId) this.highestSubscriptionId = id;
  }

  #noteChanged(log: Log): void {
    if (log.changeNoted) return;
    log.changeNoted = true;
    this.#changed.push(log);
  }

  #applyAcks(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += ackBytes) {
      const log = this.#logs.get(buffer.readUInt32LE(at));
      const subscriptionId = buffer.readUInt32LE(at + 4);
      this.#noteSubscription(subscriptionId);
      if (log === undefined) this.#noteUnknown(buffer.readUInt32LE(at));
      log?.applyAck(subscriptionId, buffer.readDoubleLE(at + 8), buffer.readDoubleLE(at + 16));
    }
  }

  #applyMarks(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += markBytes) {
      const log = this.#logs.get(buffer.readUInt32LE(at));
      const subscriptionId = buffer.readUInt32LE(at + 4);
      this.#noteSubscription(subscriptionId);
      const acks = log?.subscriptions.get(subscriptionId);
      if (acks === undefined) continue;
      acks.deliveredMark = Math.max(acks.deliveredMark, buffer.readDoubleLE(at + 8));
      acks.pendingMark = Math.max(acks.pendingMark, acks.deliveredMark);
    }
  }
}

const restoreLog = (log: Log, snapshot: LogSnapshot): void => {
  log.startOffset = snapshot.start;
  log.endOffset = log.durableEnd = log.visibleEnd = snapshot.end;
  log.epochs.push(...snapshot.epochs);
  log.producers.restore(snapshot.producers);
  for (const restored of snapshot.acks) {
    // A subscription that the catalog does not have (yet) is not restored: nobody would ever remove it again.
    const acks = log.subscriptions.get(restored[0]);
    if (acks !== undefined) restoreAcks(acks, restored);
  }
};

const restoreAcks = (acks: AckSet, [, floor, mark, ranges]: AcksSnapshot): void => {
  acks.raiseFloor(floor);
  for (let i = 0; i < ranges.length; i += 2) acks.add(ranges[i]!, ranges[i + 1]!);
  acks.deliveredMark = acks.pendingMark = Math.max(acks.deliveredMark, mark);
};

/** Log ids from here on belong to logs that no restart keeps; they are not written into the catalog. */
export const firstTransientLogId = 0x8000_0000;
