/**
 * One partition of a Fetch: reads whole entries from an offset on, as long as they fit. Batches are passed on where they
 * lie; runs of message blocks are rendered as batches.
 */
import type { Topic } from '../../broker/topic.ts';
import { batchBytes } from '../../log/batch-header.ts';
import { runFirstOffset } from '../../log/block.ts';
import type { Log } from '../../log/log.ts';
import { LogReader } from '../../log/log-reader.ts';
import type { Chunk } from '../../shard/shard-log.ts';
import { ErrorCode } from './error-codes.ts';
import type { FetchPartition, PartitionDataInput } from './generated/fetch.ts';
import { type EpochEnd, epochEnd } from './leader-epochs.ts';
import { checkLeaderEpoch } from './partition-checks.ts';
import { renderRun } from './render-block.ts';
import type { KafkaServices } from './request-context.ts';

/** end: nothing more, or no more room. load: call reader.fill() and go on. */
export type FetchStep = 'end' | 'load';

/** How far the batches in buffer[start, end) fit into `bytesMax`; behind the first one at least. */
const wholeBatchesEnd = (buffer: Buffer, start: number, end: number, bytesMax: number): number => {
  let at = start + batchBytes(buffer, start);
  while (at < end && at + batchBytes(buffer, at) - start <= bytesMax) at += batchBytes(buffer, at);
  return at;
};

export class PartitionFetch {
  readonly log: Log | undefined;
  errorCode: number;
  sizeBytes = 0;
  divergingEpoch: EpochEnd | null = null;
  readonly reader: LogReader | undefined;
  readonly #request: FetchPartition;
  readonly #topicName: string;
  #pieces: Buffer[] = [];
  #nextOffset: number;
  /** Nothing more is read for this response. */
  #isOver = false;
  /** Bytes seen by measure(), up to #measuredTo. */
  #measuredBytes = 0;
  #measuredTo: number;

  constructor(topic: Topic | undefined, request: FetchPartition, byId: boolean) {
    this.#request = request;
    this.#topicName = topic?.name ?? '';
    this.#nextOffset = this.#measuredTo = request.fetchOffset;
    this.log = topic?.partitions[request.partition];
    this.reader = this.log === undefined ? undefined : new LogReader(this.log);
    this.errorCode = topic === undefined && byId ? ErrorCode.UNKNOWN_TOPIC_ID : this.#check();
  }

  /** Something is there, or there is an error to tell: do not wait. */
  get isUrgent(): boolean {
    return this.errorCode !== ErrorCode.NONE || this.divergingEpoch !== null;
  }

  /** The next entry cannot be read; what was read before it goes out without the error, which comes with the next Fetch. */
  fail(errorCode: number): void {
    if (this.sizeBytes === 0) this.errorCode = errorCode;
    else this.#isOver = true;
  }

  /** Forgets what was read; what can be said of the log is looked at anew. */
  restart(): void {
    this.#pieces = [];
    this.sizeBytes = 0;
    this.#nextOffset = this.#request.fetchOffset;
    if (this.errorCode === ErrorCode.NONE) this.errorCode = this.#check();
  }

  /**
   * Reads on. @param bytesLeft of the whole response
   * @param isFirst nothing was read for this response yet: the first entry is taken whatever its size
   * @param pins collects the memory that the pieces lie in, pinned
   */
  read(bytesLeft: number, isFirst: boolean, pins: Chunk[], { broker }: KafkaServices): FetchStep {
    const { log, reader } = this;
    if (log === undefined || reader === undefined || this.isUrgent || this.#isOver) return 'end';
    const bytesMax = Math.min(bytesLeft + this.sizeBytes, this.#request.partitionMaxBytes);
    for (let entry = log.findEntry(this.#nextOffset); entry >= 0 && entry < log.entryCount; ) {
      if (log.entryFirstOffset(entry) >= log.durableEnd) return 'end';
      if (!log.entryIsLive(entry)) {
        this.#nextOffset = log.entryEndOffset(entry++);
        continue;
      }
      const takesAny = isFirst && this.sizeBytes === 0;
      if (!takesAny && this.sizeBytes >= bytesMax) return 'end';
      if (!reader.locate(entry, this.#nextOffset)) return 'load';
      const { chunk, at, entryEnd, isBatch } = reader;
      const end = isBatch ? wholeBatchesEnd(chunk.buffer, at, entryEnd, bytesMax - this.sizeBytes) : entryEnd;
      const piece = isBatch
        ? chunk.buffer.subarray(at, end)
        : renderRun(chunk.buffer, at, {
            forms: broker.forms,
            topicName: this.#topicName,
            leaderEpoch: log.epochAt(runFirstOffset(chunk.buffer, at)),
          });
      if (!takesAny && this.sizeBytes + piece.length > bytesMax) return 'end';
      if (isBatch && pins[pins.length - 1] !== chunk) {
        chunk.pin();
        pins.push(chunk);
      }
      this.#pieces.push(piece);
      this.sizeBytes += piece.length;
      if (end < entryEnd) return 'end';
      this.#nextOffset = reader.endOffset;
      if (reader.endOffset >= log.entryEndOffset(entry)) entry++;
    }
    return 'end';
  }

  /**
   * How many bytes wait, roughly: what is not in memory counts as enough. Looks only at what came since the last call.
   */
  measure(enoughBytes: number): number {
    const { log, reader } = this;
    if (log === undefined || reader === undefined) return 0;
    if (log.deleted) return enoughBytes;
    for (let entry = log.findEntry(this.#measuredTo); entry >= 0 && entry < log.entryCount; ) {
      if (log.entryFirstOffset(entry) >= log.durableEnd || this.#measuredBytes >= enoughBytes) break;
      const isLive = log.entryIsLive(entry);
      if (isLive && !reader.locate(entry, this.#measuredTo)) return enoughBytes;
      if (isLive) this.#measuredBytes += reader.entryEnd - reader.at;
      this.#measuredTo = isLive ? reader.endOffset : log.entryEndOffset(entry);
      if (this.#measuredTo >= log.entryEndOffset(entry)) entry++;
    }
    return this.#measuredBytes;
  }

  /** All is read. What the client will ask for next, about as much again, is brought into memory if it is not there. */
  close(): void {
    if (this.sizeBytes > 0) this.log!.store.prefetches.begin(this.log!, this.#nextOffset, this.sizeBytes);
    this.reader?.release();
  }

  respond(isolationLevel: number): PartitionDataInput {
    const { log } = this;
    const failed = log === undefined || this.errorCode !== ErrorCode.NONE;
    return {
      partitionIndex: this.#request.partition,
      errorCode: this.errorCode,
      highWatermark: failed ? -1 : log.durableEnd,
      lastStableOffset: failed ? -1 : log.durableEnd,
      logStartOffset: failed ? -1 : log.startOffset,
      divergingEpoch: this.divergingEpoch,
      abortedTransactions: isolationLevel === 0 || failed ? null : [],
      records: this.#pieces,
    };
  }

  #check(): number {
    const { log } = this;
    if (log === undefined || log.deleted) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
    const { currentLeaderEpoch, lastFetchedEpoch, fetchOffset } = this.#request;
    const epochError = checkLeaderEpoch(log, currentLeaderEpoch);
    if (epochError !== ErrorCode.NONE) return epochError;
    if (fetchOffset < log.startOffset) return ErrorCode.OFFSET_OUT_OF_RANGE;
    if (lastFetchedEpoch >= 0) {
      const end = epochEnd(log, lastFetchedEpoch);
      if (end.endOffset < 0) return ErrorCode.OFFSET_OUT_OF_RANGE;
      // Where the epoch ended says more to a client that read beyond the end than that it did.
      if (end.epoch < lastFetchedEpoch || end.endOffset < fetchOffset) {
        this.divergingEpoch = end;
        return ErrorCode.NONE;
      }
    }
    return fetchOffset > log.endOffset ? ErrorCode.OFFSET_OUT_OF_RANGE : ErrorCode.NONE;
  }
}
