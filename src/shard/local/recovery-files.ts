/** The files of the log as recovery finds them in the directory: those with a right header, and those without. */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { isUnreadable, type UnreadableBlocks, unreadableBlockBytes } from '../../storage/unreadable-blocks.ts';
import type { FileEntry } from './checkpoint-file.ts';
import { FrameScanner } from './frame-scanner.ts';
import { writeAll } from './prepare-file.ts';
import {
  decodeWalHeader,
  encodeWalHeader,
  isMarkedPrepared,
  otherWalFormat,
  storedWalSalt,
  WalFile,
  walFileName,
  walFileSequence,
  walFormatVersion,
  walHeaderBytes,
} from './wal-file.ts';

const prefix = 'write-ahead log: ';

export const corrupt = (message: string): BrokerError => new BrokerError('corrupt', prefix + message);

/** A file of the log with a header that is right. */
export interface Candidate {
  readonly sequence: number;
  readonly handle: StorageFile;
  readonly isPrepared: boolean;
}

export interface RecoveryFilesOptions {
  readonly storage: Storage;
  readonly walFileBytes: number;
  readonly durable: boolean;
  /** What cannot be read is taken for damaged, and remembered there. */
  readonly unreadable: UnreadableBlocks;
  /** Go on without files that cannot be opened. */
  readonly acceptsDamage: boolean;
}

export class RecoveryFiles {
  readonly #options: RecoveryFilesOptions;
  /** By sequence. Those taken into use are removed. */
  readonly candidates = new Map<number, Candidate>();
  /** Files of the log with a wrong header: preparation did not get that far, or it is damaged. */
  readonly headless = new Map<number, StorageFile>();
  /** Files of the log that the system cannot open, and why. Empty unless damage is accepted. */
  readonly unopened = new Map<number, BrokerError>();
  /** Of the log; undefined while no file and no checkpoint has told it. */
  salt: number | undefined;

  constructor(options: RecoveryFilesOptions) {
    this.#options = options;
  }

  /**
   * Opens every file of the log and reads its header.
   * @throws BrokerError 'unsupported' when another version made one, 'invalid-argument' when their size is another, 'corrupt' when
   * one cannot be opened
   */
  async open(names: readonly string[]): Promise<void> {
    const { walFileBytes } = this.#options;
    const sequences = names.map(walFileSequence).filter((sequence) => sequence !== undefined);
    for (const sequence of sequences.sort((a, b) => a - b)) {
      const handle = await this.#openFile(sequence);
      if (handle === undefined) continue;
      this.headless.set(sequence, handle);
      const block = await this.#readHeader(handle);
      const format = otherWalFormat(block);
      if (format !== undefined) {
        throw new BrokerError(
          'unsupported',
          `${walFileName(sequence)} has format ${format}; this version reads ${walFormatVersion}`,
        );
      }
      const header = decodeWalHeader(block);
      if (header?.sequence !== sequence || header.salt !== (this.salt ?? header.salt)) continue;
      if (header.walFileBytes !== walFileBytes) {
        throw new BrokerError(
          'invalid-argument',
          `the log was made with walFileBytes ${header.walFileBytes}, which cannot be changed to ${walFileBytes}`,
        );
      }
      this.salt = header.salt;
      this.headless.delete(sequence);
      this.candidates.set(sequence, { sequence, handle, isPrepared: isMarkedPrepared(block) });
    }
  }

  /** Undefined if the system cannot, and that is accepted. */
  async #openFile(sequence: number): Promise<StorageFile | undefined> {
    const { storage, durable, acceptsDamage } = this.#options;
    const name = walFileName(sequence);
    try {
      return await storage.open(name, { create: false, durable });
    } catch (cause) {
      if (!isUnreadable(cause)) throw cause;
      const message = `${prefix}${name} cannot be opened (${(cause as Error).message})`;
      const error = new BrokerError('corrupt', message, { cause });
      if (!acceptsDamage) throw error;
      this.unopened.set(sequence, error);
      return undefined;
    }
  }

  async #readHeader(handle: StorageFile): Promise<Buffer> {
    const block = Buffer.alloc(walHeaderBytes);
    await this.#options.unreadable.read(handle, block, 0);
    return block;
  }

  /** That [start, end) of a file is damaged, and why if that cannot be read. */
  damaged(message: string, name: string, start: number, end?: number): BrokerError {
    return this.#options.unreadable.damage(prefix + message, name, start, end);
  }

  damagedHeader(name: string): BrokerError {
    return this.damaged(
      `${name} is damaged at offset 0: the header, and frames follow it`,
      name,
      0,
      walHeaderBytes + 1,
    );
  }

  /** Throws if a block of the file in [start, end) could not be read: frames may lie there. */
  assertReadable(name: string, start: number, end?: number): void {
    if (this.#options.unreadable.firstIn(name, start, end) !== undefined)
      throw this.damaged(`${name}: frames of the log may be lost`, name, start, end);
  }

  /** Takes the salt from a damaged header if the frames behind it say that it is right. */
  async guessSalt(): Promise<void> {
    const scanner = this.#scanner();
    for (const handle of this.headless.values()) {
      if (this.salt !== undefined) return;
      const block = await this.#readHeader(handle);
      scanner.openAt(handle);
      if (await scanner.readFrame(walHeaderBytes, storedWalSalt(block))) this.salt = storedWalSalt(block);
    }
  }

  #scanner(): FrameScanner {
    return new FrameScanner(this.#options.walFileBytes, this.#options.unreadable);
  }

  /** A file without a right header that has something like a frame in it, or may have. */
  async findHeadlessFrames(): Promise<number | undefined> {
    const scanner = this.#scanner();
    const { unreadable } = this.#options;
    for (const [sequence, handle] of this.headless) {
      scanner.openAt(handle);
      await scanner.readFrame(walHeaderBytes, 0);
      if (scanner.hasHeader || unreadable.firstIn(handle.name, 0, walHeaderBytes + 1) !== undefined) return sequence;
    }
    return undefined;
  }

  /** All of them, whatever their headers say. */
  handles(): Map<number, StorageFile> {
    const handles = new Map(this.headless);
    for (const { sequence, handle } of this.candidates.values()) handles.set(sequence, handle);
    return handles;
  }

  /** A damaged header says nothing that is not known: it is written again. False if it is not damaged. */
  async repairHeader(sequence: number): Promise<boolean> {
    const handle = this.headless.get(sequence);
    if (handle === undefined) return false;
    const { walFileBytes, unreadable } = this.#options;
    const header = encodeWalHeader({ sequence, walFileBytes, salt: this.salt! });
    // A part of a block that cannot be read cannot be written either; what was behind the header in it is lost.
    const isUnreadable = unreadable.firstIn(handle.name, 0, header.length) !== undefined;
    const block = isUnreadable ? Buffer.concat([header], unreadableBlockBytes) : header;
    await writeAll(handle, block, block.length, 0);
    await handle.sync();
    this.headless.delete(sequence);
    this.candidates.set(sequence, { sequence, handle, isPrepared: false });
    return true;
  }

  /** Takes the files of a table into use, in order of sequence. */
  takeAll(entries: readonly FileEntry[]): Map<number, WalFile> {
    const files = new Map<number, WalFile>();
    for (const { sequence } of entries) if (!files.has(sequence)) files.set(sequence, this.take(sequence));
    return files;
  }

  /** @throws BrokerError 'corrupt' when it is missing or its header is damaged */
  take(sequence: number): WalFile {
    const candidate = this.candidates.get(sequence);
    if (candidate === undefined) {
      const name = walFileName(sequence);
      if (!this.headless.has(sequence)) throw corrupt(`${name} is missing`);
      throw this.damaged(`${name} is damaged at offset 0: the header`, name, 0, walHeaderBytes);
    }
    this.candidates.delete(sequence);
    return this.#asFile(candidate);
  }

  #asFile(candidate: Candidate): WalFile {
    const file = new WalFile(candidate.sequence);
    file.handle = candidate.handle;
    file.readyBytes = candidate.isPrepared ? this.#options.walFileBytes : walHeaderBytes;
    return file;
  }

  /** Files behind the active one are prepared ones as long as they follow without a gap; the rest is left over. */
  async sortRest(active: WalFile): Promise<{ upcoming: WalFile[]; reclaimed: string[] }> {
    const upcoming: WalFile[] = [];
    const reclaimed: string[] = [];
    for (const candidate of this.candidates.values()) {
      const { sequence, handle } = candidate;
      if (sequence === active.sequence + upcoming.length + 1) {
        // Its header may be in the page cache only, like the tail.
        await handle.sync();
        upcoming.push(this.#asFile(candidate));
      } else if (sequence > active.sequence) {
        await this.#discard(sequence, handle);
      } else {
        await handle.close();
        reclaimed.push(walFileName(sequence));
      }
    }
    await this.discardHeadless();
    // One that cannot be removed either is met again by the next open.
    for (const sequence of this.unopened.keys())
      await this.#options.storage.remove(walFileName(sequence)).catch(() => {});
    return { upcoming, reclaimed };
  }

  /** Removes files whose names must be free: the log will make some of those names. */
  async discardHeadless(): Promise<void> {
    for (const [sequence, handle] of this.headless) await this.#discard(sequence, handle);
  }

  async #discard(sequence: number, handle: StorageFile): Promise<void> {
    await handle.close();
    await this.#options.storage.remove(walFileName(sequence));
  }

  /** Closes what was not taken into use. */
  async close(): Promise<void> {
    for (const handle of this.handles().values()) await handle.close().catch(() => {});
  }
}
