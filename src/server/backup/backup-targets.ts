/** Where a backup is written to: a directory, a tar file or a stream. What is not finished is never taken for a backup. */
import { once } from 'node:events';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { makeDirectory } from '../data-directory.ts';
import { ConfigError } from '../setting.ts';
import { type Pieces, writeFully } from './pieces.ts';
import { tarEnd, tarHeader, tarPadding } from './tar.ts';

/** After so many bytes a file being written is synced, so that the writes of a broker on the same disk do not wait long. */
const syncBytes = 16 * 1024 * 1024;

export interface BackupTarget {
  /** Writes one file; `pieces` have sizeBytes together. */
  write(path: string, sizeBytes: number, pieces: Pieces): Promise<void>;
  /** Everything is on disk when it resolves. */
  finish(): Promise<void>;
  /** Removes what was written, as far as possible. */
  abandon(): Promise<void>;
}

/** Makes names in a directory durable. */
export const syncDirectory = async (path: string): Promise<void> => {
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
};

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

export class DirectoryTarget implements BackupTarget {
  readonly #path: string;
  readonly #wasThere: boolean;
  /** Of the folders and files at the top. */
  readonly #names = new Set<string>();

  private constructor(path: string, wasThere: boolean) {
    this.#path = path;
    this.#wasThere = wasThere;
  }

  /** @throws ConfigError when there is something in it */
  static async open(path: string): Promise<DirectoryTarget> {
    let names: string[] | undefined;
    try {
      names = await readdir(path);
    } catch (error) {
      if (!isMissing(error)) throw new ConfigError(`${path}: ${(error as Error).message}`);
    }
    if (names !== undefined && names.length > 0) throw new ConfigError(`${path} is not empty`);
    try {
      await makeDirectory(resolve(path));
    } catch (error) {
      throw new ConfigError(`${path}: ${(error as Error).message}`);
    }
    return new DirectoryTarget(path, names !== undefined);
  }

  async write(path: string, _sizeBytes: number, pieces: Pieces): Promise<void> {
    const [name] = path.split('/');
    const isNew = !this.#names.has(name!);
    this.#names.add(name!);
    if (name !== path && isNew) await mkdir(join(this.#path, name!));
    const file = await open(join(this.#path, path), 'wx', 0o640);
    try {
      let unsyncedBytes = 0;
      for await (const piece of pieces) {
        await writeFully(file, piece);
        unsyncedBytes += piece.length;
        if (unsyncedBytes < syncBytes) continue;
        await file.datasync();
        unsyncedBytes = 0;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    // What is written next says that this is there.
    if (name === path) await this.#syncNames();
  }

  async #syncNames(): Promise<void> {
    for (const name of this.#names) if (!name.includes('.')) await syncDirectory(join(this.#path, name));
    await syncDirectory(this.#path);
  }

  async finish(): Promise<void> {
    await this.#syncNames();
    await syncDirectory(dirname(resolve(this.#path)));
  }

  async abandon(): Promise<void> {
    for (const name of this.#names) await rm(join(this.#path, name), { recursive: true, force: true });
    if (!this.#wasThere) await rm(this.#path, { recursive: true, force: true });
  }
}

/** Writes a tar through `write`. */
class TarTarget implements BackupTarget {
  readonly #write: (bytes: Buffer) => Promise<void>;
  readonly #finish: () => Promise<void>;
  readonly abandon: () => Promise<void>;

  constructor(write: (bytes: Buffer) => Promise<void>, finish: () => Promise<void>, abandon: () => Promise<void>) {
    this.#write = write;
    this.#finish = finish;
    this.abandon = abandon;
  }

  async write(path: string, sizeBytes: number, pieces: Pieces): Promise<void> {
    await this.#write(tarHeader(path, sizeBytes, Date.now()));
    for await (const piece of pieces) await this.#write(piece);
    await this.#write(tarPadding(sizeBytes));
  }

  async finish(): Promise<void> {
    await this.#write(tarEnd());
    await this.#finish();
  }
}

/** Until it is whole the tar has the name FILE.partial. @throws ConfigError when FILE exists */
export const tarFileTarget = async (path: string): Promise<BackupTarget> => {
  const exists = await open(path, 'r').then(
    async (file) => {
      await file.close();
      return true;
    },
    (error: unknown) => !isMissing(error),
  );
  if (exists) throw new ConfigError(`${path} exists already`);
  const partial = `${path}.partial`;
  const file = await open(partial, 'w', 0o640);
  let unsyncedBytes = 0;
  const write = async (bytes: Buffer): Promise<void> => {
    await writeFully(file, bytes);
    unsyncedBytes += bytes.length;
    if (unsyncedBytes < syncBytes) return;
    await file.datasync();
    unsyncedBytes = 0;
  };
  const finish = async (): Promise<void> => {
    await file.sync();
    await file.close();
    await rename(partial, path);
    await syncDirectory(dirname(resolve(path)));
  };
  const abandon = async (): Promise<void> => {
    await file.close().catch(() => {});
    await rm(partial, { force: true });
  };
  return new TarTarget(write, finish, abandon);
};

/** Whoever reads the stream decides what becomes of it. */
export const tarStreamTarget = (stream: Writable): BackupTarget => {
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure ??= error;
  });
  const write = async (bytes: Buffer): Promise<void> => {
    if (failure !== undefined) throw failure;
    // A copy: the piece is used again before a pipe has taken it.
    if (bytes.length > 0 && !stream.write(Buffer.from(bytes))) await once(stream, 'drain');
  };
  const finish = (): Promise<void> =>
    new Promise((done, fail) => stream.write('', (error) => (error ? fail(error) : done())));
  return new TarTarget(write, finish, async () => {});
};
