/**
 * Files kept open for reads, the least recently used closed when there are more than `handlesMax`. A file under a read is
 * never closed, so that many are open for a moment as are read at the same time.
 */
import type { Storage, StorageFile } from '../../storage/storage.ts';

interface OpenFile {
  readonly handle: Promise<StorageFile>;
  /** Reads under way, and those that wait for the handle. */
  readonly uses: Set<Promise<unknown>>;
}

const close = (file: OpenFile): Promise<void> => file.handle.then((handle) => handle.close()).catch(() => {});

export class FileHandles {
  readonly #storage: Storage;
  readonly #handlesMax: number;
  /** Least recently used first. */
  readonly #files = new Map<string, OpenFile>();

  constructor(storage: Storage, handlesMax: number) {
    this.#storage = storage;
    this.#handlesMax = handlesMax;
  }

  /** Calls `read` with the file, which stays open until its promise is settled. Rejects as it does, or if the file cannot be opened. */
  async use<Result>(name: string, read: (handle: StorageFile) => Promise<Result>): Promise<Result> {
    const file = this.#take(name);
    const use = file.handle.then(read);
    file.uses.add(use);
    try {
      return await use;
    } finally {
      file.uses.delete(use);
      await this.#closeSurplus();
    }
  }

  #take(name: string): OpenFile {
    let file = this.#files.get(name);
    if (file === undefined) {
      const opened: OpenFile = { handle: this.#storage.open(name, { create: false, durable: false }), uses: new Set() };
      opened.handle.catch(() => {
        if (this.#files.get(name) === opened) this.#files.delete(name);
      });
      file = opened;
    } else {
      this.#files.delete(name);
    }
    this.#files.set(name, file);
    return file;
  }

  async #closeSurplus(): Promise<void> {
    for (const [name, file] of this.#files) {
      if (this.#files.size <= this.#handlesMax) return;
      if (file.uses.size > 0) continue;
      this.#files.delete(name);
      await close(file);
    }
  }

  /** Closes the file once nobody uses it. */
  async close(name: string): Promise<void> {
    const file = this.#files.get(name);
    if (file === undefined) return;
    this.#files.delete(name);
    await Promise.allSettled(file.uses);
    await close(file);
  }

  /** Closes all files once nobody uses them. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((name) => this.close(name)));
  }
}
