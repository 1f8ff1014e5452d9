/**
 * The index of a segment: a row for each entry that the logs get for it, sorted by log and then by offset. Little endian:
 *
 *   row = u32 log id, u32 flags, f64 first offset, u32 count of offsets, u32 place in the segment, f64 latest timestamp (ms),
 *         u32 bytes of its messages or batches, u32 zero
 *
 * The place of messages is that of their run, of batches that of the first.
 */
export const rowBytes = 40;

/** The entry is one or several batches, which follow one another by offset; else a run of a message block. */
export const rowBatch = 1;
/** Messages that recovery drops. */
export const rowTransient = 2;

export const rowLogId = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes);
export const rowFlags = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 4);
export const rowFirstOffset = (index: Buffer, row: number): number => index.readDoubleLE(row * rowBytes + 8);
export const rowCount = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 16);
export const rowPlace = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 20);
export const rowTimestamp = (index: Buffer, row: number): number => index.readDoubleLE(row * rowBytes + 24);
export const rowSizeBytes = (index: Buffer, row: number): number => index.readUInt32LE(row * rowBytes + 32);

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
