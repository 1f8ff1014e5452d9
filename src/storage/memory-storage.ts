/**
 * Storage in memory, for brokers that live inside a test process and for crash tests. Beside the contents, as a reader of
 * the page cache would see them, it keeps for every 4 KiB page written since the last sync what the disk still holds;
 * likewise for file sizes and for creations, renames and removals since the last syncDirectory(). `disk.crash(seed)` turns
 * that into what a machine finds after a power cut (make a new MemoryStorage over the same disk then):
 * - of pages not synced, each 512 B sector is old or new, at random;
 * - a write still under way, durable or not, is there in part, cut at sectors or at any byte;
 * - of the directory operations not synced a random beginning is kept (a journaling file system keeps their order);
 * - what a sync gave up that failed (FaultyStorage) is as it was before;
 * - the storage that crashed never answers again.
 *
 * Bytes are held sparsely: a stretch that was never written, or only with zeros, costs nothing (but written zeros count
 * against the disk's capacity). Synced pages are whole pages, so a durable write takes the rest of its page along, as on a
 * real disk.
 */
import type { OpenOptions, Storage, StorageFile } from './storage.ts';

const extentBytes = 64 * 1024;
const pageBytes = 4096;
const sectorBytes = 512;
const zeroPage = Buffer.alloc(pageBytes);

/** A small generator whose sequence depends on the seed alone (mulberry32); results in [0, 1). */
export const seededRandom = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
};

class Inode {
  sizeBytes = 0;
  durableSizeBytes = 0;
  readonly #extents = new Map<number, Buffer>();
  /** Numbers of the pages that were written to, if only with zeros. */
  readonly #taken = new Set<number>();
  /** What the disk holds of each page that differs (or may differ) from #extents. */
  readonly #onDisk = new Map<number, Buffer>();
  /** The same for pages that a failed sync has given up: only writing them again brings them to the disk. */
  readonly #lost = new Map<number, Buffer>();

  get takenBytes(): number {
    return this.#taken.size * pageBytes;
  }

  /** What of the disk a write would take that the file does not have yet. */
  missingBytes(position: number, lengthBytes: number): number {
    let bytes = 0;
    for (let page = Math.floor(position / pageBytes); page * pageBytes < position + lengthBytes; page++) {
      if (!this.#taken.has(page)) bytes += pageBytes;
    }
    return bytes;
  }

  readInto(target: Buffer, start: number, lengthBytes: number, position: number): number {
    const available = Math.max(0, Math.min(lengthBytes, this.sizeBytes - position));
    for (let done = 0; done < available; ) {
      const within = (position + done) % extentBytes;
      const part = Math.min(available - done, extentBytes - within);
      const extent = this.#extents.get(Math.floor((position + done) / extentBytes));
      if (extent === undefined) target.fill(0, start + done, start + done + part);
      else extent.copy(target, start + done, within, within + part);
      done += part;
    }
    return available;
  }

  write(source: Buffer, start: number, lengthBytes: number, position: number): void {
    for (let done = 0; done < lengthBytes; ) {
      const page = Math.floor((position + done) / pageBytes);
      const within = (position + done) % pageBytes;
      const part = Math.min(lengthBytes - done, pageBytes - within);
      if (!this.#onDisk.has(page)) this.#onDisk.set(page, this.#lost.get(page) ?? this.#pageCopy(page));
      this.#lost.delete(page);
      this.#taken.add(page);
      this.#writeWithinPage(source, start + done, part, position + done);
      done += part;
    }
    this.sizeBytes = Math.max(this.sizeBytes, position + lengthBytes);
  }

  syncRange(position: number, lengthBytes: number): void {
    const last = Math.floor((position + lengthBytes - 1) / pageBytes);
    for (let page = Math.floor(position / pageBytes); page <= last; page++) this.#onDisk.delete(page);
    this.durableSizeBytes = Math.max(this.durableSizeBytes, Math.min(this.sizeBytes, position + lengthBytes));
  }

  sync(): void {
    this.#onDisk.clear();
    this.durableSizeBytes = this.sizeBytes;
  }

  loseUnsynced(): void {
    for (const [page, old] of this.#onDisk) this.#lost.set(page, old);
    this.#onDisk.clear();
  }

  truncate(sizeBytes: number): void {
    for (let at = sizeBytes; at < this.sizeBytes; ) {
      const part = Math.min(this.sizeBytes - at, pageBytes - (at % pageBytes));
      this.write(zeroPage, 0, part, at);
      at += part;
    }
    this.sizeBytes = sizeBytes;
    for (const page of this.#taken) if (page * pageBytes >= sizeBytes) this.#taken.delete(page);
  }

  /** Becomes what a power cut leaves. */
  crash(random: () => number): void {
    const keepShare = random() < 0.3 ? Math.round(random()) : random();
    for (const [page, old] of this.#onDisk) {
      for (let at = 0; at < pageBytes; at += sectorBytes) {
        if (random() >= keepShare) this.#writeWithinPage(old, at, sectorBytes, page * pageBytes + at);
      }
    }
    for (const [page, old] of this.#lost) this.#writeWithinPage(old, 0, pageBytes, page * pageBytes);
    this.#lost.clear();
    if (random() < 0.5) this.sizeBytes = this.durableSizeBytes;
    this.sync();
  }

  #pageCopy(page: number): Buffer {
    const extent = this.#extents.get(Math.floor((page * pageBytes) / extentBytes));
    if (extent === undefined) return zeroPage;
    const within = (page * pageBytes) % extentBytes;
    return Buffer.from(extent.subarray(within, within + pageBytes));
  }

  #writeWithinPage(source: Buffer, start: number, lengthBytes: number, position: number): void {
    const index = Math.floor(position / extentBytes);
    let extent = this.#extents.get(index);
    if (extent === undefined) {
      if (zeroPage.compare(source, start, start + lengthBytes, 0, lengthBytes) === 0) return;
      extent = Buffer.alloc(extentBytes);
      this.#extents.set(index, extent);
    }
    source.copy(extent, position % extentBytes, start, start + lengthBytes);
  }
}

interface PendingWrite {
  readonly inode: Inode;
  readonly buffer: Buffer;
  readonly start: number;
  readonly lengthBytes: number;
  readonly position: number;
}

type Names = Map<string, Inode>;

class Directory {
  names: Names = new Map();
  /** What the names are on disk, and the operations since then, in order. */
  #durableNames: Names = new Map();
  #pendingOperations: Array<(names: Names) => void> = [];

  apply(operation: (names: Names) => void): void {
    operation(this.names);
    this.#pendingOperations.push(operation);
  }

  sync(): void {
    this.#durableNames = new Map(this.names);
    this.#pendingOperations = [];
  }

  crash(random: () => number): void {
    const keptCount = Math.floor(random() * (this.#pendingOperations.length + 1));
    for (const operation of this.#pendingOperations.slice(0, keptCount)) operation(this.#durableNames);
    this.names = new Map(this.#durableNames);
    this.#pendingOperations = [];
  }
}

const nextTurn = (end: () => void): void => void setImmediate(end);

/** One file system: what the storages of all its directories share. It outlives them, as a disk does. */
export class MemoryDisk {
  /** Of the files together, in whole pages; a write beyond it fails with ENOSPC. */
  capacityBytes: number;
  /** Sets the end of an operation going: whoever gives another one decides when, and in what order, operations end. */
  readonly schedule: (end: () => void) => void;
  readonly pendingWrites = new Set<PendingWrite>();
  readonly #directories = new Map<string, Directory>();
  /** Grows with each crash; a storage of an earlier generation is dead. */
  generation = 0;

  constructor(capacityBytes: number = Number.POSITIVE_INFINITY, schedule = nextTurn) {
    this.capacityBytes = capacityBytes;
    this.schedule = schedule;
  }

  get freeBytes(): number {
    if (this.capacityBytes === Number.POSITIVE_INFINITY) return this.capacityBytes;
    const inodes = new Set([...this.#directories.values()].flatMap(({ names }) => [...names.values()]));
    return this.capacityBytes - [...inodes].reduce((sum, { takenBytes }) => sum + takenBytes, 0);
  }

  directory(path: string): Directory {
    let directory = this.#directories.get(path);
    if (directory === undefined) {
      directory = new Directory();
      this.#directories.set(path, directory);
    }
    return directory;
  }

  /** Becomes what a power cut leaves, with all storages over it dead. */
  crash(seed: number): void {
    const random = seededRandom(seed);
    this.generation++;
    for (const pending of this.pendingWrites) applyTorn(pending, random);
    this.pendingWrites.clear();
    const inodes = new Set<Inode>();
    for (const directory of this.#directories.values()) {
      directory.crash(random);
      for (const inode of directory.names.values()) inodes.add(inode);
    }
    for (const inode of inodes) inode.crash(random);
  }

  /** The process dies and the machine lives: what was written stays, what was under way is torn. */
  killProcess(seed: number): void {
    const random = seededRandom(seed);
    this.generation++;
    for (const pending of this.pendingWrites) applyTorn(pending, random);
    this.pendingWrites.clear();
  }
}

/** A write cut off by a crash: a beginning of it, all of it, nothing, or some sectors anywhere. */
const applyTorn = ({ inode, buffer, start, lengthBytes, position }: PendingWrite, random: () => number): void => {
  const dice = random();
  if (dice < 0.6) {
    const doneBytes = dice < 0.2 ? lengthBytes : Math.floor(random() * (lengthBytes + 1));
    if (doneBytes > 0) inode.write(buffer, start, doneBytes, position);
    return;
  }
  for (let done = 0; done < lengthBytes; ) {
    const part = Math.min(lengthBytes - done, sectorBytes - ((position + done) % sectorBytes));
    if (random() < 0.5) inode.write(buffer, start + done, part, position + done);
    done += part;
  }
};

const missing = (name: string): Error => Object.assign(new Error(`ENOENT: no such file: ${name}`), { code: 'ENOENT' });

const full = (name: string): Error =>
  Object.assign(new Error(`ENOSPC: no space left on the disk, write '${name}'`), { code: 'ENOSPC' });

/** Completes operations when the disk's schedule says so, unless the disk has crashed since. */
class Session {
  readonly disk: MemoryDisk;
  readonly #generation: number;

  constructor(disk: MemoryDisk) {
    this.disk = disk;
    this.#generation = disk.generation;
  }

  get isDead(): boolean {
    return this.#generation !== this.disk.generation;
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.disk.schedule(() => {
        if (!this.isDead) resolve();
      });
    });
  }
}

export class MemoryFile implements StorageFile {
  readonly name: string;
  readonly #session: Session;
  readonly #inode: Inode;
  readonly #durable: boolean;

  constructor(session: Session, name: string, inode: Inode, durable: boolean) {
    this.#session = session;
    this.name = name;
    this.#inode = inode;
    this.#durable = durable;
  }

  write(
    buffer: Buffer,
    start: number,
    lengthBytes: number,
    position: number,
    done: (error: Error | null) => void,
  ): void {
    if (this.#session.isDead) return;
    const { pendingWrites, schedule } = this.#session.disk;
    const pending: PendingWrite = { inode: this.#inode, buffer, start, lengthBytes, position };
    pendingWrites.add(pending);
    schedule(() => {
      if (this.#session.isDead) return;
      pendingWrites.delete(pending);
      if (this.#inode.missingBytes(position, lengthBytes) > this.#session.disk.freeBytes) {
        done(full(this.name));
        return;
      }
      this.#inode.write(buffer, start, lengthBytes, position);
      if (this.#durable) this.#inode.syncRange(position, lengthBytes);
      done(null);
    });
  }

  async read(buffer: Buffer, start: number, lengthBytes: number, position: number): Promise<number> {
    await this.#session.turn();
    return this.#inode.readInto(buffer, start, lengthBytes, position);
  }

  async sizeBytes(): Promise<number> {
    await this.#session.turn();
    return this.#inode.sizeBytes;
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#session.turn();
    this.#inode.truncate(sizeBytes);
  }

  async sync(): Promise<void> {
    await this.#session.turn();
    this.#inode.sync();
  }

  /** As a sync that fails may: what was written since the last one is read as before, but no later sync brings it to the disk. */
  loseUnsynced(): void {
    this.#inode.loseUnsynced();
  }

  async close(): Promise<void> {
    await this.#session.turn();
  }
}

export class MemoryStorage implements Storage {
  readonly #session: Session;
  readonly #path: string;
  readonly #directory: Directory;

  /** A view of `disk`; after a crash of the disk a new view is needed. */
  constructor(disk: MemoryDisk = new MemoryDisk(), path = '') {
    this.#session = new Session(disk);
    this.#path = path;
    this.#directory = disk.directory(path);
  }

  get disk(): MemoryDisk {
    return this.#session.disk;
  }

  async open(name: string, options: OpenOptions): Promise<StorageFile> {
    await this.#session.turn();
    let inode = this.#directory.names.get(name);
    if (inode === undefined) {
      if (!options.create) throw missing(name);
      const created = new Inode();
      this.#directory.apply((names) => names.set(name, created));
      inode = created;
    }
    return new MemoryFile(this.#session, name, inode, options.durable);
  }

  async list(): Promise<string[]> {
    await this.#session.turn();
    return [...this.#directory.names.keys()];
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#session.turn();
    if (!this.#directory.names.has(from)) throw missing(from);
    this.#directory.apply((names) => {
      const inode = names.get(from);
      if (inode === undefined) return;
      names.delete(from);
      names.set(to, inode);
    });
  }

  async remove(name: string): Promise<void> {
    await this.#session.turn();
    if (!this.#directory.names.has(name)) throw missing(name);
    this.#directory.apply((names) => names.delete(name));
  }

  async syncDirectory(): Promise<void> {
    await this.#session.turn();
    this.#directory.sync();
  }

  async freeBytes(): Promise<number> {
    return this.disk.freeBytes;
  }

  async subdirectory(name: string): Promise<Storage> {
    await this.#session.turn();
    return new MemoryStorage(this.#session.disk, `${this.#path}/${name}`);
  }
}
