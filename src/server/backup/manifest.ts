/**
 * A backup: the files of a data directory, in a directory or a tar, and backup.json, which says what they are. Written in this
 * order, so that one that was not finished is told from a whole one: the shards' files, backup.json, rosettamq.json. Without the
 * last no broker opens it.
 */
import { BrokerError } from '../../core/errors.ts';
import { descriptionName } from '../data-directory.ts';

export const manifestName = 'backup.json';
export const manifestFormat = 1;

/** Paths are relative to the data directory, with slashes. */
export interface ManifestFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly crc32c: number;
}

export interface Manifest {
  readonly format: number;
  /** Of the program that made it. */
  readonly version: string;
  /** The point that it shows: ISO 8601. */
  readonly takenAt: string;
  readonly files: readonly ManifestFile[];
}

/** A file of a shard, or one of the two at the top. */
export const isBackupPath = (path: string): boolean =>
  path === manifestName || path === descriptionName || /^shard-\d{1,2}\/[a-z][\w.-]*$/.test(path);

/** @throws BrokerError 'corrupt' or 'unsupported' */
export const parseManifest = (bytes: Buffer): Manifest => {
  let manifest: Partial<Manifest>;
  try {
    manifest = JSON.parse(bytes.toString()) as Partial<Manifest>;
  } catch {
    throw new BrokerError('corrupt', `${manifestName} is damaged`);
  }
  if (manifest.format !== manifestFormat) {
    throw new BrokerError(
      'unsupported',
      `${manifestName} has format ${manifest.format}; this version reads ${manifestFormat}`,
    );
  }
  if (!Array.isArray(manifest.files) || !manifest.files.every(({ path }) => isBackupPath(path))) {
    throw new BrokerError('corrupt', `${manifestName} is damaged`);
  }
  return manifest as Manifest;
};
