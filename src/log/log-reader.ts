/**
 * Reads a log's entries: from the arena if they are still there, else through one read-ahead chunk that it keeps.
 *
 * Reading is a loop of a synchronous attempt and, when that misses, an asynchronous fill: tail readers never wait and
 * never allocate, and the caller decides what to do meanwhile.
 */
import type { Position } from '../core/ids.ts';
import type { Chunk } from '../shard/shard-log.ts';
import { batchBytes } from './batch-header.ts';
import { blockBytes, runBytes, runDistance, runIndex } from './block.ts';
import type { Log } from './log.ts';

export class LogReader {
  readonly log: Log;
  #cold: Chunk | undefined;
  #missPosition = 0;
  #missBytes = 0;

  // The place of the last successful locate().
  chunk!: Chunk;
  at = 0;
  end = 0;
  isBatch = false;

  constructor(log: Log) {
    this.log = log;
  }

  /**
   * Finds the entry of that index in memory and sets `chunk`, `at`, `end`, `isBatch`. False: not in memory, call fill()
   * and try again (the index may have changed by then).
   */
  locate(entryIndex: number): boolean {
    const log = this.log;
    const position = log.entryPosition(entryIndex);
    this.isBatch = log.entryIsBatch(entryIndex);
    const chunk = this.#chunkWith(position, this.isBatch ? 12 : runBytes);
    if (chunk === undefined) return false;
    const at = position - chunk.basePosition;
    let end: number;
    if (this.isBatch) {
      end = at + batchBytes(chunk.buffer, at);
      if (!this.#covers(chunk, position, end - at)) return false;
    } else {
      const distance = runDistance(runIndex(chunk.buffer, at));
      const block = at - distance;
      // With the run, so that what is filled in for the header still serves the run.
      if (!this.#covers(chunk, position - distance, distance + runBytes)) return false;
      end = block + blockBytes(chunk.buffer, block);
      if (!this.#covers(chunk, position - distance, end - block)) return false;
    }
    this.chunk = chunk;
    this.at = at;
    this.end = end;
    return true;
  }

  /** Reads what the last locate() missed. */
  async fill(): Promise<void> {
    this.#cold = await this.log.store.shard.log.load(this.#missPosition as Position, this.#missBytes);
  }

  /** Lets go of the read-ahead. */
  release(): void {
    this.#cold = undefined;
  }

  #chunkWith(position: Position, lengthBytes: number): Chunk | undefined {
    const cold = this.#cold;
    if (cold !== undefined && holds(cold, position, lengthBytes)) return cold;
    const chunk = this.log.store.shard.log.chunkAt(position, lengthBytes);
    if (chunk === undefined) {
      this.#missPosition = position;
      this.#missBytes = lengthBytes;
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
