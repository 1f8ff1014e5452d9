/**
 * Where the messages of all logs of a shard lie in its log and in segments, for a checkpoint at close. A piece is a sequence of
 *
 *   u32 log id, u32 count of entries, and of each entry, counted from the one before it: difference of first offsets, messages times
 *   sixteen plus a kind, difference of positions, difference of timestamps, bytes; if it is a page, its rows
 *
 * (src/shard/piece.ts says how numbers are written). Positions are those of runs, batches and pages, as in the index.
 */
import { PieceReader, PieceWriter, pieceBytes } from '../shard/piece.ts';
import type { Places } from '../shard/shard.ts';
import { isSegmentPosition } from '../shard/shard-log.ts';
import type { Slice } from '../shard/sweep.ts';
import { firstTransientLogId, type Log } from './log.ts';
import { LogEntry } from './log-index.ts';
import type { LogStore } from './log-store.ts';

/** Bits of the kind. timeBit: the timestamp is told as it is, since its difference would be rounded. */
const batchBit = 1;
const transientBit = 2;
const timeBit = 4;
const pageBit = 8;
const kinds = 16;

/** Index entries that are told between two looks at the size of the piece. */
const entriesPerPart = 256;

export class LogPlaces implements Places {
  readonly #store: LogStore;
  readonly #piece = new PieceWriter();
  #before = 0;
  #logs: Iterator<Log> | undefined;
  /** The log being told, and the offset from which on it is not told yet. */
  #log: Log | undefined;
  #nextOffset = 0;

  constructor(store: LogStore) {
    this.#store = store;
  }

  begin(before: number): void {
    this.#before = before;
    this.#logs = this.#store.logs[Symbol.iterator]();
    this.#log = undefined;
  }

  nextPiece(slice: Slice): Buffer | undefined {
    while (this.#logs !== undefined && this.#piece.sizeBytes < pieceBytes && slice.entitiesLeft > 0) {
      slice.entitiesLeft--;
      if (this.#log === undefined) this.#nextLog();
      else this.#tell(this.#log);
    }
    return this.#logs === undefined && this.#piece.sizeBytes === 0 ? undefined : this.#piece.take();
  }

  end(): void {
    this.#logs = undefined;
    this.#log = undefined;
    this.#piece.clear();
  }

  restorePiece(piece: Buffer): void {
    const reader = new PieceReader(piece, 0);
    const entry = new LogEntry();
    while (!reader.isAtEnd) {
      const log = this.#store.log(reader.u32());
      entry.firstOffset = 0;
      entry.timestampMs = 0;
      let position = 0;
      for (let i = reader.u32(); i > 0; i--) {
        entry.firstOffset += reader.difference();
        const countAndKind = reader.count();
        entry.count = Math.floor(countAndKind / kinds);
        entry.isTransient = (countAndKind & transientBit) !== 0;
        entry.isBatch = (countAndKind & batchBit) !== 0;
        position += reader.difference();
        entry.position = position as LogEntry['position'];
        entry.timestampMs = reader.difference() + ((countAndKind & timeBit) !== 0 ? 0 : entry.timestampMs);
        entry.sizeBytes = reader.count();
        entry.pageRows = (countAndKind & pageBit) !== 0 ? reader.count() : 0;
        if (log !== undefined) this.#store.restoreEntry(log, entry);
      }
    }
  }

  #nextLog(): void {
    const { done, value: log } = this.#logs!.next();
    if (done === true) {
      this.#logs = undefined;
    } else if (log.id < firstTransientLogId) {
      this.#log = log;
      this.#nextOffset = log.startOffset;
    }
  }

  /** The next entries of the log. Others may have changed it since the last ones. */
  #tell(log: Log): void {
    const out = this.#piece;
    out.u32(log.id);
    const countAt = out.sizeBytes;
    out.u32(0);
    let count = 0;
    let last = new LogEntry();
    const start = log.findEntry(this.#nextOffset);
    const end = start < 0 ? 0 : Math.min(log.entryCount, start + entriesPerPart);
    for (let index = start; index < end; index++) {
      const entry = log.entry(index);
      if (entry.liveCount === 0 || (entry.position >= this.#before && !isSegmentPosition(entry.position))) continue;
      this.#tellEntry(entry, last);
      last = entry;
      count++;
    }
    out.setU32(countAt, count);
    if (end === 0 || end === log.entryCount) this.#log = undefined;
    else this.#nextOffset = log.entryEndOffset(end - 1);
  }

  #tellEntry(entry: LogEntry, last: LogEntry): void {
    const out = this.#piece;
    const timeDifference = entry.timestampMs - last.timestampMs;
    const isExact = last.timestampMs + timeDifference === entry.timestampMs;
    const kind =
      (entry.isBatch ? batchBit : 0) +
      (entry.isTransient ? transientBit : 0) +
      (isExact ? 0 : timeBit) +
      (entry.pageRows > 0 ? pageBit : 0);
    out.difference(entry.firstOffset - last.firstOffset);
    out.count(entry.count * kinds + kind);
    out.difference(entry.position - last.position);
    out.difference(isExact ? timeDifference : entry.timestampMs);
    out.count(entry.sizeBytes);
    if (entry.pageRows > 0) out.count(entry.pageRows);
  }
}
