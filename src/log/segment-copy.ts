/**
 * Copies what is live of the logs' entries into one or several segments: a log with much gets one of its own, all others share one.
 * Folds and rewrites both write so, in slices, with other turns of the event loop between them.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Chunk } from '../shard/shard-log.ts';
import { batchBaseOffset, batchBytes, batchLastOffsetDelta } from './batch-header.ts';
import { runDistance, runFirstMessage, runFirstOffset, runFlags, runIndex, runTransient } from './block.ts';
import type { Log } from './log.ts';
import type { LogStore } from './log-store.ts';
import { SegmentOutput } from './segment-output.ts';

/** A log with more than this gets a segment of its own. */
const ownSegmentBytes = 4 * 1024 * 1024;
/** What one slice may copy; a message counts as some bytes more than it has. */
const sliceBytes = 128 * 1024;
/** What is collected for one write. */
const writeBytes = 512 * 1024;
const messageCostBytes = 50;
/** Memory of what was read that is held until it is written. */
const heldBytesMax = 8 * 1024 * 1024;

/** Messages [from, to) of an entry that is in memory. */
export interface CopySource {
  readonly log: Log;
  readonly buffer: Buffer;
  /** What the buffer belongs to, if its memory may be used again. */
  readonly chunk?: Chunk;
  /** Of the run, or of the first batch. */
  readonly at: number;
  /** Of batches: where the last one ends. */
  readonly end: number;
  readonly isBatch: boolean;
  readonly from: number;
  readonly to: number;
}

export class SegmentCopy {
  readonly #store: LogStore;
  #shared: SegmentOutput | undefined;
  /** Of the log that is being copied. */
  #output: SegmentOutput | undefined;
  readonly #outputs: SegmentOutput[] = [];
  /** Of these, those to which more may come. */
  readonly #unfinished = new Set<SegmentOutput>();
  readonly #finishedIds: number[] = [];
  #sliceBytesLeft = sliceBytes;
  #heldBytes = 0;
  /** What outputs have yet to copy from, pinned. */
  #chunks: Chunk[] = [];

  constructor(store: LogStore) {
    this.#store = store;
  }

  /** What is copied next is of this log and has about `liveBytes`. Logs come in order of their ids. */
  async begin(liveBytes: number): Promise<void> {
    if (this.#output !== undefined && this.#output !== this.#shared) await this.#finish(this.#output);
    if (liveBytes > ownSegmentBytes) this.#output = await this.#newOutput();
    else this.#output = this.#shared ??= await this.#newOutput();
  }

  async #newOutput(): Promise<SegmentOutput> {
    const output = new SegmentOutput(await this.#store.shard.log.createSegment());
    this.#outputs.push(output);
    this.#unfinished.add(output);
    return output;
  }

  /** Copies what is not gone. The buffer is held until it is written. */
  copy(source: CopySource): void {
    const { chunk } = source;
    if (chunk !== undefined && this.#chunks.at(-1) !== chunk) {
      chunk.pin();
      this.#chunks.push(chunk);
    }
    if (source.isBatch) this.#copyBatches(source);
    else this.#copyRun(source);
  }

  /** An entry was passed over, which counts as well. */
  skip(): void {
    this.#sliceBytesLeft -= messageCostBytes;
  }

  /** So many bytes were read into memory of their own, from which is copied next. */
  noteRead(bytes: number): void {
    this.#heldBytes += bytes;
  }

  get isSliceOver(): boolean {
    return this.#sliceBytesLeft <= 0 || this.#heldBytes >= heldBytesMax;
  }

  async endSlice(): Promise<void> {
    const output = this.#output;
    const mustFlush = this.#heldBytes >= heldBytesMax || (output !== undefined && output.pendingBytes >= writeBytes);
    this.#sliceBytesLeft = sliceBytes;
    if (mustFlush) await this.flush();
    else await nextTurn();
  }

  /** Writes what was copied: the memory that it was copied from may be used again. */
  async flush(): Promise<void> {
    for (const output of this.#unfinished) await output.flush();
    this.#letGo();
  }

  #letGo(): void {
    for (const chunk of this.#chunks) chunk.unpin();
    this.#chunks = [];
    this.#heldBytes = 0;
  }

  /** Makes the segments durable. Resolves with their ids; one with nothing in it is not kept. */
  async finish(): Promise<number[]> {
    for (const output of this.#unfinished) await this.#finish(output);
    this.#letGo();
    return this.#finishedIds;
  }

  async #finish(output: SegmentOutput): Promise<void> {
    this.#unfinished.delete(output);
    if (output.isEmpty) await output.abandon();
    else this.#finishedIds.push(await output.finish());
  }

  /** Gives up all that was written, also after an error and what is finished. */
  async abandon(): Promise<void> {
    for (const output of this.#outputs) await output.abandon();
    this.#letGo();
  }

  #copyBatches({ log, buffer, at, end, from, to }: CopySource): void {
    for (let batch = at; batch < end; batch += batchBytes(buffer, batch)) {
      const first = batchBaseOffset(buffer, batch);
      const last = first + batchLastOffsetDelta(buffer, batch);
      if (last < from || first >= to || log.nextKept(first) > last) continue;
      const sizeBytes = batchBytes(buffer, batch);
      // Of a queue's batch only a part may be wanted, which the index knows for several batches together.
      this.#output!.batch(log.id, buffer, batch, log.deletesOnAck ? 0 : sizeBytes);
      this.#sliceBytesLeft -= sizeBytes + messageCostBytes;
    }
  }

  #copyRun(source: CopySource): void {
    const { log } = source;
    let from = log.nextKept(source.from);
    while (from < source.to) {
      const to = Math.min(source.to, log.nextGone(from));
      this.#copyMessages(source, from, to);
      from = log.nextKept(to);
    }
  }

  /** Messages [from, to) of the run. */
  #copyMessages({ log, buffer, at: run }: CopySource, from: number, to: number): void {
    const output = this.#output!;
    const pendingBytes = output.pendingBytes;
    output.messages({
      logId: log.id,
      epoch: log.epochAt(from),
      isTransient: (runFlags(buffer, run) & runTransient) !== 0,
      buffer,
      block: run - runDistance(runIndex(buffer, run)),
      firstMessage: runFirstMessage(buffer, run) + from - runFirstOffset(buffer, run),
      count: to - from,
      firstOffset: from,
    });
    this.#sliceBytesLeft -= output.pendingBytes - pendingBytes + (to - from) * messageCostBytes;
  }
}
