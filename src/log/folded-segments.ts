/**
 * What of a shard's log has moved into segments: which segments belong to the state, and the position below which nothing of the
 * log itself is wanted any more. Changed by the record of a fold, whose payload is
 *
 *   f64 position where the fold ends, u32 count of segments, u32 zero, f64 id of each
 */
import type { Position } from '../core/ids.ts';
import type { AdoptedSegment, ShardLog } from '../shard/shard-log.ts';
import type { Log } from './log.ts';
import { firstRowOf, rowBytes, rowLogId } from './segment-index.ts';

/** Where the last fold ended, the highest id of a segment ever, and those in use in the order in which they were folded. */
export type SegmentsSnapshot = readonly [foldEnd: number, lastId: number, ids: readonly number[]];

export const foldRecordBytes = (segmentCount: number): number => 16 + 8 * segmentCount;

export const writeFoldRecord = (buffer: Buffer, start: number, foldEnd: Position, ids: readonly number[]): void => {
  buffer.writeDoubleLE(foldEnd, start);
  buffer.writeUInt32LE(ids.length, start + 8);
  buffer.writeUInt32LE(0, start + 12);
  for (const [i, id] of ids.entries()) buffer.writeDoubleLE(id, start + 16 + 8 * i);
};

export const foldEnd = (buffer: Buffer, start: number): Position => buffer.readDoubleLE(start) as Position;

export const foldSegmentIds = (buffer: Buffer, start: number): number[] =>
  Array.from({ length: buffer.readUInt32LE(start + 8) }, (_, i) => buffer.readDoubleLE(start + 16 + 8 * i));

export class FoldedSegments {
  readonly #shardLog: ShardLog;
  /** Where the last fold ended: entries of the log itself lie at or above it. */
  foldEnd = 0 as Position;
  #lastId = 0;
  /** Segments of the checkpoint, for logs that the catalog has not told of yet. Empty once recovery is over. */
  #restored: AdoptedSegment[] = [];

  constructor(shardLog: ShardLog) {
    this.#shardLog = shardLog;
  }

  snapshot(): SegmentsSnapshot {
    return [this.foldEnd, this.#lastId, this.#shardLog.liveSegments];
  }

  restore([foldEnd, lastId, ids]: SegmentsSnapshot): void {
    this.foldEnd = foldEnd as Position;
    this.#shardLog.skipSegmentIds(lastId);
    this.#lastId = lastId;
    this.#restored = ids.map((id) => this.#shardLog.adoptSegment(id));
  }

  /** Gives the log its entries in the segments of the checkpoint. What is settled must be known by now. */
  restoreLog(log: Log): void {
    for (const segment of this.#restored) {
      const from = firstRowOf(segment.index, log.id);
      const to = firstRowOf(segment.index, log.id + 1);
      if (to > from) log.applyFold(0 as Position, segment, from, to, true);
    }
  }

  endRecovery(): void {
    this.#restored = [];
  }

  /** @param isReplay messages that the protocol called transient are dropped */
  apply(buffer: Buffer, start: number, logs: ReadonlyMap<number, Log>, isReplay: boolean): void {
    this.foldEnd = foldEnd(buffer, start);
    for (const id of foldSegmentIds(buffer, start)) {
      const segment = this.#shardLog.adoptSegment(id);
      this.#lastId = Math.max(this.#lastId, id);
      this.#moveEntries(segment, logs, isReplay);
    }
  }

  #moveEntries(segment: AdoptedSegment, logs: ReadonlyMap<number, Log>, isReplay: boolean): void {
    const rows = segment.index.length / rowBytes;
    let to = 0;
    for (let from = 0; from < rows; from = to) {
      const id = rowLogId(segment.index, from);
      to = from + 1;
      while (to < rows && rowLogId(segment.index, to) === id) to++;
      logs.get(id)?.applyFold(this.foldEnd, segment, from, to, isReplay);
    }
  }
}
