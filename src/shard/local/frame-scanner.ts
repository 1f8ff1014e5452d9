/** Sequential reading of the frames of one file, in large pieces; and the search for frames behind a damaged one. */
import type { StorageFile } from '../../storage/storage.ts';
import type { UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import { FrameHeader, frameAlignmentBytes, frameHeaderBytes, frameMagicBytes } from './frame.ts';
import { recoveryReadBytes } from './wal-limits.ts';

export class FrameScanner {
  readonly #fileBytes: number;
  /** What cannot be read is passed over like other damage, and remembered there. */
  readonly #unreadable: UnreadableBlocks;
  #file: StorageFile | undefined;
  #buffer = Buffer.alloc(0);
  /** #buffer[0, #filledBytes) holds the file from #offset on. */
  #offset = 0;
  #filledBytes = 0;
  /** The header read last, and where its frame lies in `buffer`. */
  readonly header = new FrameHeader();
  frameStart = 0;
  /** A header lay at the offset read last, be its frame whole or not. */
  hasHeader = false;

  constructor(fileBytes: number, unreadable: UnreadableBlocks) {
    this.#fileBytes = fileBytes;
    this.#unreadable = unreadable;
  }

  get buffer(): Buffer {
    return this.#buffer;
  }

  openAt(file: StorageFile): void {
    this.#file = file;
    this.#offset = 0;
    this.#filledBytes = 0;
  }

  /** True if something that looks like the header of a frame lies at this offset of the file; it is then in `header`. */
  async readHeader(offset: number): Promise<boolean> {
    this.hasHeader = false;
    if (!this.#has(offset, frameHeaderBytes) && !(await this.#fill(offset, frameHeaderBytes))) return false;
    this.hasHeader = this.header.parse(this.#buffer, offset - this.#offset);
    return this.hasHeader;
  }

  /** True if a whole and undamaged frame lies at this offset of the file; it is then in `header` and `buffer`. */
  async readFrame(offset: number, salt: number): Promise<boolean> {
    if (!(await this.readHeader(offset))) return false;
    const sizeBytes = frameHeaderBytes + this.header.bodyBytes;
    if (!this.#has(offset, sizeBytes) && !(await this.#fill(offset, sizeBytes))) return false;
    this.frameStart = offset - this.#offset;
    return this.header.matches(this.#buffer, this.frameStart, salt);
  }

  /** First offset in [offset, limitOffset) where a frame's magic lies, aligned; undefined if there is none in the file. */
  async findMagic(offset: number, limitOffset = Number.POSITIVE_INFINITY): Promise<number | undefined> {
    let at = offset;
    while (at + frameHeaderBytes <= this.#fileBytes && at < limitOffset) {
      if (!this.#has(at, frameHeaderBytes) && !(await this.#fill(at, frameHeaderBytes))) return undefined;
      const found = this.#buffer.subarray(0, this.#filledBytes).indexOf(frameMagicBytes, at - this.#offset);
      if (found < 0) {
        // A magic may begin in the last bytes of what is in memory; frames are aligned, so it begins at a multiple of 8.
        const next = this.#offset + this.#filledBytes - (this.#filledBytes % frameAlignmentBytes);
        at = next > at ? next : at + frameAlignmentBytes;
      } else if ((this.#offset + found) % frameAlignmentBytes === 0) {
        return this.#offset + found;
      } else {
        at = this.#offset + found + 1;
      }
    }
    return undefined;
  }

  #has(offset: number, lengthBytes: number): boolean {
    return offset >= this.#offset && offset + lengthBytes <= this.#offset + this.#filledBytes;
  }

  /** Reads on so that [offset, offset + lengthBytes) is in memory; false if the file ends before. */
  async #fill(offset: number, lengthBytes: number): Promise<boolean> {
    if (offset + lengthBytes > this.#fileBytes) return false;
    const wantedBytes = Math.min(this.#fileBytes - offset, Math.max(recoveryReadBytes, lengthBytes));
    const keptStart = offset - this.#offset;
    const keptBytes = keptStart >= 0 ? Math.max(0, this.#filledBytes - keptStart) : 0;
    const target = this.#buffer.length >= wantedBytes ? this.#buffer : Buffer.allocUnsafeSlow(wantedBytes);
    if (keptBytes > 0) this.#buffer.copy(target, 0, keptStart, this.#filledBytes);
    this.#buffer = target;
    this.#offset = offset;
    const missing = target.subarray(keptBytes, wantedBytes);
    const readBytes = await this.#unreadable.read(this.#file!, missing, offset + keptBytes);
    this.#filledBytes = keptBytes + readBytes;
    return this.#filledBytes >= lengthBytes;
  }
}
