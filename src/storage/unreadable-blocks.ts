/**
 * Reads around bad sectors. A stretch that the system cannot read (EIO) is read again in blocks: what of it cannot be read is
 * zeros in memory and is remembered. So checksums find it as they find other damage, as little as possible is lost with it, and
 * whoever tells of the damage can say why. A block that could not be read once stays so: what is decided by it holds.
 */
import { BrokerError } from '../core/errors.ts';
import type { StorageFile } from './storage.ts';

export const unreadableBlockBytes = 4096;

/** Of the process or the system, not of the file: the same read may succeed later. */
const shortages: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAGAIN', 'EINTR']);

export const isShortage = (error: unknown): boolean => shortages.has((error as { code?: unknown }).code);

/** What drives and file systems say of what they cannot read; Linux has codes for it that have no name in Node (EUCLEAN). */
const ofTheDisk = /^(EIO|ENXIO|EBADMSG|ENODATA|EREMOTEIO|EILSEQ|ETIMEDOUT|Unknown system error .*)$/;

export const isUnreadable = (error: unknown): boolean => {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && ofTheDisk.test(code);
};

export interface UnreadableBlock {
  /** In the file; a multiple of unreadableBlockBytes. */
  readonly offset: number;
  readonly error: Error;
}

export class UnreadableBlocks {
  /** By name of the file and offset. */
  readonly #files = new Map<string, Map<number, Error>>();

  /**
   * Fills `target` from this position of the file on, with zeros where nothing can be read; returns the number of bytes (fewer
   * only at the end of the file). Rejects with an error of the system that is not of the file.
   */
  async read(file: StorageFile, target: Buffer, position: number): Promise<number> {
    if (this.firstIn(file.name, position, position + target.length) === undefined) {
      try {
        return await file.read(target, 0, target.length, position);
      } catch (error) {
        if (!isUnreadable(error)) throw error;
      }
    }
    return await this.#readBlocks(file, target, position);
  }

  async #readBlocks(file: StorageFile, target: Buffer, position: number): Promise<number> {
    const end = Math.min(position + target.length, await file.sizeBytes());
    for (let at = position; at < end; ) {
      const block = at - (at % unreadableBlockBytes);
      const lengthBytes = Math.min(end, block + unreadableBlockBytes) - at;
      if (!(await this.#readBlock(file, target, { at, start: at - position, lengthBytes, block }))) {
        target.fill(0, at - position, at - position + lengthBytes);
      }
      at += lengthBytes;
    }
    return Math.max(0, end - position);
  }

  async #readBlock(
    file: StorageFile,
    target: Buffer,
    { at, start, lengthBytes, block }: { at: number; start: number; lengthBytes: number; block: number },
  ): Promise<boolean> {
    const known = this.#files.get(file.name);
    if (known?.has(block)) return false;
    try {
      return (await file.read(target, start, lengthBytes, at)) === lengthBytes;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (known === undefined) this.#files.set(file.name, new Map([[block, error as Error]]));
      else known.set(block, error as Error);
      return false;
    }
  }

  /** Checks what was read of a file: damage that is found there gets its reason. */
  async explain(name: string, check: () => void | Promise<void>): Promise<void> {
    try {
      await check();
    } catch (error) {
      if (error instanceof BrokerError && error.kind === 'corrupt') throw this.damage(error.message, name);
      throw error;
    }
  }

  /** The first block that was met in [start, end) of the file. */
  firstIn(name: string, start: number, end = Number.POSITIVE_INFINITY): UnreadableBlock | undefined {
    return this.of(name).find(({ offset }) => offset < end && offset + unreadableBlockBytes > start);
  }

  /** All blocks of the file that were met, in order. */
  of(name: string): UnreadableBlock[] {
    const blocks = [...(this.#files.get(name) ?? [])].map(([offset, error]) => ({ offset, error }));
    return blocks.sort((left, right) => left.offset - right.offset);
  }

  /** Names of the files with such blocks. */
  get names(): readonly string[] {
    return [...this.#files.keys()];
  }

  /** An error that says of [start, end) of the file that it is damaged, and why if a block of it cannot be read. */
  damage(message: string, name: string, start = 0, end?: number): BrokerError {
    const first = this.firstIn(name, start, end);
    if (first === undefined) return new BrokerError('corrupt', message);
    return new BrokerError('corrupt', `${message}: ${describeUnreadable(first)}`, { cause: first.error });
  }
}

export const describeUnreadable = ({ offset, error }: UnreadableBlock): string =>
  `nothing can be read at byte ${offset} (${error.message})`;
