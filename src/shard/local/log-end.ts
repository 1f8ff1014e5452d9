/**
 * Where the chain of frames ends: at the end of the log, or at damage. It is damage if something proves that the frame missing there had
 * been durable (see recovery.ts): a checkpoint, a later frame, or the mark of a log that was closed.
 */
import type { BrokerError } from '../../core/errors.ts';
import type { StorageFile } from '../../storage/storage.ts';
import type { StoredCheckpoint } from './checkpoint-file.ts';
import { alignFrame, type Chain, frameAlignmentBytes } from './frame.ts';
import type { FrameScanner } from './frame-scanner.ts';
import { corrupt, type RecoveryFiles } from './recovery-files.ts';
import { type WalFile, walFileName, walHeaderBytes } from './wal-file.ts';
import { frameSearchBytes } from './wal-limits.ts';

export interface LogEndOptions {
  readonly files: RecoveryFiles;
  readonly scanner: FrameScanner;
  /** Of the log. */
  readonly salt: number;
  readonly walFileBytes: number;
  /** What a frame that went on there would continue. */
  readonly chain: Chain;
  readonly checkpoint: StoredCheckpoint | undefined;
  /** Where checkpoints that are damaged say that they stand; 0 without any. */
  readonly unreadPosition: number;
  /** Where the log ended when it was closed; undefined after a crash. */
  readonly closedAt: number | undefined;
}

export class LogEnd {
  readonly #options: LogEndOptions;

  constructor(options: LogEndOptions) {
    this.#options = options;
  }

  /** Throws if what the chain ended at, behind `endOffset` of the file, had been durable, or may have been. */
  async assertIsWhole(file: WalFile, endOffset: number): Promise<void> {
    const { files, walFileBytes, checkpoint, unreadPosition, closedAt } = this.#options;
    const end = alignFrame(endOffset);
    const place = `${file.name} is damaged at offset ${end}`;
    const damaged = (message: string): BrokerError => files.damaged(message, file.name, end);
    const endPosition = file.sequence * walFileBytes + end;
    if (checkpoint !== undefined && checkpoint.position > endPosition) throw damaged(`${place}, before a checkpoint`);
    if (Number.isFinite(unreadPosition) && unreadPosition > endPosition) {
      throw corrupt(
        `${file.name} ends at offset ${end}, before position ${unreadPosition}, which a newer checkpoint names`,
      );
    }
    if (file.sequence * walFileBytes + endOffset === closedAt) return;
    if (await this.#provesDurable(file.handle!, end)) throw damaged(`${place}: a later frame says that it was on disk`);
    files.assertReadable(file.name, end);
    for (const [sequence, handle] of files.handles()) {
      if (sequence > file.sequence) await this.#assertBehindEnd(sequence, handle, { file, place });
    }
    if (closedAt !== undefined && closedAt > endPosition) {
      throw damaged(`${place}, before position ${closedAt}, at which the log was closed`);
    }
  }

  /** The same for a file behind the one in which the chain ended. */
  async #assertBehindEnd(
    sequence: number,
    handle: StorageFile,
    { file, place }: { file: WalFile; place: string },
  ): Promise<void> {
    const { files, scanner, salt, chain } = this.#options;
    const name = walFileName(sequence);
    scanner.openAt(handle);
    const { header } = scanner;
    if (!(await scanner.readFrame(walHeaderBytes, salt))) {
      const isProven = await this.#provesDurable(handle, walHeaderBytes, walHeaderBytes + frameSearchBytes);
      files.assertReadable(name, 0);
      if (isProven)
        throw corrupt(`${name} is damaged at offset ${walHeaderBytes}: a later frame says that it was on disk`);
    } else if (header.continues(chain)) {
      throw files.damagedHeader(name);
    } else if (header.provesDurable(chain)) {
      const next = walFileName(file.sequence + 1);
      throw corrupt(`${place}, or ${next} at offset ${walHeaderBytes}: ${name} says that it was on disk`);
    }
  }

  /** True if a frame that begins in [offset, limitOffset) says that the frame missing at `offset` had been durable. */
  async #provesDurable(handle: StorageFile, offset: number, limitOffset = Number.POSITIVE_INFINITY): Promise<boolean> {
    const { scanner, salt, chain } = this.#options;
    scanner.openAt(handle);
    const find = (from: number): Promise<number | undefined> => scanner.findMagic(from, limitOffset);
    for (let at = await find(offset); at !== undefined; at = await find(at + frameAlignmentBytes)) {
      // Most are stale, and their checksums would take longer than the search.
      if (!(await scanner.readHeader(at)) || !scanner.header.provesDurable(chain)) continue;
      if (await scanner.readFrame(at, salt)) return true;
    }
    return false;
  }
}
