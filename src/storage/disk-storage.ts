/**
 * Storage on the file system. A durable file is opened O_DSYNC: one system call per write instead of write + fdatasync,
 * which on files that already exist in full saves a journal commit. Where O_DSYNC is missing (Windows) or does not flush
 * the drive (macOS) the write is followed by fdatasync, which libuv maps to the right call.
 *
 * Writes use the callback API: one per group commit, and the promise API costs several objects and two turns per call.
 */
import * as fs from 'node:fs';
import { mkdir, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { OpenOptions, Storage, StorageFile } from './storage.ts';

/** 0 where durable writes need an explicit fdatasync. */
const durableFlag: number = process.platform === 'linux' ? (fs.constants.O_DSYNC ?? 0) : 0;

/**
 * Reads of this process that are under way. The thread pool has four threads by default, for everything: however many readers are
 * behind, a write of the log is to find one.
 */
const readsMax = 3;
let readCount = 0;
const waitingReads: (() => void)[] = [];

const beginRead = (read: () => void): void => {
  if (readCount === readsMax) {
    waitingReads.push(read);
    return;
  }
  readCount++;
  read();
};

const endRead = (): void => {
  const next = waitingReads.shift();
  if (next === undefined) readCount--;
  else next();
};

class DiskFile implements StorageFile {
  readonly name: string;
  readonly #descriptor: number;
  readonly #syncEachWrite: boolean;

  constructor(name: string, descriptor: number, syncEachWrite: boolean) {
    this.name = name;
    this.#descriptor = descriptor;
    this.#syncEachWrite = syncEachWrite;
  }

  write(
    buffer: Buffer,
    start: number,
    lengthBytes: number,
    position: number,
    done: (error: Error | null) => void,
  ): void {
    fs.write(this.#descriptor, buffer, start, lengthBytes, position, (error, writtenBytes) => {
      if (error) {
        done(error);
      } else if (writtenBytes === lengthBytes) {
        if (this.#syncEachWrite) fs.fdatasync(this.#descriptor, done);
        else done(null);
      } else if (writtenBytes === 0) {
        done(new Error(`write to ${this.name} made no progress`));
      } else {
        this.write(buffer, start + writtenBytes, lengthBytes - writtenBytes, position + writtenBytes, done);
      }
    });
  }

  read(buffer: Buffer, start: number, lengthBytes: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const readFrom = (doneBytes: number): void => {
        fs.read(
          this.#descriptor,
          buffer,
          start + doneBytes,
          lengthBytes - doneBytes,
          position + doneBytes,
          (error, readBytes) => {
            if (!error && readBytes > 0 && doneBytes + readBytes < lengthBytes) {
              readFrom(doneBytes + readBytes);
              return;
            }
            endRead();
            if (error) reject(error);
            else resolve(doneBytes + readBytes);
          },
        );
      };
      if (lengthBytes === 0) resolve(0);
      else beginRead(() => readFrom(0));
    });
  }

  sizeBytes(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#descriptor, (error, stats) => (error ? reject(error) : resolve(stats.size)));
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call((done) => fs.ftruncate(this.#descriptor, sizeBytes, done));
  }

  sync(): Promise<void> {
    return this.#call((done) => fs.fdatasync(this.#descriptor, done));
  }

  close(): Promise<void> {
    return this.#call((done) => fs.close(this.#descriptor, done));
  }

  #call(operation: (done: (error: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      operation((error) => (error ? reject(error) : resolve()));
    });
  }
}

export class DiskStorage implements Storage {
  readonly #path: string;
  readonly #isReadOnly: boolean;

  private constructor(path: string, isReadOnly: boolean) {
    this.#path = path;
    this.#isReadOnly = isReadOnly;
  }

  /** A storage for the names in one directory, created if missing. */
  static async at(path: string): Promise<DiskStorage> {
    await mkdir(path, { recursive: true });
    return new DiskStorage(path, false);
  }

  /** A storage that opens files for reading only and creates no directory. */
  static readOnly(path: string): DiskStorage {
    return new DiskStorage(path, true);
  }

  async open(name: string, options: OpenOptions): Promise<StorageFile> {
    const flags = this.#isReadOnly
      ? fs.constants.O_RDONLY
      : fs.constants.O_RDWR | (options.create ? fs.constants.O_CREAT : 0) | (options.durable ? durableFlag : 0);
    const descriptor = await new Promise<number>((resolve, reject) => {
      fs.open(join(this.#path, name), flags, 0o640, (error, opened) => (error ? reject(error) : resolve(opened)));
    });
    return new DiskFile(name, descriptor, options.durable && durableFlag === 0);
  }

  async list(): Promise<string[]> {
    const entries = await readdir(this.#path, { withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
  }

  rename(from: string, to: string): Promise<void> {
    return rename(join(this.#path, from), join(this.#path, to));
  }

  remove(name: string): Promise<void> {
    return unlink(join(this.#path, name));
  }

  async syncDirectory(): Promise<void> {
    if (process.platform === 'win32') return;
    const directory = await open(this.#path, fs.constants.O_RDONLY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  async freeBytes(): Promise<number> {
    const { blocks, bavail, bsize } = await statfs(this.#path);
    // Some file systems do not tell their size.
    return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
  }

  async subdirectory(name: string): Promise<Storage> {
    if (this.#isReadOnly) return DiskStorage.readOnly(join(this.#path, name));
    const created = await DiskStorage.at(join(this.#path, name));
    await this.syncDirectory();
    return created;
  }
}
