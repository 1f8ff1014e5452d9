/** `rosettamq restore`: makes a data directory of a backup, and checks all that it copies, byte by byte and as what it is. */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from '../../core/errors.ts';
import { descriptionName, parseDescription, requireFormat } from '../data-directory.ts';
import { dumpDirectory } from '../inspect/dump.ts';
import type { DumpLine } from '../inspect/dump-lines.ts';
import { ConfigError } from '../setting.ts';
import { DirectoryTarget } from './backup-targets.ts';
import { isBackupPath, type Manifest, manifestName, parseManifest } from './manifest.ts';
import { allOf, Checksum, readPieces } from './pieces.ts';
import { readTar, type TarEntry } from './tar.ts';

export interface RestoreOptions {
  /** A directory or a tar that `backup` has made, or '-' for a tar on standard input. */
  readonly from: string;
  /** The data directory to make: empty, or not there yet. */
  readonly to: string;
  /** Damage that the data had when it was copied: nothing is missing of the backup, and it is restored as it is. */
  readonly onDamage: (line: DumpLine) => void;
}

export interface RestoreSummary {
  readonly takenAt: string;
  readonly files: number;
  readonly bytes: number;
}

/**
 * Everything is on disk when it resolves; after an error there is no data directory.
 * @throws ConfigError when the directories cannot be used; BrokerError 'corrupt' when the backup is not complete or not as it was
 * made, 'unsupported' when another version made it; or the error of the system
 */
export const restore = async ({ from, to, onDamage }: RestoreOptions): Promise<RestoreSummary> => {
  const entries = await openSource(from);
  const target = await DirectoryTarget.open(to);
  try {
    const { manifest, description } = await copy(entries, target, from);
    requireFormat(from, parseDescription(description.toString(), from));
    await target.write(descriptionName, description.length, [description]);
    await target.finish();
    for await (const line of dumpDirectory({ path: to, records: false })) {
      if (line.kind === 'damage' || line.kind === 'unsupported') onDamage(line);
    }
    const bytes = manifest.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return { takenAt: manifest.takenAt, files: manifest.files.length, bytes };
  } catch (error) {
    await target.abandon();
    throw error;
  }
};

const incomplete = (from: string, what: string): BrokerError =>
  new BrokerError('corrupt', `${from} is no complete backup: ${what}`);

const openSource = async (from: string): Promise<AsyncIterable<TarEntry>> => {
  if (from === '-') return readTar(process.stdin);
  const isDirectory = await stat(from).then(
    (stats) => stats.isDirectory(),
    (error: Error) => {
      throw new ConfigError(error.message);
    },
  );
  return isDirectory ? directoryEntries(from) : readTar(createReadStream(from));
};

async function* directoryEntries(from: string): AsyncGenerator<TarEntry> {
  const read = (name: string): Promise<Buffer> =>
    readFile(join(from, name)).catch(() => {
      throw incomplete(from, `there is no ${name}`);
    });
  const manifest = await read(manifestName);
  const description = await read(descriptionName);
  for (const { path } of parseManifest(manifest).files) {
    const { size } = await stat(join(from, path)).catch(() => {
      throw incomplete(from, `${path} is missing`);
    });
    yield { name: path, sizeBytes: size, pieces: readPieces(join(from, path), size) };
  }
  for (const [name, bytes] of [
    [manifestName, manifest],
    [descriptionName, description],
  ] as const) {
    yield { name, sizeBytes: bytes.length, pieces: readBytes(bytes) };
  }
}

async function* readBytes(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

const copy = async (
  entries: AsyncIterable<TarEntry>,
  target: DirectoryTarget,
  from: string,
): Promise<{ manifest: Manifest; description: Buffer }> => {
  const checksums = new Map<string, number>();
  let manifest: Manifest | undefined;
  let description: Buffer | undefined;
  for await (const { name, sizeBytes, pieces } of entries) {
    if (!isBackupPath(name)) throw incomplete(from, `it has a file that is not of a backup, ${name}`);
    if (name === manifestName) {
      manifest = parseManifest(await allOf(pieces));
    } else if (name === descriptionName) {
      description = await allOf(pieces);
    } else {
      const checksum = new Checksum();
      await target.write(name, sizeBytes, checksum.of(pieces));
      checksums.set(name, checksum.value);
    }
  }
  if (manifest === undefined) throw incomplete(from, `there is no ${manifestName}`);
  if (description === undefined) throw incomplete(from, `there is no ${descriptionName}`);
  for (const { path, crc32c } of manifest.files) {
    const found = checksums.get(path);
    if (found === undefined) throw incomplete(from, `${path} is missing`);
    if (found !== crc32c) throw incomplete(from, `${path} is not as it was backed up`);
  }
  if (checksums.size > manifest.files.length) throw incomplete(from, `it has files that ${manifestName} does not name`);
  return { manifest, description };
};
