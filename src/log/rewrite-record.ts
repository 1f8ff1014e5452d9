/**
 * The record of a rewrite, whose payload is
 *
 *   u32 count of old segments, u32 count of new ones, f64 id of each of the old, f64 id of each of the new
 *
 * and the positions that it is about.
 */
import type { LogStretch } from '../shard/shard-log.ts';

export const rewriteRecordBytes = (oldIds: readonly number[], newIds: readonly number[]): number =>
  8 + 8 * (oldIds.length + newIds.length);

export const writeRewriteRecord = (
  buffer: Buffer,
  start: number,
  oldIds: readonly number[],
  newIds: readonly number[],
): void => {
  buffer.writeUInt32LE(oldIds.length, start);
  buffer.writeUInt32LE(newIds.length, start + 4);
  for (const [i, id] of [...oldIds, ...newIds].entries()) buffer.writeDoubleLE(id, start + 8 + 8 * i);
};

export const rewriteOldIds = (buffer: Buffer, start: number): number[] =>
  readIds(buffer, start + 8, buffer.readUInt32LE(start));

export const rewriteNewIds = (buffer: Buffer, start: number): number[] =>
  readIds(buffer, start + 8 + 8 * buffer.readUInt32LE(start), buffer.readUInt32LE(start + 4));

const readIds = (buffer: Buffer, at: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => buffer.readDoubleLE(at + 8 * i));

/** The positions of some segments. */
export class PositionRanges {
  /** By start; they are disjoint. */
  readonly #ranges: readonly LogStretch[];

  /** @param ranges undefined for a segment that is gone */
  constructor(ranges: readonly (LogStretch | undefined)[]) {
    const there = ranges.filter((range) => range !== undefined);
    this.#ranges = there.sort((left, right) => left.start - right.start);
  }

  has(position: number): boolean {
    const ranges = this.#ranges;
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ranges[middle]!.end <= position) low = middle + 1;
      else high = middle;
    }
    return low < ranges.length && position >= ranges[low]!.start;
  }
}
