/**
 * Reads a log's entries: from the arena if they are still there, else through one read-ahead chunk that it keeps.
 *
 * Reading is a loop of a synchronous attempt and, when that misses, an asynchronous fill: tail readers never wait and
 * never allocate, and the caller decides what to do meanwhile.
 */
import type { Position } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import { type Chunk, noChunk } from '../shard/shard-log.ts';
import { batchBaseOffset, batchBytes, batchHeaderBytes, batchLastOffsetDelta } from './batch-header.ts';
import { blockBytes, runBytes, runDistance, runIndex } from './block.ts';
import type { Log } from './log.ts';
import { nextReadBytes } from './read-ahead.ts';
import {
  pageRowAt,
  rowBytes,
  rowEndOffset,
  rowFirstOffset,
  rowPagePlace,
  rowPlace,
  rowTimestamp,
} from './segment-index.ts';

export class LogReader {
  readonly log: Log;
  readonly #livesLong: boolean;
  /** Pinned. */
  #cold: Chunk | undefined;
  /** Where the last piece that was read in lies. */
  #lastStart = 0;
  #lastBytes = 0;
  #missPosition = 0;
  #missBytes = 0;
  /** What was missed is a page of rows. */
  #missesPage = false;
  /** The page of rows that was used last. */
  #page: Buffer | undefined;
  #pagePosition = -1;

  // The place of the last successful locate().
  chunk: Chunk = noChunk;
  /** Start of the run, or of the batch that was asked for. */
  at = 0;
  isBatch = false;
  /** End of the block, or of the last batch of the entry, which has several in a segment. */
  entryEnd = 0;
  /** The offset behind the run, or behind the batches up to entryEnd. */
  endOffset = 0;

  /** @param livesLong it holds what it read: release() it when nobody reads */
  constructor(log: Log, livesLong = false) {
    this.log = log;
    this.#livesLong = livesLong;
  }

  /**
   * Finds the entry of that index in memory and sets the place; of several batches that of the one which holds `offset`, of a page
   * of rows that of the row. False: not in memory, call fill() and try again (the index may have changed by then).
   */
  locate(entryIndex: number, offset: number): boolean {
    const log = this.log;
    let position = log.entryPosition(entryIndex);
    this.isBatch = log.entryIsBatch(entryIndex);
    this.endOffset = log.entryEndOffset(entryIndex);
    if (log.entryPageRows(entryIndex) > 0) {
      const page = this.#pageOf(entryIndex);
      if (page === undefined) return false;
      const row = pageRowAt(page, offset);
      position = (position - rowPagePlace(page, row) + rowPlace(page, row)) as Position;
      this.endOffset = rowEndOffset(page, row);
    }
    const chunk = this.#chunkWith(position, this.isBatch ? batchHeaderBytes : runBytes);
    if (chunk === undefined) return false;
    const at = position - chunk.basePosition;
    if (this.isBatch) return this.#locateBatch(chunk, at, offset, this.endOffset);
    const distance = runDistance(runIndex(chunk.buffer, at));
    const block = at - distance;
    // With the run, so that what is filled in for the header still serves the run.
    if (!this.#covers(chunk, position - distance, distance + runBytes)) return false;
    const end = block + blockBytes(chunk.buffer, block);
    if (!this.#covers(chunk, position - distance, end - block)) return false;
    this.#set(chunk, at, end);
    return true;
  }

  /**
   * The first offset of the entry, from `offset` on, behind which there may be a message of this time or a later one: of a page of
   * rows the others are passed over. The entry's end if there is none; undefined: not in memory, call fill() and try again.
   */
  firstNotBefore(entryIndex: number, offset: number, timestampMs: number): number | undefined {
    const { log } = this;
    if (log.entryPageRows(entryIndex) === 0) return Math.max(offset, log.entryFirstOffset(entryIndex));
    const page = this.#pageOf(entryIndex);
    if (page === undefined) return undefined;
    for (let row = pageRowAt(page, offset); row < page.length / rowBytes; row++) {
      if (rowTimestamp(page, row) >= timestampMs) return Math.max(offset, rowFirstOffset(page, row));
    }
    return log.entryEndOffset(entryIndex);
  }

  /** The page of rows that the entry stands for, in memory of its own; undefined if it is to be read first. */
  #pageOf(entryIndex: number): Buffer | undefined {
    const position = this.log.entryPosition(entryIndex);
    if (position === this.#pagePosition) return this.#page;
    const lengthBytes = this.log.entryPageRows(entryIndex) * rowBytes;
    const chunk = this.log.store.shard.log.chunkAt(position, lengthBytes);
    if (chunk !== undefined) return this.#keepPage(chunk, position, lengthBytes);
    this.#misses(position, lengthBytes);
    this.#missesPage = true;
    return undefined;
  }

  #keepPage(chunk: Chunk, position: number, lengthBytes: number): Buffer {
    const start = position - chunk.basePosition;
    this.#page = Buffer.from(chunk.buffer.subarray(start, start + lengthBytes));
    this.#pagePosition = position;
    return this.#page;
  }

  #locateBatch(chunk: Chunk, entryStart: number, offset: number, endOffset: number): boolean {
    const { buffer, basePosition } = chunk;
    const covers = (end: number): boolean => this.#covers(chunk, basePosition + entryStart, end - entryStart);
    let at = entryStart;
    let next = entryStart;
    let nextOffset = offset;
    do {
      if (nextOffset <= offset) at = next;
      if (!covers(next + batchHeaderBytes)) return false;
      nextOffset = batchBaseOffset(buffer, next) + batchLastOffsetDelta(buffer, next) + 1;
      next += batchBytes(buffer, next);
      if (!covers(next)) return false;
    } while (nextOffset < endOffset);
    this.#set(chunk, at, next);
    return true;
  }

  #set(chunk: Chunk, at: number, entryEnd: number): void {
    this.chunk = chunk;
    this.at = at;
    this.entryEnd = entryEnd;
  }

  /** Reads what the last locate() missed. */
  async fill(): Promise<void> {
    if (this.#missesPage) return await this.#fillPage();
    const aheadBytes = this.#livesLong ? nextReadBytes(this.#lastBytes, this.#isSequential()) : undefined;
    const position = this.#missPosition as Position;
    const chunk = await this.log.store.shard.log.load(position, this.#missBytes, aheadBytes);
    this.#hold(chunk);
    this.#lastStart = chunk.basePosition;
    this.#lastBytes = chunk.buffer.length;
  }

  /** Pages of rows are no part of what is read ahead. */
  async #fillPage(): Promise<void> {
    const [position, lengthBytes] = [this.#missPosition as Position, this.#missBytes];
    const chunk = await this.log.store.shard.log.load(position, lengthBytes, limits.readAheadMinBytes);
    this.#keepPage(chunk, position, lengthBytes);
    chunk.unpin();
  }

  /** Bytes of memory of what fill() has read. */
  get filledBytes(): number {
    return this.#cold?.buffer.length ?? 0;
  }

  /** The place of the last locate() is not needed any more. */
  forget(): void {
    this.chunk = noChunk;
  }

  /** Lets go of the read-ahead. */
  release(): void {
    this.#hold(undefined);
    this.#page = undefined;
    this.#pagePosition = -1;
  }

  #hold(chunk: Chunk | undefined): void {
    this.#cold?.unpin();
    this.#cold = chunk;
  }

  /** What was missed lies close behind what was read last. */
  #isSequential(): boolean {
    const distance = this.#missPosition - this.#lastStart;
    return this.#lastBytes > 0 && distance >= 0 && distance < this.#lastBytes + limits.readAheadBytes;
  }

  #misses(position: number, lengthBytes: number): void {
    this.#missPosition = position;
    this.#missBytes = lengthBytes;
    this.#missesPage = false;
  }

  #chunkWith(position: Position, lengthBytes: number): Chunk | undefined {
    const cold = this.#cold;
    if (cold !== undefined && holds(cold, position, lengthBytes)) return cold;
    const chunk = this.log.store.shard.log.chunkAt(position, lengthBytes);
    if (chunk === undefined) {
      this.#misses(position, lengthBytes);
    } else if (cold !== undefined) {
      this.#hold(undefined);
    }
    return chunk;
  }

  #covers(chunk: Chunk, position: number, lengthBytes: number): boolean {
    if (holds(chunk, position, lengthBytes)) return true;
    this.#misses(position, lengthBytes);
    return false;
  }
}

const holds = (chunk: Chunk, position: number, lengthBytes: number): boolean =>
  position >= chunk.basePosition && position + lengthBytes <= chunk.basePosition + chunk.buffer.length;
