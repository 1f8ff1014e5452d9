/**
 * What entries of several logs have in a stretch of the log, gathered in memory in one pass over the stretch. What follows one another in
 * a log lies anywhere there, between what others have, and in one block with it.
 *
 * Whole commits are read for that, and only those that hold something wanted. Memory holds no more than the entries, as each run is cut
 * out of its block.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Position } from '../core/ids.ts';
import type { ReusedMemory } from '../core/reused-memory.ts';
import type { LogStretch, StretchPiece } from '../shard/shard-log.ts';
import { batchBytes } from './batch-header.ts';
import { blockHeaderBytes, cutRun } from './block.ts';
import type { EntrySource } from './entry-source.ts';
import { entryGatherBytes, type FoldShare, gatherBytesMin } from './fold-shares.ts';
import { sortInTurns } from './sort-in-turns.ts';

export interface GatheredEntriesOptions {
  readonly stretch: LogStretch;
  /** As that of StretchReader. */
  readonly read: (position: Position) => Promise<StretchPiece>;
  /** Holds as much as is gathered at a time. */
  readonly memory: ReusedMemory;
  readonly bytesMax: number;
  readonly entriesPerTurn: number;
  readonly isCancelled: () => boolean;
}

/** More than entries that can be gathered at a time; as a factor it leaves room for all places of a stretch in an exact number. */
const entriesMax = 2 ** 21;

export class GatheredEntries implements EntrySource {
  readonly #options: GatheredEntriesOptions;
  buffer: Buffer = Buffer.alloc(0);
  /** See #collect(). */
  #wanted = new Float64Array(0);
  /** Where in the stretch the entries begin, in order of logs and offsets: that in which they are copied. */
  #offsets = new Uint32Array(0);
  /** Where their runs or batches lie in the buffer, in step. */
  #places = new Uint32Array(0);
  #count = 0;
  /** The entry that was asked for last: others are behind it. */
  #next = 0;

  constructor(options: GatheredEntriesOptions) {
    this.#options = options;
  }

  /**
   * Gathers, in place of what was gathered before, as much as there is room for: what the first of the shares has from `offset` on, and what
   * the others have, but for those that are too large. If it is cancelled meanwhile not everything is there.
   */
  async gather(shares: readonly FoldShare[], offset: number): Promise<void> {
    const { stretch, read, isCancelled } = this.#options;
    const wanted = await this.#collect(shares, offset);
    let filledBytes = 0;
    for (let next = 0; next < wanted.length && !isCancelled(); ) {
      const piece = await read((stretch.start + wantedOffset(wanted[next]!)) as Position);
      const end = firstFrom(wanted, piece.end - stretch.start);
      filledBytes = await this.#cut(piece, wanted.subarray(next, end), filledBytes);
      next = end;
    }
  }

  /** They are to be asked for in the order in which they are copied. */
  placeOf(position: Position): number {
    const offset = position - this.#options.stretch.start;
    // Those in between are not live any more.
    while (this.#next < this.#count && this.#offsets[this.#next] !== offset) this.#next++;
    return this.#next < this.#count ? this.#places[this.#next]! : -1;
  }

  /**
   * Takes note of the live entries of the shares that there is room for. Returns them in order of where they lie: that times two, plus
   * one for a batch, times `entriesMax`, plus their number in the other order.
   */
  async #collect(shares: readonly FoldShare[], offset: number): Promise<Float64Array> {
    const { stretch, bytesMax, entriesPerTurn } = this.#options;
    this.#begin(shares);
    const wanted = this.#wanted;
    let bytesLeft = bytesMax;
    let costLeft = entriesPerTurn;
    for (const share of shares) {
      const { log, gatherBytes } = share;
      if (gatherBytes > bytesMax) continue;
      for (let from = share === shares[0] ? offset : share.firstOffset; !log.deleted; ) {
        const entry = log.findEntry(from);
        if (entry < 0 || log.entryPosition(entry) >= stretch.end) break;
        if (log.entryIsLive(entry)) {
          bytesLeft -= entryGatherBytes(log, entry);
          if (bytesLeft < 0) return await this.#sorted();
          const number = this.#count++;
          const start = log.entryPosition(entry) - stretch.start;
          this.#offsets[number] = start;
          wanted[number] = (start * 2 + (log.entryIsBatch(entry) ? 1 : 0)) * entriesMax + number;
        }
        from = log.entryEndOffset(entry);
        if (--costLeft > 0) continue;
        await nextTurn();
        costLeft = entriesPerTurn;
      }
    }
    return await this.#sorted();
  }

  #sorted(): Promise<Float64Array> {
    const { start, end } = this.#options.stretch;
    return sortInTurns(this.#wanted.subarray(0, this.#count), (end - start) * 2 * entriesMax);
  }

  #begin(shares: readonly FoldShare[]): void {
    const { memory, bytesMax } = this.#options;
    this.#count = this.#next = 0;
    if (this.buffer.length > 0) return;
    this.buffer = memory.take(bytesMax);
    const entryCount = shares.reduce((count, share) => count + share.entryCount, 0);
    const most = Math.min(entryCount, Math.floor(bytesMax / gatherBytesMin));
    this.#wanted = new Float64Array(most);
    this.#offsets = new Uint32Array(most);
    this.#places = new Uint32Array(most);
  }

  /** Copies the entries, which all lie in the piece, and returns where the buffer is filled to. */
  async #cut(piece: StretchPiece, wanted: Float64Array, filledBytes: number): Promise<number> {
    const { stretch, entriesPerTurn } = this.#options;
    const pieceStart = piece.start - stretch.start;
    let at = filledBytes;
    for (let i = 0; i < wanted.length; i++) {
      const number = wanted[i]! % entriesMax;
      const source = wantedOffset(wanted[i]!) - pieceStart;
      if (wantedIsBatch(wanted[i]!)) {
        this.#places[number] = at;
        at += piece.buffer.copy(this.buffer, at, source, source + batchBytes(piece.buffer, source));
      } else {
        this.#places[number] = at + blockHeaderBytes;
        at = cutRun(piece.buffer, source, this.buffer, at);
      }
      if (i % entriesPerTurn === entriesPerTurn - 1) await nextTurn();
    }
    return at;
  }
}

const wantedOffset = (wanted: number): number => Math.floor(wanted / (2 * entriesMax));

const wantedIsBatch = (wanted: number): boolean => Math.floor(wanted / entriesMax) % 2 === 1;

/** Index of the first that lies at or behind this offset in the stretch. */
const firstFrom = (wanted: Float64Array, offset: number): number => {
  let low = 0;
  let high = wanted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (wantedOffset(wanted[middle]!) < offset) low = middle + 1;
    else high = middle;
  }
  return low;
};
