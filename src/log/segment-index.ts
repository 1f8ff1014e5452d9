/**
 * The index of a segment: a row for each entry that the logs get for it, sorted by log and then by offset. Little endian:
 *
 *   row = u32 log id, u32 flags, f64 first offset, u32 count of offsets, u32 place in the segment, f64 latest timestamp (ms),
 *         u32 bytes of its messages or batches, u32 rows of the page
 *
 * The place of messages is that of their run, of batches that of the first.
 *
 * Of a log with many rows that follow one another without a gap only every so many are in the index, and so in memory: the rows
 * between them lie in a page behind the messages, in the same form, and the row in the index stands for all of them. Its place is
 * that of the page; the last field of a row in a page is the place of the page.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { limits } from '../core/limits.ts';

export const rowBytes = 40;

/** The entry is one or several batches, which follow one another by offset; else a run of a message block. */
export const rowBatch = 1;
/** Messages that recovery drops. */
export const rowTransient = 2;
/** The row stands for a page of rows. */
export const rowPage = 4;

/** Rows of one page. */
const pageRowsMax = 128;
/** Fewer rows are not worth a page. */
const pageRowsMin = 8;
/** Rows that are looked at before others have their turn. */
const rowsPerTurn = 8_192;

export const rowLogId = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes);
export const rowFlags = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 4);
export const rowFirstOffset = (index: Buffer, row: number): number => index.readDoubleLE(row * rowBytes + 8);
export const rowCount = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 16);
export const rowPlace = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 20);
export const rowTimestamp = (index: Buffer, row: number): number => index.readDoubleLE(row * rowBytes + 24);
export const rowSizeBytes = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 32);
export const rowEndOffset = (index: Buffer, row: number): number => rowFirstOffset(index, row) + rowCount(index, row);
/** Of a row that stands for a page: how many rows that has. */
export const rowPageRows = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 36);
/** Of a row in a page: the place of the page. */
export const rowPagePlace = (page: Buffer, row: number): number => page.readUInt32LE(row * rowBytes + 36);

/** What a row says. */
export interface SegmentRow {
  readonly logId: number;
  readonly flags: number;
  readonly firstOffset: number;
  readonly count: number;
  readonly place: number;
  readonly timestampMs: number;
  readonly sizeBytes: number;
}

/** Rows under construction. */
export class SegmentIndexBuilder {
  #buffer = Buffer.alloc(64 * rowBytes);
  #count = 0;

  add({ logId, flags, firstOffset, count, place, timestampMs, sizeBytes }: SegmentRow): void {
    const at = this.#count * rowBytes;
    if (at === this.#buffer.length) this.#buffer = Buffer.concat([this.#buffer], at * 2);
    this.#buffer.writeUInt32LE(logId, at);
    this.#buffer.writeUInt32LE(flags, at + 4);
    this.#buffer.writeDoubleLE(firstOffset, at + 8);
    this.#buffer.writeUInt32LE(count, at + 16);
    this.#buffer.writeUInt32LE(place, at + 20);
    this.#buffer.writeDoubleLE(timestampMs, at + 24);
    this.#buffer.writeUInt32LE(sizeBytes, at + 32);
    this.#buffer.writeUInt32LE(0, at + 36);
    this.#count++;
  }

  /** Puts further offsets into the last row. */
  extend(count: number, timestampMs: number, sizeBytes: number): void {
    const at = (this.#count - 1) * rowBytes;
    this.#buffer.writeUInt32LE(this.#buffer.readUInt32LE(at + 16) + count, at + 16);
    if (timestampMs > this.#buffer.readDoubleLE(at + 24)) this.#buffer.writeDoubleLE(timestampMs, at + 24);
    this.#buffer.writeUInt32LE(this.#buffer.readUInt32LE(at + 32) + sizeBytes, at + 32);
  }

  /** All rows. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#count * rowBytes);
  }
}

/** What is stored of the rows of a segment: its index, and the pages, which are to lie at `place` of its data. */
export const pagedIndex = async (
  rows: Buffer,
  place: number,
): Promise<{ readonly index: Buffer; readonly pages: Buffer }> => {
  const index: Buffer[] = [];
  const pages: Buffer[] = [];
  let pagePlace = place;
  /** Rows before it are in one of both. */
  let next = 0;
  let to = 0;
  for (let from = 0; from < rows.length / rowBytes; from = to) {
    to = pageEnd(rows, from);
    if (Math.floor(to / rowsPerTurn) > Math.floor(from / rowsPerTurn)) await nextTurn();
    if (to - from < pageRowsMin) continue;
    const stored = rows.subarray(from * rowBytes, to * rowBytes);
    index.push(rows.subarray(next * rowBytes, from * rowBytes), pageRow(rows, from, to, pagePlace));
    next = to;
    for (let row = 0; row < to - from; row++) stored.writeUInt32LE(pagePlace, row * rowBytes + 36);
    pages.push(stored);
    pagePlace += stored.length;
  }
  index.push(rows.subarray(next * rowBytes));
  return { index: Buffer.concat(index), pages: Buffer.concat(pages) };
};

/** The end of the rows from `from` on that may be in one page. */
const pageEnd = (rows: Buffer, from: number): number => {
  const end = Math.min(rows.length / rowBytes, from + pageRowsMax);
  const flags = rowFlags(rows, from);
  let to = from + 1;
  if ((flags & rowTransient) !== 0) return to;
  while (
    to < end &&
    rowLogId(rows, to) === rowLogId(rows, from) &&
    rowFlags(rows, to) === flags &&
    rowFirstOffset(rows, to) === rowEndOffset(rows, to - 1) &&
    rowEndOffset(rows, to) - rowFirstOffset(rows, from) <= limits.entryMessagesMax
  ) {
    to++;
  }
  return to;
};

/** The row that stands for [from, to). */
const pageRow = (rows: Buffer, from: number, to: number, place: number): Buffer => {
  const row = Buffer.from(rows.subarray(from * rowBytes, (from + 1) * rowBytes));
  let timestampMs = rowTimestamp(rows, from);
  let sizeBytes = 0;
  for (let each = from; each < to; each++) {
    timestampMs = Math.max(timestampMs, rowTimestamp(rows, each));
    sizeBytes += rowSizeBytes(rows, each);
  }
  row.writeUInt32LE(rowFlags(rows, from) | rowPage, 4);
  row.writeUInt32LE(rowEndOffset(rows, to - 1) - rowFirstOffset(rows, from), 16);
  row.writeUInt32LE(place, 20);
  row.writeDoubleLE(timestampMs, 24);
  row.writeUInt32LE(sizeBytes, 32);
  row.writeUInt32LE(to - from, 36);
  return row;
};

/** The row of a page that holds `offset`, or the first one if that lies before it. */
export const pageRowAt = (page: Buffer, offset: number): number => {
  let low = 0;
  let high = page.length / rowBytes;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (rowFirstOffset(page, middle) <= offset) low = middle;
    else high = middle;
  }
  return low;
};
