/**
 * Reads a log's entries: from the arena if they are still there, else through one read-ahead chunk that it keeps.
 *
 * Reading is a loop of a synchronous attempt and, when that misses, an asynchronous fill: tail readers never wait and
 * never allocate, and the caller decides what to do meanwhile.
 */
import type { Position } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import type { Chunk } from '../shard/shard-log.ts';
import { batchBaseOffset, batchBytes, batchHeaderBytes, batchLastOffsetDelta } from './batch-header.ts';
import { blockBytes, runBytes, runDistance, runIndex } from './block.ts';
import type { Log } from './log.ts';
import type { ReadAhead } from './read-ahead.ts';

export class LogReader {
  readonly log: Log;
  readonly #readAhead: ReadAhead | undefined;
  /** Pinned. */
  #cold: Chunk | undefined;
  /** Where the last piece that was read in lies. */
  #lastStart = 0;
  #lastBytes = 0;
  #missPosition = 0;
  #missBytes = 0;

  // The place of the last successful locate().
  chunk!: Chunk;
  /** Start of the run, or of the batch that was asked for. */
  at = 0;
  isBatch = false;
  /** End of the block, or of the last batch of the entry, which has several in a segment. */
  entryEnd = 0;

  /** @param readAhead for a reader that lives long: release() it when nobody reads */
  constructor(log: Log, readAhead?: ReadAhead) {
    this.log = log;
    this.#readAhead = readAhead;
  }

  /**
   * Finds the entry of that index in memory and sets the place; of several batches that of the one which holds `offset`.
   * False: not in memory, call fill() and try again (the index may have changed by then).
   */
  locate(entryIndex: number, offset: number): boolean {
    const log = this.log;
    const position = log.entryPosition(entryIndex);
    this.isBatch = log.entryIsBatch(entryIndex);
    const chunk = this.#chunkWith(position, this.isBatch ? batchHeaderBytes : runBytes);
    if (chunk === undefined) return false;
    const at = position - chunk.basePosition;
    if (this.isBatch) return this.#locateBatch(chunk, at, offset, log.entryEndOffset(entryIndex));
    const distance = runDistance(runIndex(chunk.buffer, at));
    const block = at - distance;
    // With the run, so that what is filled in for the header still serves the run.
    if (!this.#covers(chunk, position - distance, distance + runBytes)) return false;
    const end = block + blockBytes(chunk.buffer, block);
    if (!this.#covers(chunk, position - distance, end - block)) return false;
    this.#set(chunk, at, end);
    return true;
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
    const aheadBytes = this.#readAhead?.nextBytes(this.#lastBytes, this.#isSequential());
    const position = this.#missPosition as Position;
    const chunk = await this.log.store.shard.log.load(position, this.#missBytes, aheadBytes);
    this.#hold(chunk);
    this.#lastStart = chunk.basePosition;
    this.#lastBytes = chunk.buffer.length;
  }

  /** Begins to bring the entry of that index into memory, if it is not there: whoever reads on finds it then. */
  prefetch(entryIndex: number): void {
    const { log } = this;
    const { readAhead, shard } = log.store;
    const lengthBytes = log.entryIsBatch(entryIndex) ? batchHeaderBytes : runBytes;
    if (this.#chunkWith(log.entryPosition(entryIndex), lengthBytes) !== undefined || !readAhead.beginPrefetch()) return;
    shard.log
      .load(log.entryPosition(entryIndex), lengthBytes)
      // Who reads there later is told the error.
      .then(
        (chunk) => chunk.unpin(),
        () => {},
      )
      .finally(() => readAhead.endPrefetch());
  }

  /** Bytes of memory of what fill() has read. */
  get filledBytes(): number {
    return this.#cold?.buffer.length ?? 0;
  }

  /** Lets go of the read-ahead. */
  release(): void {
    this.#hold(undefined);
  }

  #hold(chunk: Chunk | undefined): void {
    this.#readAhead?.changed((chunk?.buffer.length ?? 0) - (this.#cold?.buffer.length ?? 0));
    this.#cold?.unpin();
    this.#cold = chunk;
  }

  /** What was missed lies close behind what was read last. */
  #isSequential(): boolean {
    const distance = this.#missPosition - this.#lastStart;
    return this.#lastBytes > 0 && distance >= 0 && distance < this.#lastBytes + limits.readAheadBytes;
  }

  #chunkWith(position: Position, lengthBytes: number): Chunk | undefined {
    const cold = this.#cold;
    if (cold !== undefined && holds(cold, position, lengthBytes)) return cold;
    const chunk = this.log.store.shard.log.chunkAt(position, lengthBytes);
    if (chunk === undefined) {
      this.#missPosition = position;
      this.#missBytes = lengthBytes;
    } else if (cold !== undefined) {
      this.release();
    }
    return chunk;
  }

  #covers(chunk: Chunk, position: number, lengthBytes: number): boolean {
    if (holds(chunk, position, lengthBytes)) return true;
    this.#missPosition = position;
    this.#missBytes = lengthBytes;
    return false;
  }
}

const holds = (chunk: Chunk, position: number, lengthBytes: number): boolean =>
  position >= chunk.basePosition && position + lengthBytes <= chunk.basePosition + chunk.buffer.length;
