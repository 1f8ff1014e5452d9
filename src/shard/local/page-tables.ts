/**
 * Page tables of segments in memory, the most recently used up to `pageTableBytesMax` together: one of 64 MiB has 8 KiB, and there
 * may be thousands of segments that nobody reads.
 */
import { pageTableBytesMax } from './wal-limits.ts';

export class PageTables {
  /** By id of the segment, least recently used first. */
  readonly #tables = new Map<number, Buffer>();
  #keptBytes = 0;

  /** Undefined: it must be read again. */
  get(id: number): Buffer | undefined {
    const table = this.#tables.get(id);
    if (table === undefined) return undefined;
    this.#tables.delete(id);
    this.#tables.set(id, table);
    return table;
  }

  keep(id: number, table: Buffer): void {
    this.drop(id);
    this.#tables.set(id, table);
    this.#keptBytes += table.length;
    for (const oldest of this.#tables.keys()) {
      if (this.#keptBytes <= pageTableBytesMax || this.#tables.size === 1) return;
      this.drop(oldest);
    }
  }

  drop(id: number): void {
    this.#keptBytes -= this.#tables.get(id)?.length ?? 0;
    this.#tables.delete(id);
  }
}
