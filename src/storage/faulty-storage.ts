/**
 * A storage that fails on command, over any other. Operations are numbered from 1 in the order of their start, over all
 * files, so that a test can run once to count them and then once more per operation with that one failing.
 */
import { MemoryFile } from './memory-storage.ts';
import type { OpenOptions, Storage, StorageFile } from './storage.ts';

export type StorageOperation =
  | 'open'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'close'
  | 'list'
  | 'rename'
  | 'remove'
  | 'sync-directory';

export interface Fault {
  /** Which operations count; all of them if absent. */
  readonly operation?: StorageOperation;
  /** Only operations on names that match count. */
  readonly name?: RegExp;
  /** Only reads of any of these bytes of the file count, as of sectors that are bad. */
  readonly bytes?: ByteRange;
  /** The first operation to fail among those that count, from 1. */
  readonly nth: number;
  /** How many fail from there on; 1 if absent, Infinity until heal(). */
  readonly times?: number;
  /**
   * - error: it fails and nothing was done.
   * - short: a write fails after a part of it was done; a read ends too early.
   * - late: it is done, and fails nevertheless.
   * - lost: a sync fails, and what it was to bring to the disk never gets there unless it is written again, although a later sync
   *   succeeds: as on Linux. Over a disk in memory only.
   * - crash: nothing is done, and from there on nothing answers any more.
   */
  readonly effect: 'error' | 'short' | 'late' | 'lost' | 'crash';
  readonly code?: 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EMFILE';
}

interface ByteRange {
  readonly start: number;
  readonly end: number;
}

interface Armed {
  readonly fault: Fault;
  seen: number;
}

/** State shared by a FaultyStorage, its files and its subdirectories. */
class Plan {
  armed: Armed[] = [];
  operationCount = 0;
  hasCrashed = false;
  onCrash: () => void = () => {};
  readonly trace: string[] = [];

  next(operation: StorageOperation, name: string, read?: ByteRange): Fault | undefined {
    this.operationCount++;
    this.trace.push(`${operation} ${name}`);
    for (const armed of this.armed) {
      const { fault } = armed;
      if (fault.operation !== undefined && fault.operation !== operation) continue;
      if (fault.name !== undefined && !fault.name.test(name)) continue;
      if (fault.bytes !== undefined && !(read !== undefined && touches(fault.bytes, read))) continue;
      armed.seen++;
      if (armed.seen < fault.nth || armed.seen >= fault.nth + (fault.times ?? 1)) continue;
      if (fault.effect === 'crash') {
        this.hasCrashed = true;
        this.onCrash();
      }
      return fault;
    }
    return undefined;
  }

  /** @param lose what the effect 'lost' does */
  async run<Result>(
    operation: StorageOperation,
    name: string,
    action: () => Promise<Result>,
    lose = (): void => {},
  ): Promise<Result> {
    if (this.hasCrashed) return never();
    return await this.answer(this.next(operation, name), operation, name, action, lose);
  }

  async answer<Result>(
    fault: Fault | undefined,
    operation: StorageOperation,
    name: string,
    action: () => Promise<Result>,
    lose = (): void => {},
  ): Promise<Result> {
    if (fault === undefined) {
      const result = await action();
      return this.hasCrashed ? never() : result;
    }
    if (fault.effect === 'crash') return never();
    if (fault.effect === 'late') await action();
    if (fault.effect === 'lost') lose();
    throw faultError(fault, operation, name);
  }
}

const touches = (range: ByteRange, other: ByteRange): boolean => range.start < other.end && other.start < range.end;

const never = (): Promise<never> => new Promise(() => {});

const faultError = (fault: Fault, operation: StorageOperation, name: string): Error => {
  const code = fault.code ?? 'EIO';
  return Object.assign(new Error(`${code}: injected, ${operation} '${name}'`), { code });
};

class FaultyFile implements StorageFile {
  readonly #file: StorageFile;
  readonly #plan: Plan;

  constructor(file: StorageFile, plan: Plan) {
    this.#file = file;
    this.#plan = plan;
  }

  get name(): string {
    return this.#file.name;
  }

  write(
    buffer: Buffer,
    start: number,
    lengthBytes: number,
    position: number,
    done: (error: Error | null) => void,
  ): void {
    const plan = this.#plan;
    if (plan.hasCrashed) return;
    const answer = (error: Error | null): void => {
      if (!plan.hasCrashed) done(error);
    };
    const fault = plan.next('write', this.name);
    if (fault === undefined) {
      this.#file.write(buffer, start, lengthBytes, position, answer);
      return;
    }
    if (fault.effect === 'crash') return;
    const error = faultError(fault, 'write', this.name);
    const partBytes = fault.effect === 'late' ? lengthBytes : fault.effect === 'short' ? lengthBytes >>> 1 : 0;
    if (partBytes === 0) setImmediate(answer, error);
    else this.#file.write(buffer, start, partBytes, position, () => answer(error));
  }

  read(buffer: Buffer, start: number, lengthBytes: number, position: number): Promise<number> {
    const plan = this.#plan;
    if (plan.hasCrashed) return never();
    const read = (bytes: number): Promise<number> => this.#file.read(buffer, start, bytes, position);
    const fault = plan.next('read', this.name, { start: position, end: position + lengthBytes });
    if (fault?.effect === 'short') return read(lengthBytes >>> 1);
    return plan.answer(fault, 'read', this.name, () => read(lengthBytes));
  }

  sizeBytes(): Promise<number> {
    return this.#plan.run('read', this.name, () => this.#file.sizeBytes());
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#plan.run('truncate', this.name, () => this.#file.truncate(sizeBytes));
  }

  sync(): Promise<void> {
    const lose = (): void => {
      if (this.#file instanceof MemoryFile) this.#file.loseUnsynced();
    };
    return this.#plan.run('sync', this.name, () => this.#file.sync(), lose);
  }

  close(): Promise<void> {
    return this.#plan.run('close', this.name, () => this.#file.close());
  }
}

export class FaultyStorage implements Storage {
  readonly #storage: Storage;
  readonly #plan: Plan;

  constructor(storage: Storage, plan: Plan = new Plan()) {
    this.#storage = storage;
    this.#plan = plan;
  }

  /** Adds a fault; its counting starts now. */
  inject(fault: Fault): void {
    this.#plan.armed.push({ fault, seen: 0 });
  }

  /** Removes all faults. A crash stays. */
  heal(): void {
    this.#plan.armed = [];
  }

  /** Called at the moment a crash fault strikes. */
  set onCrash(callback: () => void) {
    this.#plan.onCrash = callback;
  }

  get operationCount(): number {
    return this.#plan.operationCount;
  }

  /** Operation and name of all that was started, in order. */
  get trace(): readonly string[] {
    return this.#plan.trace;
  }

  async open(name: string, options: OpenOptions): Promise<StorageFile> {
    const file = await this.#plan.run('open', name, () => this.#storage.open(name, options));
    return new FaultyFile(file, this.#plan);
  }

  list(): Promise<string[]> {
    return this.#plan.run('list', '', () => this.#storage.list());
  }

  rename(from: string, to: string): Promise<void> {
    return this.#plan.run('rename', from, () => this.#storage.rename(from, to));
  }

  remove(name: string): Promise<void> {
    return this.#plan.run('remove', name, () => this.#storage.remove(name));
  }

  syncDirectory(): Promise<void> {
    return this.#plan.run('sync-directory', '', () => this.#storage.syncDirectory());
  }

  freeBytes(): Promise<number> {
    return this.#storage.freeBytes();
  }

  async subdirectory(name: string): Promise<Storage> {
    return new FaultyStorage(await this.#storage.subdirectory(name), this.#plan);
  }
}
