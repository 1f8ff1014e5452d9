import type { Position } from '../core/ids.ts';
import type { StretchPiece } from '../shard/shard-log.ts';

/** Where a fold finds entries of its stretch in memory. */
export interface EntrySource {
  readonly buffer: Buffer;
  /** Where in the buffer the run or batch lies that is at this position of the log; -1 if it is to be read first. */
  placeOf(position: Position): number;
}

/** Entries as they lie in the stretch, in the piece of it that was read last. */
export class StretchPieces implements EntrySource {
  piece: StretchPiece | undefined;

  get buffer(): Buffer {
    return this.piece!.buffer;
  }

  placeOf(position: Position): number {
    const { piece } = this;
    return piece !== undefined && position >= piece.start && position < piece.end ? position - piece.start : -1;
  }
}
