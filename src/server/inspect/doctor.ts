/**
 * `rosettamq doctor`: is this machine a good place for a data directory? Needs no broker and disturbs none: of the directory it
 * reads names and sizes, and it writes a temporary file of its own. What only Linux tells is said to be unknown elsewhere.
 */
import { readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { type Description, readDescription, requireFormat } from '../data-directory.ts';
import { connectToOwner } from '../lock.ts';
import { ConfigError } from '../setting.ts';
import {
  type Check,
  checkDiskTimes,
  checkDurability,
  checkMemory,
  checkNode,
  checkOpenFiles,
  checkProcessors,
  checkSpace,
} from './checks.ts';
import { probeDisk } from './disk-probe.ts';
import { fileSystemOf } from './file-systems.ts';

/** All checks, for a broker with this configuration. Takes seconds on a slow disk. */
export const examine = async (config: Config): Promise<Check[]> => {
  const configured = resolve(config.text('data'));
  const path = await nearestExisting(configured);
  const { check: directory, description } = await checkDirectory(configured, path, config);
  const shards = description?.shards ?? config.integer('shards');
  const walBytesMax = config.integer('storage.wal.bytes.max');
  const numbers = { shards, walBytesMax };
  return [
    directory,
    await checkOwner(path),
    await attempt('file system', () => checkFileSystem(path)),
    ...(await attemptAll('synced writes', async () => checkDiskTimes(await probeDisk(path)))),
    await attempt('free space', async () => {
      const { bavail, bsize } = await statfs(path);
      return checkSpace({ ...numbers, freeBytes: bavail * bsize, walBytesThere: await walBytesIn(path) });
    }),
    checkOpenFiles({ ...numbers, limit: await openFilesLimit(), connectionsMax: config.integer('connections.max') }),
    checkMemory({
      shards,
      machineBytes: totalmem(),
      constrainedBytes: process.constrainedMemory() || Number.MAX_VALUE,
    }),
    checkNode(process.versions.node),
    checkProcessors(availableParallelism()),
    checkDurability(config.text('durability'), config.boolean('memory')),
  ];
};

/** An error of the system is what the check has found. */
const attemptAll = async (name: string, check: () => Promise<Check[]>): Promise<Check[]> => {
  try {
    return await check();
  } catch (error) {
    return [{ name, status: 'fail', text: (error as Error).message }];
  }
};

const attempt = async (name: string, check: () => Promise<Check>): Promise<Check> =>
  (await attemptAll(name, async () => [await check()]))[0]!;

/** The directory, or the one in which it will be made. @throws ConfigError when it cannot be looked at */
const nearestExisting = async (path: string): Promise<string> => {
  try {
    return await realpath(path);
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path) {
      throw new ConfigError(`data directory ${path}: ${(error as Error).message}`);
    }
    return nearestExisting(parent);
  }
};

const checkDirectory = async (
  configured: string,
  path: string,
  config: Config,
): Promise<{ check: Check; description?: Description }> => {
  const name = 'directory';
  try {
    await stat(configured);
  } catch {
    return {
      check: { name, status: 'ok', text: `${configured} does not exist yet; looking at ${path}`, values: { path } },
    };
  }
  try {
    const description = await readDescription(path);
    if (description === undefined) {
      return { check: { name, status: 'ok', text: `${path}, not used by a broker yet`, values: { path } } };
    }
    requireFormat(path, description);
    const { format, shards } = description;
    const values = { path, format, shards };
    const text = `${path}, format ${format}, shards ${shards}`;
    const isOther = config.has('shards') && config.integer('shards') !== shards;
    const refusal = `; the configuration has shards=${config.integer('shards')}, which cannot be changed`;
    return {
      check: { name, status: isOther ? 'fail' : 'ok', text: isOther ? text + refusal : text, values },
      description,
    };
  } catch (error) {
    return { check: { name, status: 'fail', text: (error as Error).message, values: { path } } };
  }
};

const checkOwner = async (path: string): Promise<Check> => {
  const name = 'broker';
  try {
    const socket = await connectToOwner(path);
    socket?.destroy();
    const isRunning = socket !== undefined;
    const text = isRunning
      ? 'one runs on the directory: times are measured beside its work'
      : 'none runs on the directory';
    return { name, status: 'ok', text, values: { isRunning } };
  } catch (error) {
    return { name, status: 'warn', text: `the lock cannot be asked: ${(error as Error).message}` };
  }
};

const checkFileSystem = async (path: string): Promise<Check> => {
  const name = 'file system';
  if (process.platform !== 'linux') return { name, status: 'ok', text: 'its kind is not known on this system' };
  const { name: kind, warning } = fileSystemOf((await statfs(path)).type);
  const values = { kind };
  return warning === undefined
    ? { name, status: 'ok', text: kind, values }
    : { name, status: 'warn', text: `${kind}: ${warning}`, values };
};

/** Bytes of all log files in the data directory. */
const walBytesIn = async (path: string): Promise<number> => {
  let sumBytes = 0;
  for (const folder of await readdir(path)) {
    if (!/^shard-\d+$/.test(folder)) continue;
    for (const name of await readdir(join(path, folder))) {
      if (!name.startsWith('wal-')) continue;
      // It may be renamed meanwhile, when a broker runs.
      sumBytes += await stat(join(path, folder, name)).then(
        ({ size }) => size,
        () => 0,
      );
    }
  }
  return sumBytes;
};

/** The limit of this process, which Node.js has raised as far as it may; undefined where it cannot be known. */
const openFilesLimit = async (): Promise<number | undefined> => {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(soft);
};
