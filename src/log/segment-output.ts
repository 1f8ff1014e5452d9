/**
 * Encodes what goes into one segment, log by log in order of offset: messages gathered into timed blocks, batches as they are,
 * and a row of the index for each run and for neighbouring batches. Collects bytes in memory until flush() is awaited.
 */
import { limits } from '../core/limits.ts';
import type { SegmentWriter } from '../shard/shard-log.ts';
import { batchBaseOffset, batchBytes, batchLastOffsetDelta, batchMaxTimestamp } from './batch-header.ts';
import {
  blockForm,
  blockHeaderBytes,
  blockTimed,
  messageEnd,
  messageStart,
  messageTimestamp,
  runBytes,
  runTransient,
} from './block.ts';
import { pagedIndex, rowBatch, rowTransient, SegmentIndexBuilder } from './segment-index.ts';

const blockMessagesMax = 4096;
const timeDeltaMax = 0xffff_ffff;
const bufferBytes = 1024 * 1024;

/** Messages of one run, and where they come from. */
export interface MessageRun {
  readonly logId: number;
  readonly epoch: number;
  readonly isTransient: boolean;
  /** Holds the block that they are in, and must not change before the next flush(). */
  readonly buffer: Buffer;
  readonly block: number;
  readonly firstMessage: number;
  readonly count: number;
  readonly firstOffset: number;
}

export class SegmentOutput {
  readonly #writer: SegmentWriter;
  readonly #rows = new SegmentIndexBuilder();
  /** A block is closed at this payload, unless one message alone is larger. */
  readonly #blockBytesMax: number;
  /** Neighbouring batches share a row up to this size, and while its messages can be counted. */
  readonly #batchRowBytesMax: number;
  #buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #filledBytes = 0;
  /** Of messages and batches. */
  #wantedBytes = 0;

  // The open block: what its messages share, and for each its end in the payload and its time after the first.
  #logId = 0;
  #form = 0;
  #baseTimeMs = 0;
  #messageCount = 0;
  #payloadBytes = 0;
  readonly #ends = new Uint32Array(blockMessagesMax);
  readonly #times = new Uint32Array(blockMessagesMax);
  #isTimed = false;
  /** Bytes to be copied: where from, start and end. */
  readonly #sources: Buffer[] = [];
  readonly #sourceRanges: number[] = [];
  /** Runs: first offset, first message, transient, epoch. */
  readonly #runOffsets: number[] = [];
  readonly #runFirsts: number[] = [];
  readonly #runTransient: boolean[] = [];
  readonly #runEpochs: number[] = [];
  #nextOffset = 0;

  /** Of the last row, if it is of batches: log, its offsets and where it began. */
  #batchLogId = -1;
  #batchFirstOffset = 0;
  #batchEndOffset = 0;
  #batchPlace = 0;

  constructor(writer: SegmentWriter) {
    this.#writer = writer;
    this.#blockBytesMax = writer.entryBytes;
    this.#batchRowBytesMax = writer.entryBytes / 2;
  }

  /** Bytes that wait for flush(). */
  get pendingBytes(): number {
    return this.#filledBytes + this.#payloadBytes;
  }

  /** Nothing was put into it. */
  get isEmpty(): boolean {
    return this.#place === 0 && this.#messageCount === 0;
  }

  get #place(): number {
    return this.#writer.sizeBytes + this.#filledBytes;
  }

  messages(run: MessageRun): void {
    const { buffer, block, firstMessage, count } = run;
    const form = blockForm(buffer, block);
    let start = messageStart(buffer, block, firstMessage);
    let isContinued = false;
    for (let i = 0; i < count; i++) {
      const end = messageEnd(buffer, block, firstMessage + i);
      const timestampMs = messageTimestamp(buffer, block, firstMessage + i);
      if (this.#mustClose(run.logId, form, timestampMs, end - start)) {
        this.#closeBlock();
        isContinued = false;
      }
      if (this.#messageCount === 0) {
        this.#logId = run.logId;
        this.#form = form;
        this.#baseTimeMs = timestampMs;
      }
      if (!isContinued) this.#beginRange(run, run.firstOffset + i, start);
      isContinued = true;
      const at = this.#messageCount++;
      this.#payloadBytes += end - start;
      this.#ends[at] = this.#payloadBytes;
      this.#times[at] = timestampMs - this.#baseTimeMs;
      if (timestampMs !== this.#baseTimeMs) this.#isTimed = true;
      this.#sourceRanges[this.#sourceRanges.length - 1] = end;
      start = end;
    }
    this.#nextOffset = run.firstOffset + count;
  }

  /** What follows comes from source.buffer[start…] and begins at `offset`. */
  #beginRange(source: MessageRun, offset: number, start: number): void {
    const last = this.#sources.length - 1;
    if (last < 0 || this.#sources[last] !== source.buffer || this.#sourceRanges[last * 2 + 1] !== start) {
      this.#sources.push(source.buffer);
      this.#sourceRanges.push(start, start);
    }
    const run = this.#runOffsets.length - 1;
    const continues =
      run >= 0 &&
      offset === this.#nextOffset &&
      this.#runTransient[run] === source.isTransient &&
      this.#runEpochs[run] === source.epoch;
    if (continues) return;
    this.#runOffsets.push(offset);
    this.#runFirsts.push(this.#messageCount);
    this.#runTransient.push(source.isTransient);
    this.#runEpochs.push(source.epoch);
  }

  /** The batch at buffer[start…], of which so many bytes are wanted for certain. */
  batch(logId: number, buffer: Buffer, start: number, wantedBytes: number): void {
    this.#closeBlock();
    this.#wantedBytes += wantedBytes;
    const sizeBytes = batchBytes(buffer, start);
    const firstOffset = batchBaseOffset(buffer, start);
    const count = batchLastOffsetDelta(buffer, start) + 1;
    const timestampMs = batchMaxTimestamp(buffer, start);
    const place = this.#place;
    const continues =
      this.#batchLogId === logId &&
      this.#batchEndOffset === firstOffset &&
      firstOffset + count - this.#batchFirstOffset <= limits.entryMessagesMax &&
      place + sizeBytes - this.#batchPlace <= this.#batchRowBytesMax;
    if (continues) {
      this.#rows.extend(count, timestampMs, sizeBytes);
    } else {
      this.#rows.add({ logId, flags: rowBatch, firstOffset, count, place, timestampMs, sizeBytes });
      this.#batchLogId = logId;
      this.#batchFirstOffset = firstOffset;
      this.#batchPlace = place;
    }
    this.#batchEndOffset = firstOffset + count;
    const at = this.#take(sizeBytes);
    buffer.copy(this.#buffer, at, start, start + sizeBytes);
  }

  /** Writes what was collected. */
  async flush(): Promise<void> {
    this.#closeBlock();
    if (this.#filledBytes === 0) return;
    await this.#writer.append(this.#buffer, 0, this.#filledBytes);
    this.#filledBytes = 0;
    if (this.#buffer.length > 2 * bufferBytes) this.#buffer = Buffer.allocUnsafeSlow(bufferBytes);
  }

  /** Makes the segment durable; resolves with its id. */
  async finish(): Promise<number> {
    await this.flush();
    this.#buffer = Buffer.alloc(0);
    const { index, pages } = await pagedIndex(this.#rows.bytes(), this.#writer.sizeBytes);
    if (pages.length > 0) await this.#writer.append(pages, 0, pages.length);
    return await this.#writer.finish(index, this.#wantedBytes);
  }

  abandon(): Promise<void> {
    return this.#writer.abandon();
  }

  #mustClose(logId: number, form: number, timestampMs: number, sizeBytes: number): boolean {
    const delta = timestampMs - this.#baseTimeMs;
    return (
      this.#messageCount > 0 &&
      (logId !== this.#logId ||
        form !== this.#form ||
        delta < 0 ||
        delta > timeDeltaMax ||
        this.#payloadBytes + sizeBytes > this.#blockBytesMax ||
        this.#messageCount === blockMessagesMax)
    );
  }

  #closeBlock(): void {
    const messageCount = this.#messageCount;
    if (messageCount === 0) return;
    const runCount = this.#runOffsets.length;
    const place = this.#place;
    const tableBytes = messageCount * (this.#isTimed ? 8 : 4);
    const block = this.#take(blockHeaderBytes + runCount * runBytes + tableBytes + this.#payloadBytes);
    const buffer = this.#buffer;
    buffer.writeDoubleLE(this.#baseTimeMs, block);
    buffer.writeUInt32LE(this.#form | ((this.#isTimed ? blockTimed : 0) << 8), block + 8);
    buffer.writeUInt32LE(messageCount, block + 12);
    buffer.writeUInt32LE(runCount, block + 16);
    buffer.writeUInt32LE(this.#payloadBytes, block + 20);
    for (let run = 0; run < runCount; run++) this.#writeRun(block, run, place);
    this.#writeMessages(block + blockHeaderBytes + runCount * runBytes);
    this.#batchLogId = -1;
    this.#wantedBytes += this.#payloadBytes;
    this.#messageCount = this.#payloadBytes = 0;
    this.#isTimed = false;
    this.#sources.length = this.#sourceRanges.length = 0;
    this.#runOffsets.length = this.#runFirsts.length = this.#runTransient.length = this.#runEpochs.length = 0;
  }

  #writeRun(block: number, run: number, place: number): void {
    const buffer = this.#buffer;
    const first = this.#runFirsts[run]!;
    const end = run + 1 < this.#runFirsts.length ? this.#runFirsts[run + 1]! : this.#messageCount;
    const isTransient = this.#runTransient[run]!;
    const distance = blockHeaderBytes + run * runBytes;
    const at = block + distance;
    buffer.writeUInt32LE(this.#logId, at);
    buffer.writeUInt32LE(run, at + 4);
    buffer.writeDoubleLE(this.#runOffsets[run]!, at + 8);
    buffer.writeUInt32LE(first, at + 16);
    buffer.writeUInt32LE(end - first, at + 20);
    buffer.writeUInt32LE(isTransient ? runTransient : 0, at + 24);
    let newestMs = 0;
    for (let i = first; i < end; i++) newestMs = Math.max(newestMs, this.#times[i]!);
    this.#rows.add({
      logId: this.#logId,
      flags: isTransient ? rowTransient : 0,
      firstOffset: this.#runOffsets[run]!,
      count: end - first,
      place: place + distance,
      timestampMs: this.#baseTimeMs + newestMs,
      sizeBytes: this.#ends[end - 1]! - (first === 0 ? 0 : this.#ends[first - 1]!),
    });
  }

  /** The tables at buffer[table…], and the payload behind them. */
  #writeMessages(table: number): void {
    const buffer = this.#buffer;
    const count = this.#messageCount;
    let at = table;
    for (let i = 0; i < count; i++, at += 4) buffer.writeUInt32LE(this.#ends[i]!, at);
    if (this.#isTimed) for (let i = 0; i < count; i++, at += 4) buffer.writeUInt32LE(this.#times[i]!, at);
    for (let i = 0; i < this.#sources.length; i++) {
      at += this.#sources[i]!.copy(buffer, at, this.#sourceRanges[i * 2]!, this.#sourceRanges[i * 2 + 1]!);
    }
  }

  /** Room for so many bytes; returns where it starts in #buffer. */
  #take(sizeBytes: number): number {
    const at = this.#filledBytes;
    this.#filledBytes += sizeBytes;
    if (this.#filledBytes > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(this.#filledBytes + bufferBytes);
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    return at;
  }
}
