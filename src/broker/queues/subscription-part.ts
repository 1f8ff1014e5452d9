/**
 * A subscription's place in one log: what is settled (durable, in the log's AckSet), what is out, what goes out again and
 * how far the cursor is (soft). Memory is O(in flight).
 */
import { BrokerError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import type { AckSet } from '../../log/ack-set.ts';
import { batchBaseOffset, batchHeaderBytes, batchLastOffsetDelta } from '../../log/batch-header.ts';
import { type BatchRecord, batchCodec, batchPayload, decodeBatchRecords } from '../../log/batch-records.ts';
import {
  blockForm,
  messageEnd,
  messageStart,
  messageTimestamp,
  runCount,
  runDistance,
  runFirstMessage,
  runFirstOffset,
  runIndex,
} from '../../log/block.ts';
import type { Log } from '../../log/log.ts';
import { LogReader } from '../../log/log-reader.ts';
import { decompress } from '../../wire/decompress.ts';
import { batchRecordForm, type MessageForm } from '../message.ts';
import { Delivery } from './delivery.ts';
import { OffsetHeap } from './offset-heap.ts';

/** Batches up to this size are opened on the event loop when they are not compressed. */
const inlineBatchBytes = 64 * 1024;

/** ready: `delivery` is set. wait: nothing to deliver now. loading: ask again when onLoaded was called. */
export type NextState = 'ready' | 'wait' | 'loading';

/** Empty of records when they cannot be read. */
interface OpenedBatch {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly records: readonly BatchRecord[];
}

const unreadableBatch = (baseOffset: number, count: number): OpenedBatch => ({
  baseOffset,
  endOffset: baseOffset + count,
  records: [],
});

const openBatch = (header: Buffer, baseOffset: number, count: number, payload: Buffer): OpenedBatch => {
  try {
    return { baseOffset, endOffset: baseOffset + count, records: decodeBatchRecords(header, 0, payload) };
  } catch {
    return unreadableBatch(baseOffset, count);
  }
};

/** The subscription, as its parts see it. One for all of them: there may be very many. */
export interface PartOwner {
  readonly forms: ReadonlyMap<number, MessageForm>;
  /** What was being read is in memory now, or is to be asked for again. */
  onLoaded(): void;
  /** It cannot be read. If the error is 'storage-failed' the part does nothing until it is told to retry(). */
  onReadFailed(part: SubscriptionPart, error: BrokerError): void;
  /** A message came back. */
  onReturned(): void;
  /** The batch at these offsets cannot be opened; the subscription goes on behind it. */
  onUnreadable(part: SubscriptionPart, baseOffset: number, endOffset: number): void;
}

export interface PartOptions {
  readonly log: Log;
  readonly acks: AckSet;
}

export class SubscriptionPart {
  readonly log: Log;
  readonly subscriptionId: number;
  readonly acks: AckSet;
  /** Delivered and neither settled nor returned. */
  inFlightCount = 0;
  /** The next offset that was never delivered by this process. */
  #cursor = 0;
  /** Below it, offsets were delivered before the process started. Set at the first next(), when recovery is over. */
  #deliveredBefore = -1;
  readonly #returned = new OffsetHeap();
  /** Both are made when something is delivered. */
  #delivery: Delivery | undefined;
  #reader: LogReader | undefined;
  readonly #owner: PartOwner;
  #loading = false;
  #opened: OpenedBatch | undefined;
  /** The run that the last message came from; only valid within one call of the delivery loop. */
  #runEnd = 0;
  #runStart = 0;

  constructor({ log, acks }: PartOptions, subscriptionId: number, owner: PartOwner) {
    this.#owner = owner;
    this.log = log;
    this.subscriptionId = subscriptionId;
    this.acks = acks;
  }

  get delivery(): Delivery {
    this.#delivery ??= new Delivery(this, this.#owner.forms);
    return this.#delivery;
  }

  get #readerOfLog(): LogReader {
    this.#reader ??= new LogReader(this.log, true);
    return this.#reader;
  }

  /** Messages that may go out: those that came back, and those that never went. What the log gave back is neither. */
  get readyCount(): number {
    this.#dropGone();
    const from = Math.max(this.#cursor, this.log.startOffset, this.acks.floor);
    const { endOffset } = this.log;
    return from >= endOffset ? this.#returned.size : this.#returned.size + endOffset - from - this.acks.countFrom(from);
  }

  get isLoading(): boolean {
    return this.#loading;
  }

  /** Forgets places in memory; call before others have their turn, as memory may be used for something else then. */
  endTurn(): void {
    this.#runEnd = 0;
    this.#runStart = 0;
    this.#delivery?.forget();
    this.#reader?.forget();
  }

  /** Sets `delivery` to the next message without taking it. */
  next(): NextState {
    if (this.#loading) return 'loading';
    if (this.#deliveredBefore < 0) this.#deliveredBefore = this.acks.deliveredMark;
    this.#dropGone();
    const returned = this.#returned.first();
    if (returned !== undefined) {
      this.delivery.redelivered = true;
      return this.#locate(returned);
    }
    const limit = this.log.deletesOnAck ? this.log.visibleEnd : this.log.durableEnd;
    const offset = this.acks.nextOpen(Math.max(this.#cursor, this.log.startOffset));
    this.#cursor = offset;
    if (offset >= limit) return 'wait';
    this.delivery.redelivered = offset < this.#deliveredBefore;
    return this.#locate(offset);
  }

  /** The message in `delivery` is out now. */
  take(): void {
    const { offset } = this.delivery;
    if (this.#returned.first() === offset) this.#returned.pop();
    else this.#cursor = offset + 1;
    this.inFlightCount++;
  }

  /** A message that was out comes back, to its place in the order. */
  giveBack(offset: number): void {
    this.inFlightCount--;
    this.#returned.push(offset);
    this.#owner.onReturned();
  }

  /** All ready messages as ranges of offsets, [from, to) pairwise, for a purge; they count as out until they are settled. */
  takeAllReady(): number[] {
    this.#dropGone();
    const ranges: number[] = [];
    for (const offset of [...this.#returned.values()].sort((left, right) => left - right))
      ranges.push(offset, offset + 1);
    this.#returned.clear();
    let from = this.acks.nextOpen(Math.max(this.#cursor, this.log.startOffset));
    while (from < this.log.endOffset) {
      const to = Math.min(this.acks.nextSettled(from), this.log.endOffset);
      ranges.push(from, to);
      from = this.acks.nextOpen(to);
    }
    this.#cursor = this.log.endOffset;
    for (let i = 0; i < ranges.length; i += 2) this.inFlightCount += ranges[i + 1]! - ranges[i]!;
    return ranges;
  }

  /** Nobody consumes: memory for reading ahead is given back. */
  idle(): void {
    if (this.#loading) return;
    this.#reader?.release();
    this.#opened = undefined;
  }

  /** What came back and is below the log's start by now does not go out again. */
  #dropGone(): void {
    while ((this.#returned.first() ?? Number.POSITIVE_INFINITY) < this.log.startOffset) this.#returned.pop();
  }

  #locate(offset: number): NextState {
    if (offset >= this.#runStart && offset < this.#runEnd) return this.#setFromRun(offset);
    const opened = this.#opened;
    if (opened !== undefined && offset >= opened.baseOffset && offset < opened.endOffset) {
      return this.#setFromBatch(opened, offset);
    }
    const entry = this.log.findEntry(offset);
    if (entry < 0) return 'wait';
    // A hole, as compaction leaves: go on with what comes next.
    const found = Math.max(offset, this.log.entryFirstOffset(entry));
    const reader = this.#readerOfLog;
    if (!reader.locate(entry, found)) {
      this.#load(reader.fill());
      return 'loading';
    }
    const { chunk, at, isBatch } = reader;
    if (isBatch) return this.#openBatch(chunk.buffer, at, found);
    this.#runStart = runFirstOffset(chunk.buffer, at);
    this.#runEnd = this.#runStart + runCount(chunk.buffer, at);
    return this.#setFromRun(found);
  }

  #setFromRun(offset: number): NextState {
    const { chunk, at: run } = this.#readerOfLog;
    const { buffer } = chunk;
    const block = run - runDistance(runIndex(buffer, run));
    const message = runFirstMessage(buffer, run) + offset - this.#runStart;
    const delivery = this.delivery;
    delivery.offset = offset;
    delivery.form = blockForm(buffer, block);
    delivery.record = undefined;
    delivery.buffer = buffer;
    delivery.chunk = chunk;
    delivery.start = messageStart(buffer, block, message);
    delivery.end = messageEnd(buffer, block, message);
    delivery.timestampMs = messageTimestamp(buffer, block, message);
    return 'ready';
  }

  #setFromBatch(opened: OpenedBatch, offset: number): NextState {
    const record = opened.records[offset - opened.baseOffset];
    if (record === undefined) return this.#passUnreadable(opened);
    const delivery = this.delivery;
    delivery.offset = offset;
    delivery.form = batchRecordForm;
    delivery.record = record;
    delivery.timestampMs = record.timestampMs;
    return 'ready';
  }

  /** Bytes that no producer should have sent: they stay in the log for whoever can read them, and the cursor goes on. */
  #passUnreadable(opened: OpenedBatch): NextState {
    while (this.#returned.first() !== undefined && this.#returned.first()! < opened.endOffset) this.#returned.pop();
    this.#cursor = Math.max(this.#cursor, opened.endOffset);
    this.#owner.onUnreadable(this, opened.baseOffset, opened.endOffset);
    return this.next();
  }

  #openBatch(buffer: Buffer, at: number, offset: number): NextState {
    this.#runEnd = 0;
    this.#runStart = 0;
    const codec = batchCodec(buffer, at);
    const baseOffset = batchBaseOffset(buffer, at);
    const count = batchLastOffsetDelta(buffer, at) + 1;
    // The records outlive this turn, the arena's memory may not.
    const header = Buffer.from(buffer.subarray(at, at + batchHeaderBytes));
    const payload = Buffer.from(batchPayload(buffer, at));
    if (codec === 0 && payload.length <= inlineBatchBytes) {
      this.#opened = openBatch(header, baseOffset, count, payload);
      return this.#setFromBatch(this.#opened, offset);
    }
    this.#load(
      decompress(codec, payload, limits.batchDecompressedBytesMax).then(
        (data) => {
          this.#opened = openBatch(header, baseOffset, count, data);
        },
        () => {
          this.#opened = unreadableBatch(baseOffset, count);
        },
      ),
    );
    return 'loading';
  }

  #load(work: Promise<void>): void {
    this.#loading = true;
    work.then(
      () => this.retry(),
      (error: Error) => this.#failed(error),
    );
  }

  /** What was being read is asked for again. */
  retry(): void {
    this.#loading = false;
    this.#owner.onLoaded();
  }

  /** What cannot be read is the matter of those who want it, whatever the reason: only writes that fail end the shard. */
  #failed(error: Error): void {
    const { message } = error;
    const told = error instanceof BrokerError ? error : new BrokerError('corrupt', message, { cause: error });
    this.#loading = told.kind === 'storage-failed';
    this.#owner.onReadFailed(this, told);
  }
}
