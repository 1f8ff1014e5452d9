/** The files of the log as recovery finds them in the directory: those with a right header, and those without. */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import type { FileEntry } from './checkpoint-file.ts';
import { frameHeaderBytes } from './frame.ts';
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

export const corrupt = (message: string): BrokerError => new BrokerError('corrupt', `write-ahead log: ${message}`);

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
}

export class RecoveryFiles {
  readonly #options: RecoveryFilesOptions;
  /** By sequence. Those taken into use are removed. */
  readonly candidates = new Map<number, Candidate>();
  /** Files of the log with a wrong header: preparation did not get that far, or it is damaged. */
  readonly headless = new Map<number, StorageFile>();
  /** Of the log; undefined while no file and no checkpoint has told it. */
  salt: number | undefined;

  constructor(options: RecoveryFilesOptions) {
    this.#options = options;
  }

  /**
   * Opens every file of the log and reads its header.
   * @throws BrokerError 'unsupported' when another version made one, 'invalid-argument' when their size is another
   */
  async open(names: readonly string[]): Promise<void> {
    const { storage, durable, walFileBytes } = this.#options;
    const sequences = names.map(walFileSequence).filter((sequence) => sequence !== undefined);
    for (const sequence of sequences.sort((a, b) => a - b)) {
      const handle = await storage.open(walFileName(sequence), { create: false, durable });
      this.headless.set(sequence, handle);
      const block = Buffer.alloc(walHeaderBytes);
      await handle.read(block, 0, walHeaderBytes, 0);
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

  /** Takes the salt from a damaged header if the frames behind it say that it is right. */
  async guessSalt(): Promise<void> {
    const scanner = new FrameScanner(this.#options.walFileBytes);
    for (const handle of this.headless.values()) {
      if (this.salt !== undefined) return;
      const block = Buffer.alloc(walHeaderBytes);
      await handle.read(block, 0, walHeaderBytes, 0);
      scanner.openAt(handle);
      if (await scanner.readFrame(walHeaderBytes, storedWalSalt(block))) this.salt = storedWalSalt(block);
    }
  }

  /** A file without a right header that has something like a frame in it. */
  async findHeadlessFrames(): Promise<number | undefined> {
    const scanner = new FrameScanner(this.#options.walFileBytes);
    for (const [sequence, handle] of this.headless) {
      const block = Buffer.alloc(frameHeaderBytes);
      await handle.read(block, 0, frameHeaderBytes, walHeaderBytes);
      if (scanner.header.parse(block, 0)) return sequence;
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
    const header = encodeWalHeader({ sequence, walFileBytes: this.#options.walFileBytes, salt: this.salt! });
    await writeAll(handle, header, header.length, 0);
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
      const state = this.headless.has(sequence) ? 'has a damaged header' : 'is missing';
      throw corrupt(`${walFileName(sequence)} ${state}`);
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
