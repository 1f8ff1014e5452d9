/**
 * The port to the file system. Adapters: `disk-storage.ts` (real files), `memory-storage.ts` (in-process brokers, model
 * of the page cache in crash tests), `faulty-storage.ts` (injects errors and crashes). Names are flat within one storage.
 */
export interface StorageFile {
  readonly name: string;
  /**
   * Writes buffer[start, start + lengthBytes) at `position`, all of it or an error. In a file opened `durable` the
   * callback without error means that the bytes are on disk. The buffer must not change before the callback.
   */
  write(
    buffer: Buffer,
    start: number,
    lengthBytes: number,
    position: number,
    done: (error: Error | null) => void,
  ): void;
  /** Reads up to lengthBytes into buffer at start; returns the number of bytes read (fewer only at the end of the file). */
  read(buffer: Buffer, start: number, lengthBytes: number, position: number): Promise<number>;
  sizeBytes(): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** Create it if missing. */
  readonly create: boolean;
  /** Every write is on disk before it is called back (O_DSYNC). */
  readonly durable: boolean;
}

export interface Storage {
  open(name: string, options: OpenOptions): Promise<StorageFile>;
  list(): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Makes creations, renames and removals durable. */
  syncDirectory(): Promise<void>;
  /** Bytes that can still be written, Infinity if unknown. */
  freeBytes(): Promise<number>;
  /** A storage for names below `name`, created if missing. */
  subdirectory(name: string): Promise<Storage>;
}
