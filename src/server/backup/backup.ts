/**
 * `rosettamq backup`: a copy of a data directory, of a running broker as well. The broker names one point and what lies on disk up to
 * there, and keeps that as it is while its files are copied, here, in another process, so that its own loop has nothing to do with
 * it. A broker that dies meanwhile may have given files back when it comes again: then there is no backup.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { BrokerError } from '../../core/errors.ts';
import { inspectLog } from '../../shard/local/inspect-log.ts';
import { unmarkPrepared, walFileSequence } from '../../shard/local/wal-file.ts';
import { DiskStorage } from '../../storage/disk-storage.ts';
import type { BackupResult } from '../admin/admin-protocol.ts';
import { AdminClient } from '../cli/admin-client.ts';
import { descriptionName, readDescription, requireFormat } from '../data-directory.ts';
import { holdDirectory } from '../inspect/held-directory.ts';
import { ConfigError } from '../setting.ts';
import { version } from '../version.ts';
import { type BackupTarget, DirectoryTarget, tarFileTarget, tarStreamTarget } from './backup-targets.ts';
import { type ManifestFile, manifestFormat, manifestName } from './manifest.ts';
import { Checksum, type Pieces, readPieces } from './pieces.ts';

export interface BackupOptions {
  /** The data directory. */
  readonly from: string;
  /** A directory that is empty or does not exist, a file that ends in .tar and does not exist, or '-' for a tar on standard output. */
  readonly to: string;
}

export interface BackupSummary {
  readonly takenAt: string;
  readonly files: number;
  readonly bytes: number;
}

interface SourceFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** What is copied, as of one point. It stays as it is until close(). */
interface Source {
  readonly takenAt: string;
  readonly files: readonly SourceFile[];
  /** Rejects if it may not have stayed as it was. */
  confirm(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Everything is on disk when it resolves; after an error there is no backup.
 * @throws ConfigError when the directories cannot be used; BrokerError, or the error of the system
 */
export const backup = async ({ from, to }: BackupOptions): Promise<BackupSummary> => {
  const path = await realpath(from).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`data directory ${from}: ${error.message}`);
  });
  const description = await readDescription(path);
  if (description === undefined) throw new ConfigError(`${path} is no data directory: there is no ${descriptionName}`);
  requireFormat(path, description);
  lowerPriority();
  const target = await openTarget(to);
  try {
    const source = (await runningSource(path)) ?? (await stoppedSource(path));
    try {
      return await copy(path, source, target);
    } finally {
      await source.close();
    }
  } catch (error) {
    await target.abandon();
    throw error;
  }
};

/** A broker on this machine has work to do. */
const lowerPriority = (): void => {
  try {
    setPriority(constants.priority.PRIORITY_LOW);
  } catch {
    // Then it has to share.
  }
};

const openTarget = async (to: string): Promise<BackupTarget> => {
  if (to === '-') return tarStreamTarget(process.stdout);
  return to.endsWith('.tar') ? tarFileTarget(to) : DirectoryTarget.open(to);
};

const runningSource = async (path: string): Promise<Source | undefined> => {
  const client = await AdminClient.connectIfRunning(path);
  if (client === undefined) return undefined;
  try {
    const { shards } = await client.request<BackupResult>({ op: 'backup' });
    const files = shards.flatMap((shard, index) =>
      shard.map(({ name, sizeBytes }) => ({ path: `shard-${index}/${name}`, sizeBytes })),
    );
    return {
      takenAt: new Date().toISOString(),
      files,
      confirm: async () => {
        await client.send({ end: true });
        await client.result();
      },
      close: async () => client.close(),
    };
  } catch (error) {
    client.close();
    throw error;
  }
};

const stoppedSource = async (path: string): Promise<Source> => {
  const lock = await holdDirectory(path, 'backup');
  const files: SourceFile[] = [];
  for (const folder of (await readdir(path)).filter((name) => /^shard-\d+$/.test(name)).sort()) {
    const frameEnds = await frameEndsIn(join(path, folder));
    for (const name of (await readdir(join(path, folder))).sort()) {
      if (name.endsWith('.tmp')) continue;
      const { size } = await stat(join(path, folder, name));
      const isLog = walFileSequence(name) !== undefined;
      const sizeBytes = isLog ? await contentBytes(join(path, folder, name), size, frameEnds.get(name) ?? 0) : size;
      files.push({ path: `${folder}/${name}`, sizeBytes });
    }
  }
  return { takenAt: new Date().toISOString(), files, confirm: async () => {}, close: () => lock.release() };
};

/** Where the last whole frame of each log file ends. */
const frameEndsIn = async (folder: string): Promise<Map<string, number>> => {
  const ends = new Map<string, number>();
  for await (const item of inspectLog(DiskStorage.readOnly(folder))) {
    if (item.kind === 'frame') ends.set(item.file, Math.max(ends.get(item.file) ?? 0, item.offset + item.lengthBytes));
  }
  return ends;
};

/** Without the zeros behind the last frame, which say as much as the end of the file does. */
const contentBytes = async (path: string, sizeBytes: number, frameEnd: number): Promise<number> => {
  let end = frameEnd;
  let at = 0;
  for await (const piece of readPieces(path, sizeBytes)) {
    const last = piece.findLastIndex((byte) => byte !== 0);
    if (last >= 0) end = Math.max(end, at + last + 1);
    at += piece.length;
  }
  return end;
};

const copy = async (path: string, source: Source, target: BackupTarget): Promise<BackupSummary> => {
  const { takenAt } = source;
  const files: ManifestFile[] = [];
  for (const file of source.files) {
    const checksum = new Checksum();
    await target.write(file.path, file.sizeBytes, checksum.of(piecesOf(path, file)));
    files.push({ ...file, crc32c: checksum.value });
  }
  await source.confirm();
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const manifest = Buffer.from(`${JSON.stringify({ format: manifestFormat, version, takenAt, files })}\n`);
  await target.write(manifestName, manifest.length, [manifest]);
  const description = await readFile(join(path, descriptionName));
  await target.write(descriptionName, description.length, [description]);
  await target.finish();
  return { takenAt, files: files.length, bytes };
};

/** A file of the log ends with its frames in the copy: whoever opens it has to make the rest ready again. */
async function* piecesOf(path: string, { path: name, sizeBytes }: SourceFile): Pieces & AsyncGenerator<Buffer> {
  const isLog = walFileSequence(name.split('/')[1]!) !== undefined;
  let isFirst = true;
  try {
    for await (const piece of readPieces(join(path, name), sizeBytes)) {
      if (isFirst && isLog) unmarkPrepared(piece);
      isFirst = false;
      yield piece;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new BrokerError('corrupt', `${join(path, name)} is missing`);
  }
}
