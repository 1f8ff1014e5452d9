/** Reads the files of the log back, whole frames at a time, which are checked. Owns what of them is in memory for that. */
import { BrokerError } from '../../core/errors.ts';
import type { Position } from '../../core/ids.ts';
import { ReusedMemory } from '../../core/reused-memory.ts';
import type { Chunk, StretchReader } from '../shard-log.ts';
import { assertFrames } from './frame-cuts.ts';
import type { GroupWriter } from './group-writer.ts';
import { LoadedWindows } from './loaded-windows.ts';
import { readError } from './operating-error.ts';
import { SealedFileReader } from './sealed-file-reader.ts';
import type { WalFile } from './wal-file.ts';
import type { WalFiles } from './wal-files.ts';

export interface LogReadsOptions {
  readonly files: WalFiles;
  readonly writer: GroupWriter;
  readonly walFileBytes: number;
  readonly readAheadBytes: number;
}

export class LogReads {
  /** Of the log; set when it is known. */
  salt = 0;
  readonly #options: LogReadsOptions;
  readonly #windows = new LoadedWindows();
  readonly #pieceMemory = new ReusedMemory();

  constructor(options: LogReadsOptions) {
    this.#options = options;
  }

  /** A piece of memory that load() brought in and that holds all of [position, position + lengthBytes). */
  find(position: Position, lengthBytes: number): Chunk | undefined {
    return this.#windows.find(position, lengthBytes);
  }

  /**
   * Reads [position, position + lengthBytes) and what is around it, pinned; little of that if `aheadBytes` is small. Rejects with BrokerError 'corrupt' if a frame there is
   * not what was written or cannot be read, or if there is no such piece: what says so is damaged then. 'not-found' if the file was
   * given back, 'storage-failed' if it may be tried again.
   */
  async load(position: Position, lengthBytes: number, aheadBytes?: number): Promise<Chunk> {
    const { files, walFileBytes, readAheadBytes } = this.#options;
    const file = files.fileAt(position);
    const handle = file?.handle;
    if (file === undefined || handle === undefined) {
      throw new BrokerError('not-found', `position ${position} is no longer in the log`);
    }
    const filePosition = file.sequence * walFileBytes;
    const offset = position - filePosition;
    const limitOffset = this.#durableOffset(file);
    const wanted = `${file.name} is to be read at byte ${offset}, ${lengthBytes} bytes`;
    if (offset + lengthBytes > limitOffset) throw new BrokerError('corrupt', `${wanted}, which are not durable`);
    const livesLong = aheadBytes !== undefined;
    const piece = file.cuts.pieceAt(
      offset,
      limitOffset,
      livesLong && aheadBytes * 2 < readAheadBytes ? 0 : readAheadBytes,
    );
    if (offset + lengthBytes > piece.end) throw new BrokerError('corrupt', `${wanted}, which are not one commit`);
    const verify = (buffer: Buffer, readBytes: number): void =>
      assertFrames(file.name, piece, this.salt, buffer, readBytes);
    const request = { handle, filePosition, offset, lengthBytes, window: piece, verify, livesLong };
    return await this.#reading(file, () => this.#windows.load(request));
  }

  /** The sealed file that begins at this position. One at a time: they share the memory. */
  openFileAt(position: Position): StretchReader {
    const { files, readAheadBytes } = this.#options;
    const file = files.fileAt(position)!;
    return new SealedFileReader({ files, file, position, salt: this.salt, readAheadBytes, memory: this.#pieceMemory });
  }

  async #reading<Result>(file: WalFile, read: () => Promise<Result>): Promise<Result> {
    const { files } = this.#options;
    files.beginRead(file);
    try {
      return await read();
    } catch (error) {
      throw readError(error, file.name);
    } finally {
      await files.endRead(file);
    }
  }

  /** Offset in this file up to which commits are durable. */
  #durableOffset(file: WalFile): number {
    const { writer, walFileBytes } = this.#options;
    if (file.sequence < writer.durableFileSequence) return file.endOffset;
    return Math.max(0, writer.durablePosition - file.sequence * walFileBytes);
  }

  /** Resolves when no read is under way. */
  whenIdle(): Promise<void> {
    return this.#windows.whenIdle();
  }
}
