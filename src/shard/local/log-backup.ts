/** What of one log is copied for a backup while it is at work. */
import type { SegmentFiles } from './segment-files.ts';
import type { WalFile } from './wal-file.ts';
import type { WalFiles } from './wal-files.ts';

/** The first `sizeBytes` of a file; nothing that is wanted lies behind them. They do not change until the backup is released. */
export interface BackupFile {
  readonly name: string;
  readonly sizeBytes: number;
}

/**
 * The log up to one point, that of beginBackup(): complete on disk when that is durable. Until release() no file of it is given
 * back.
 */
export interface LogBackup {
  files(): Promise<readonly BackupFile[]>;
  release(): Promise<void>;
}

/** Of log files and segments, up to the end of the log, which is `endOffset` in `file`. */
export const backupOf = (
  files: WalFiles,
  segments: SegmentFiles,
  end: { readonly file: WalFile; readonly endOffset: number },
): LogBackup => {
  const inUse = [...files.files()];
  const wanted: BackupFile[] = inUse.map((file) => ({
    name: file.name,
    sizeBytes: file === end.file ? end.endOffset : file.endOffset,
  }));
  wanted.push(...segments.pin());
  for (const file of inUse) files.beginRead(file);
  return {
    files: async () => wanted,
    release: async () => {
      await segments.unpin();
      for (const file of inUse) await files.endRead(file);
    },
  };
};
