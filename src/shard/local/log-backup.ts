/** What of one log is copied for a backup while it is at work. */

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
