/**
 * All logs of one shard, and the only code that changes them: it applies message blocks, batches and acks, at run time and
 * in recovery alike.
 */
import type { Epoch, LogId, Position } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import { PieceWriter, pieceBytes } from '../shard/piece.ts';
import { type ApplyPhase, type RecordType, recordType, type Shard, type StateOwner } from '../shard/shard.ts';
import { isSegmentPosition } from '../shard/shard-log.ts';
import { type Slice, Sweep } from '../shard/sweep.ts';
import { AckSet } from './ack-set.ts';
import {
  batchBaseOffset,
  batchBaseSequence,
  batchBytes,
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
  runPayloadBytes,
  runTransient,
} from './block.ts';
import { DeliveredMarks } from './delivered-marks.ts';
import { FoldedSegments, type SegmentsSnapshot } from './folded-segments.ts';
import { firstTransientLogId, Log } from './log.ts';
import { LogEntry } from './log-index.ts';
import { acceptLoss } from './log-loss.ts';
import { LogPlaces } from './log-places.ts';
import {
  ackBytes,
  ackFrom,
  ackTo,
  batchAppendedMs,
  batchPrefixBytes,
  entryLogId,
  entrySubscriptionId,
  markBytes,
  markOffset,
  startBytes,
  startOffset,
} from './log-records.ts';
import { Prefetches } from './prefetch.ts';
import { SavedLogs, saveLog } from './saved-logs.ts';
import { Visibility } from './visibility.ts';

/**
 * Offsets that may have been given out in each lost byte of the log, and are not given again: a record takes 7 bytes at least
 * before compression, and no codec makes more than 2^15 times less of them.
 */
const lostOffsetsPerByte = 2 ** 13;

/** As in `limits`. */
export interface LogStoreLimits {
  readonly walEntriesMax: number;
  readonly entriesPerTurn: number;
  readonly foldGatherBytes: number;
}

export class LogStore implements StateOwner {
  readonly recordTypes: readonly RecordType[] = [
    recordType.messageBlock,
    recordType.batch,
    recordType.ack,
    recordType.deliveredMark,
    recordType.fold,
    recordType.logStart,
    recordType.rewrite,
  ];
  readonly places = new LogPlaces(this);
  readonly shard: Shard;
  readonly prefetches = new Prefetches();
  readonly marks = new DeliveredMarks();
  readonly #logs = new Map<number, Log>();
  readonly #folded: FoldedSegments;
  readonly #visibility = new Visibility();
  /** What is being applied. */
  readonly #entry = new LogEntry();
  /**
   * State of logs found in the checkpoint. Kept until recovery is over, because the catalog tells of logs and subscriptions
   * later, and of both again when it replays that they went and came.
   */
  readonly #saved = new SavedLogs();
  /** What of the checkpoint under way is to be stored next. */
  readonly #piece = new PieceWriter();
  readonly #sweep = new Sweep<number, Log>({
    find: (id) => this.#logs.get(id),
    all: () => this.#logs.values(),
    capture: (log) => this.#save(log),
    keyBytes: () => Float64Array.BYTES_PER_ELEMENT,
  });
  /** Index entries of all logs: in the shard's log, and in segments. */
  #walEntries = 0;
  #segmentEntries = 0;
  readonly #walEntriesMax: number;
  readonly entriesPerTurn: number;
  readonly foldGatherBytes: number;
  /** The highest id of a log that is not in the catalog: it must not be given to another log. */
  highestUnknownLogId = 0;
  /**
   * The highest id of a subscription found in the shard, whether the catalog has it or not: acks and marks of one that it
   * does not know would be those of another that is given its id.
   */
  highestSubscriptionId = 0;
  /** Called once per group of commits that became durable. */
  onDurable: () => void = () => {};
  /** hasRoom may have changed. */
  onRoomChanged: () => void = () => {};

  constructor(shard: Shard, { walEntriesMax, entriesPerTurn, foldGatherBytes }: LogStoreLimits = limits) {
    this.shard = shard;
    this.#walEntriesMax = walEntriesMax;
    this.entriesPerTurn = entriesPerTurn;
    this.foldGatherBytes = foldGatherBytes;
    this.#folded = new FoldedSegments(shard.log);
    shard.register(this);
    shard.addRider(this.marks);
  }

  get epoch(): Epoch {
    return this.shard.epoch;
  }

  get hasRoom(): boolean {
    return this.shard.log.hasRoom && this.#hasRoomForEntries;
  }

  get #hasRoomForEntries(): boolean {
    return this.#walEntries < this.#walEntriesMax && this.#walEntries + this.#segmentEntries < limits.indexEntriesMax;
  }

  /** The log is to be folded even if it has few bytes. */
  get wantsFold(): boolean {
    return this.#walEntries * 2 >= this.#walEntriesMax;
  }

  log(id: number): Log | undefined {
    return this.#logs.get(id);
  }

  get logs(): Iterable<Log> {
    return this.#logs.values();
  }

  /** The catalog says that this log exists. */
  createLog(id: LogId, deletesOnAck: boolean, keepsSettled = false): Log {
    const log = new Log(id, this, deletesOnAck, keepsSettled);
    this.#logs.set(id, log);
    if (this.#saved.has(id)) this.#restoreLog(log);
    else if (id < firstTransientLogId) this.#sweep.created(id, log);
    return log;
  }

  /** The catalog says that this subscription exists and where it began. */
  addSubscription(log: Log, subscriptionId: number, startFloor: number): AckSet {
    this.changing(log);
    const acks = new AckSet(startFloor);
    log.subscriptions.set(subscriptionId, acks);
    this.#saved.restoreSubscription(log, subscriptionId, acks);
    return acks;
  }

  /** The catalog says that this log is gone. */
  deleteLog(log: Log): void {
    this.changing(log);
    this.#logs.delete(log.id);
    for (const acks of log.subscriptions.values()) this.marks.forget(acks);
    log.drop();
  }

  /** See FoldedSegments.moves(). */
  moves(): Generator<number> {
    return this.#folded.moves();
  }

  /** Where the last fold ended. */
  get foldEnd(): Position {
    return this.#folded.foldEnd;
  }

  /**
   * The shards are open: what the checkpoint held of logs that the catalog does not know is nobody's. Returns how many messages
   * were lost of which logs, if damage was accepted.
   */
  endRecovery(): Map<Log, number> {
    const lost = new Map<Log, number>();
    const { loss } = this.shard;
    if (loss !== undefined) {
      for (const log of this.#logs.values()) {
        this.changing(log);
        const count = acceptLoss(log, loss.before, loss.bytes * lostOffsetsPerByte);
        if (count > 0) lost.set(log, count);
      }
    }
    for (const id of this.#saved.ids) if (!this.#logs.has(id)) this.#noteUnknown(id);
    this.#saved.clear();
    this.#folded.endRecovery();
    return lost;
  }

  /** To be called before anything of the log changes that a checkpoint holds. */
  changing(log: Log): void {
    if (log.changedIn !== this.#sweep.period && log.id < firstTransientLogId) this.#sweep.changing(log.id, log);
  }

  removeSubscription(log: Log, subscriptionId: number): void {
    this.changing(log);
    const acks = log.subscriptions.get(subscriptionId);
    if (acks !== undefined) this.marks.forget(acks);
    log.subscriptions.delete(subscriptionId);
  }

  holdEntry(position: Position): void {
    this.#count(position, 1);
    this.shard.log.hold(position);
  }

  /** So many in one stretch: see ShardLog.release(). */
  releaseEntries(position: Position, count: number): void {
    this.#count(position, -count);
    this.shard.log.release(position, count);
  }

  #count(position: Position, entries: number): void {
    const hadRoom = this.#hasRoomForEntries;
    if (isSegmentPosition(position)) this.#segmentEntries += entries;
    else this.#walEntries += entries;
    if (this.#hasRoomForEntries !== hadRoom) this.onRoomChanged();
  }

  /** Deletes the messages below `offset`, as a commit; of a queue that keeps what is settled only that. */
  moveStart(log: Log, offset: number): void {
    const at = this.shard.beginCommit(recordType.logStart, 1, startBytes);
    const buffer = this.shard.log.reservedBuffer;
    buffer.writeUInt32LE(log.id, at);
    buffer.writeUInt32LE(0, at + 4);
    buffer.writeDoubleLE(offset, at + 8);
    this.shard.endCommit();
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
    if (phase === 'held' && this.#folded.isFolded(position)) return;
    if (type === recordType.messageBlock) this.#applyBlock(buffer, start, end, position, phase, epoch);
    else if (type === recordType.batch) this.#applyBatch(buffer, start, end, position, phase);
    else if (phase === 'held') return;
    else if (type === recordType.ack) this.#applyAcks(buffer, start, end);
    else if (type === recordType.logStart) this.#applyStart(buffer, start);
    else if (type === recordType.deliveredMark) this.#applyMarks(buffer, start, end);
    else this.#folded.apply(type, buffer, start, this.#logs, phase === 'replay');
  }

  durableUpTo(position: Position): void {
    this.#visibility.durableUpTo(position);
    this.onDurable();
  }

  head(): Buffer {
    return Buffer.from(JSON.stringify(this.#folded.snapshot()));
  }

  restoreHead(head: Buffer): void {
    this.#folded.restore(JSON.parse(head.toString()) as SegmentsSnapshot);
  }

  get needsBase(): boolean {
    return this.#sweep.needsBase;
  }

  beginCheckpoint(isBase: boolean): void {
    this.#sweep.begin(isBase);
  }

  nextPiece(slice: Slice): Buffer | undefined {
    while (this.#piece.sizeBytes < pieceBytes) {
      const log = this.#sweep.next(slice);
      if (log === undefined) break;
      this.#save(log);
    }
    return this.#piece.sizeBytes === 0 && this.#sweep.isDone ? undefined : this.#piece.take();
  }

  endCheckpoint(): void {
    this.#sweep.end();
    this.#piece.clear();
  }

  restorePiece(piece: Buffer): void {
    this.#saved.add(piece, (id) => this.#noteSubscription(id));
  }

  endRestore(): void {
    // The catalog of shard 0 comes after the logs of shard 0, but before those of the other shards.
    for (const id of this.#saved.ids) {
      const log = this.#logs.get(id);
      if (log !== undefined) this.#restoreLog(log);
    }
  }

  #save(log: Log): void {
    if (log.id < firstTransientLogId) saveLog(this.#piece, log);
  }

  #applyBlock(buffer: Buffer, start: number, end: number, position: Position, phase: ApplyPhase, epoch: Epoch): void {
    const entry = this.#entry;
    entry.isBatch = false;
    entry.timestampMs = blockTimestamp(buffer, start);
    let run = start + blockHeaderBytes;
    for (let i = blockRunCount(buffer, start); i > 0; i--, run += runBytes) {
      const log = this.#logs.get(runLogId(buffer, run));
      if (log === undefined) {
        this.#noteUnknown(runLogId(buffer, run));
        continue;
      }
      entry.isTransient = (runFlags(buffer, run) & runTransient) !== 0;
      entry.firstOffset = runFirstOffset(buffer, run);
      entry.count = runCount(buffer, run);
      entry.position = (position + run - start) as Position;
      entry.sizeBytes = runPayloadBytes(buffer, run);
      this.#append(log, phase, epoch);
      if (phase === 'live')
        this.#visibility.appended((position + end - start) as Position, log, entry.firstOffset, entry.isTransient);
    }
  }

  #applyBatch(buffer: Buffer, start: number, end: number, position: Position, phase: ApplyPhase): void {
    const log = this.#logs.get(entryLogId(buffer, start));
    if (log === undefined) {
      this.#noteUnknown(entryLogId(buffer, start));
      return;
    }
    const batch = start + batchPrefixBytes;
    const entry = this.#entry;
    entry.isBatch = true;
    entry.isTransient = false;
    entry.timestampMs = batchMaxTimestamp(buffer, batch);
    entry.firstOffset = batchBaseOffset(buffer, batch);
    entry.count = batchLastOffsetDelta(buffer, batch) + 1;
    entry.position = (position + batchPrefixBytes) as Position;
    entry.sizeBytes = batchBytes(buffer, batch);
    this.#append(log, phase, batchLeaderEpoch(buffer, batch) as Epoch);
    const producerId = batchProducerId(buffer, batch);
    if (producerId >= 0 && phase !== 'held') {
      const sequence = batchBaseSequence(buffer, batch);
      const appendedMs = batchAppendedMs(buffer, start);
      const { firstOffset, count } = entry;
      log.producers.apply(producerId, batchProducerEpoch(buffer, batch), sequence, count, firstOffset, appendedMs);
    }
    if (phase === 'live')
      this.#visibility.appended((position + end - start) as Position, log, entry.firstOffset, false);
  }

  /** Appends #entry. */
  #append(log: Log, phase: ApplyPhase, epoch: Epoch): void {
    const entry = this.#entry;
    if (phase === 'held') {
      this.restoreEntry(log, entry);
      return;
    }
    const { firstOffset, count } = entry;
    const endOffset = firstOffset + count;
    entry.liveCount = count;
    this.changing(log);
    log.noteEpoch(epoch, firstOffset);
    log.endOffset = endOffset;
    if (phase === 'replay') {
      log.durableEnd = log.visibleEnd = endOffset;
      if (entry.isTransient) {
        log.dropTransient(firstOffset, endOffset);
        return;
      }
    }
    log.addEntry(entry);
  }

  /** Of an entry found at open, whose log's own numbers came with the checkpoint: what of it is still wanted? */
  restoreEntry(log: Log, entry: LogEntry): void {
    const { firstOffset, count, isTransient } = entry;
    const endOffset = firstOffset + count;
    if (endOffset <= log.startOffset) return;
    if (isTransient) {
      log.dropTransient(firstOffset, endOffset);
      return;
    }
    entry.liveCount = count - log.goneWithin(firstOffset, endOffset);
    if (entry.liveCount > 0) log.insertEntry(entry);
  }

  #applyStart(buffer: Buffer, start: number): void {
    const id = entryLogId(buffer, start);
    const log = this.#logs.get(id);
    if (log === undefined) this.#noteUnknown(id);
    log?.applyStart(startOffset(buffer, start));
  }

  #restoreLog(log: Log): void {
    this.#saved.restore(log);
    this.#folded.restoreLog(log);
  }

  #noteUnknown(id: number): void {
    if (id < firstTransientLogId && id > this.highestUnknownLogId) this.highestUnknownLogId = id;
  }

  #noteSubscription(id: number): void {
    if (id > this.highestSubscriptionId) this.highestSubscriptionId = id;
  }

  #applyAcks(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += ackBytes) {
      const log = this.#logs.get(entryLogId(buffer, at));
      const subscriptionId = entrySubscriptionId(buffer, at);
      this.#noteSubscription(subscriptionId);
      if (log === undefined) this.#noteUnknown(entryLogId(buffer, at));
      log?.applyAck(subscriptionId, ackFrom(buffer, at), ackTo(buffer, at));
    }
  }

  #applyMarks(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; at += markBytes) {
      const log = this.#logs.get(entryLogId(buffer, at));
      const subscriptionId = entrySubscriptionId(buffer, at);
      this.#noteSubscription(subscriptionId);
      const acks = log?.subscriptions.get(subscriptionId);
      if (log === undefined || acks === undefined) continue;
      this.changing(log);
      acks.deliveredMark = Math.max(acks.deliveredMark, markOffset(buffer, at));
      acks.pendingMark = Math.max(acks.pendingMark, acks.deliveredMark);
    }
  }
}

/** Ids of the segments that a checkpoint with this head of a LogStore needs. */
export const segmentsOfHead = (head: Buffer): readonly number[] => (JSON.parse(head.toString()) as SegmentsSnapshot)[2];
