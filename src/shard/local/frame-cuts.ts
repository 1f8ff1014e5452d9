/**
 * Where a file of the log can be cut into pieces of whole frames, so that whatever is read back can be checked: the first frame in
 * each cell of a grid, with its checksum. From there on the chain of frames leads through the piece, and says of each frame whether
 * it is the one that was written. Some hundred bytes per megabyte of the log.
 */
import { BrokerError } from '../../core/errors.ts';
import type { PieceReader, PieceWriter } from '../piece.ts';
import { alignFrame, FrameHeader, frameHeaderBytes } from './frame.ts';

/** Offsets in a file [start, end) that begin with a frame and end with one. */
export interface FramePiece {
  readonly start: number;
  readonly end: number;
  /** Checksum of its first frame. */
  readonly firstCrc: number;
}

export class FrameCuts {
  /** Both ascending by offset, in step. */
  readonly #offsets: number[] = [];
  readonly #crcs: number[] = [];
  /** Where the frames end before damage that was accepted, by the index of the last cut before it. */
  readonly #ends = new Map<number, number>();

  /** Takes note of each frame, in order of its offset. */
  note(offset: number, crc: number, cellBytes: number): void {
    const last = this.#offsets.at(-1);
    const isBehindDamage = this.#ends.has(this.#offsets.length - 1);
    if (last !== undefined && !isBehindDamage && Math.floor(offset / cellBytes) === Math.floor(last / cellBytes))
      return;
    this.#offsets.push(offset);
    this.#crcs.push(crc);
  }

  /** The frames noted so far end here, and the next one does not follow them. */
  end(offset: number): void {
    if (this.#offsets.length > 0) this.#ends.set(this.#offsets.length - 1, offset);
  }

  /** For a checkpoint. */
  write(out: PieceWriter): void {
    out.count(this.#offsets.length);
    for (const [i, offset] of this.#offsets.entries()) {
      out.count(offset - (this.#offsets[i - 1] ?? 0));
      out.u32(this.#crcs[i]!);
    }
    out.count(this.#ends.size);
    for (const [index, offset] of this.#ends) {
      out.count(index);
      out.count(offset);
    }
  }

  static read(reader: PieceReader): FrameCuts {
    const cuts = new FrameCuts();
    let offset = 0;
    for (let i = reader.count(); i > 0; i--) {
      offset += reader.count();
      cuts.#offsets.push(offset);
      cuts.#crcs.push(reader.u32());
    }
    for (let i = reader.count(); i > 0; i--) cuts.#ends.set(reader.count(), reader.count());
    return cuts;
  }

  /**
   * The piece that holds this offset: from one cut to the next if `cellBytes` is 0, else all that begins in the same cell of a grid
   * of such cells, which is the same piece for all readers in it. The frames of the file that may be read end at `limitOffset`.
   */
  pieceAt(offset: number, limitOffset: number, cellBytes: number): FramePiece {
    const cell = (index: number): number => Math.floor(this.#offsets[index]! / cellBytes);
    const index = this.#lastCutUpTo(offset);
    let first = index;
    let last = index;
    if (cellBytes > 0) {
      while (first > 0 && !this.#ends.has(first - 1) && cell(first - 1) === cell(index)) first--;
      while (last + 1 < this.#offsets.length && !this.#ends.has(last) && cell(last + 1) === cell(index)) last++;
    }
    return this.#piece(first, last, limitOffset);
  }

  #lastCutUpTo(offset: number): number {
    let low = 0;
    let high = this.#offsets.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle]! <= offset) low = middle;
      else high = middle;
    }
    return low;
  }

  #piece(first: number, last: number, limitOffset: number): FramePiece {
    const end = Math.min(limitOffset, this.#ends.get(last) ?? this.#offsets[last + 1] ?? limitOffset);
    return { start: this.#offsets[first]!, end, firstCrc: this.#crcs[first]! };
  }
}

/**
 * Checks the piece in `buffer`, of which readBytes could be read.
 * @throws BrokerError 'corrupt' that names the file and the byte in it where the first frame lies that is not as it was written
 */
export const assertFrames = (
  name: string,
  piece: FramePiece,
  salt: number,
  buffer: Buffer,
  readBytes: number,
): void => {
  const header = new FrameHeader();
  let previousCrc: number | undefined;
  const lengthBytes = piece.end - piece.start;
  for (let at = 0; at < lengthBytes; at = alignFrame(at + frameHeaderBytes + header.bodyBytes)) {
    const isWhole =
      at + frameHeaderBytes <= readBytes &&
      header.parse(buffer, at) &&
      at + frameHeaderBytes + header.bodyBytes <= readBytes &&
      (previousCrc === undefined ? header.crc === piece.firstCrc : header.previousCrc === previousCrc) &&
      header.matches(buffer, at, salt);
    if (!isWhole) throw new BrokerError('corrupt', `${name} is damaged at byte ${piece.start + at}`);
    previousCrc = header.crc;
  }
};
