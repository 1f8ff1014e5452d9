/**
 * Where a file of the log can be cut into pieces of whole frames of about a read's size, so that whatever is read back can be
 * checked: the first frame in each cell of a grid, with its checksum. From there on the chain of frames leads through the
 * piece, and says of each frame whether it is the one that was written. Some bytes per megabyte of the log.
 */
import { BrokerError } from '../../core/errors.ts';
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

  /** All pieces, in order. */
  *pieces(limitOffset: number): Generator<FramePiece> {
    for (const index of this.#offsets.keys()) yield this.#piece(index, limitOffset);
  }

  /** The piece that holds this offset; the frames of the file end at `limitOffset`, those that may be read. */
  pieceAt(offset: number, limitOffset: number): FramePiece {
    let index = this.#offsets.length - 1;
    while (index > 0 && this.#offsets[index]! > offset) index--;
    return this.#piece(index, limitOffset);
  }

  #piece(index: number, limitOffset: number): FramePiece {
    const end = Math.min(limitOffset, this.#ends.get(index) ?? this.#offsets[index + 1] ?? limitOffset);
    return { start: this.#offsets[index]!, end, firstCrc: this.#crcs[index]! };
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
