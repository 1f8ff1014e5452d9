/**
 * The data directory: DIR/rosettamq.json says what it is and what can never change, DIR/shard-N holds the logs,
 * DIR/broker.N.sock is the lock.
 *
 * The last member of rosettamq.json is the crc32c of all text before it, so that a flipped bit is not taken for another format or
 * another number of shards. A text of format and shards alone is read without one.
 */
import { mkdir, open, readdir, readFile, realpath, rename, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { BrokerError } from '../core/errors.ts';
import { isUnreadable } from '../storage/unreadable-blocks.ts';
import { crc32c } from '../wire/crc32c.ts';
import { ConfigError } from './setting.ts';

/** Says what the directory is. */
export const descriptionName = 'rosettamq.json';
const format = 1;

export interface Description {
  readonly format: number;
  readonly shards: number;
}

/** Creates it if missing and returns its real path. */
export const createDataDirectory = async (path: string): Promise<string> => {
  try {
    await makeDirectory(resolve(path));
    return await realpath(path);
  } catch (error) {
    throw new ConfigError(`data directory ${path}: ${(error as Error).message}`);
  }
};

/**
 * Makes it, a path from the root on, and what is missing above it. `recursive` of mkdir is not used: it never ends in a
 * directory such as /proc, where nothing can be made because "there is no such file or directory".
 */
export const makeDirectory = async (path: string, isParentThere = false): Promise<void> => {
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && (await isDirectory(path))) return;
    if (code !== 'ENOENT' || isParentThere) throw error;
    await makeDirectory(dirname(path));
    await makeDirectory(path, true);
  }
};

const isDirectory = async (path: string): Promise<boolean> => {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
};

/**
 * Checks that this version can open the directory with that many shards; describes a new one. Hold the lock.
 * @throws ConfigError, BrokerError 'corrupt'
 */
export const checkDataDirectory = async (path: string, shards: number): Promise<void> => {
  const description = await readDescription(path);
  if (description === undefined) {
    if ((await readdir(path)).some((name) => name.startsWith('shard-'))) {
      throw new BrokerError('corrupt', `data directory ${path}: there are logs, but ${descriptionName} is missing`);
    }
    await writeDescription(path, { format, shards });
    return;
  }
  requireFormat(path, description);
  if (description.shards !== shards) {
    throw new ConfigError(
      `data directory ${path} was made with shards=${description.shards}, which cannot be changed to ${shards}`,
    );
  }
};

/** @throws ConfigError when another version of the program made the directory */
export const requireFormat = (path: string, description: Description): void => {
  if (description.format === format) return;
  throw new ConfigError(`data directory ${path} has format ${description.format}; this version reads ${format}`);
};

/** Undefined when the directory has none. @throws BrokerError 'corrupt' */
export const readDescription = async (path: string): Promise<Description | undefined> => {
  let text: string;
  try {
    text = await readFile(join(path, descriptionName), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (isUnreadable(error)) throw damaged(path, (error as Error).message);
    throw error;
  }
  return parseDescription(text, path);
};

const damaged = (path: string, what: string): BrokerError =>
  new BrokerError('corrupt', `data directory ${path}: ${descriptionName} is damaged: ${what}`);

const withoutChecksum = /^\{"format":\d+,"shards":\d+\}\n?$/;
const withChecksum = /^(\{"format":\d+,.*),"crc32c":"([0-9a-f]{8})"\}\n$/;

const checksumOf = (text: string): string => {
  const bytes = Buffer.from(text);
  return crc32c(bytes, 0, bytes.length).toString(16).padStart(8, '0');
};

/** What the file in the directory says. @throws BrokerError 'corrupt' */
export const parseDescription = (text: string, path: string): Description => {
  if (withoutChecksum.test(text)) return JSON.parse(text) as Description;
  const [, body, checksum] = withChecksum.exec(text) ?? [];
  if (body === undefined) throw damaged(path, 'it is no description of a data directory');
  if (checksumOf(body) !== checksum) throw damaged(path, 'the checksum does not hold');
  return JSON.parse(text) as Description;
};

const encodeDescription = ({ format, shards }: Description): string => {
  const body = `{"format":${format},"shards":${shards}`;
  return `${body},"crc32c":"${checksumOf(body)}"}\n`;
};

/** There whole or not at all after a crash. */
const writeDescription = async (path: string, description: Description): Promise<void> => {
  const temporary = join(path, `${descriptionName}.tmp`);
  const file = await open(temporary, 'w', 0o640);
  try {
    await file.writeFile(encodeDescription(description));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(path, descriptionName));
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
};
