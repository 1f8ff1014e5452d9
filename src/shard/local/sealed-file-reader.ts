/**
 * Reads a sealed file of the log back for a fold, piece by piece, and checks every frame of a piece each time: what is damaged is not
 * copied on. Not through the windows of `loaded-windows.ts`, which are those that readers come back to.
 */
import type { Position } from '../../core/ids.ts';
import type { ReusedMemory } from '../../core/reused-memory.ts';
import { UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import type { StretchPiece, StretchReader } from '../shard-log.ts';
import { assertFrames } from './frame-cuts.ts';
import { readError } from './operating-error.ts';
import type { WalFile } from './wal-file.ts';
import type { WalFiles } from './wal-files.ts';

export interface SealedFileReaderOptions {
  readonly files: WalFiles;
  readonly file: WalFile;
  /** Of the first byte of the file. */
  readonly position: Position;
  readonly salt: number;
  /** A piece is what begins in one cell of a grid of this size. */
  readonly readAheadBytes: number;
  readonly memory: ReusedMemory;
}

export class SealedFileReader implements StretchReader {
  readonly #options: SealedFileReaderOptions;
  readonly #memory: Buffer;
  /** What could not be read once stays so for all pieces. */
  readonly #unreadable = new UnreadableBlocks();

  constructor(options: SealedFileReaderOptions) {
    const { files, file, readAheadBytes, memory } = options;
    this.#options = options;
    // The last frame of a piece may be as large again.
    this.#memory = memory.take(2 * readAheadBytes);
    files.beginRead(file);
  }

  async read(position: Position): Promise<StretchPiece> {
    const { file, position: filePosition, salt, readAheadBytes } = this.#options;
    const piece = file.cuts.pieceAt(position - filePosition, file.endOffset, readAheadBytes);
    const sizeBytes = piece.end - piece.start;
    // One commit may be as large as the file: it has its memory for itself.
    const memory = sizeBytes > this.#memory.length ? Buffer.allocUnsafeSlow(sizeBytes) : this.#memory;
    const buffer = memory.subarray(0, sizeBytes);
    try {
      const readBytes = await this.#unreadable.read(file.handle!, buffer, piece.start);
      await this.#unreadable.explain(file.name, () => assertFrames(file.name, piece, salt, buffer, readBytes));
    } catch (error) {
      throw readError(error, file.name);
    }
    return {
      buffer,
      start: (filePosition + piece.start) as Position,
      end: (filePosition + piece.end) as Position,
    };
  }

  close(): Promise<void> {
    return this.#options.files.endRead(this.#options.file);
  }
}
