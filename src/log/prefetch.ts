/**
 * Brings into memory what a reader that is behind will ask for next, while others work on what it got. So many at a time: what
 * many readers have read too early is dropped before it is used.
 */
import { limits } from '../core/limits.ts';
import type { Log } from './log.ts';
import { LogReader } from './log-reader.ts';

/** As much as two reads bring; of more the first would be dropped before the client asks for it. */
const bytesMax = 2 * limits.readAheadBytes;

export class Prefetches {
  #count = 0;

  /** Begins to read about so many bytes from `offset` on, unless they are kept in memory anyway. */
  begin(log: Log, offset: number, bytes: number): void {
    const entry = log.findEntry(offset);
    if (entry < 0 || log.store.shard.log.chunkAt(log.entryPosition(entry)) !== undefined) return;
    if (this.#count === limits.prefetchesMax) return;
    this.#count++;
    read(log, offset, bytes)
      // Who reads there later is told of what is wrong.
      .catch(() => {})
      .finally(() => this.#count--);
  }
}

const read = async (log: Log, offset: number, bytes: number): Promise<void> => {
  const reader = new LogReader(log);
  try {
    let next = offset;
    for (let leftBytes = Math.min(bytes, bytesMax); leftBytes > 0; ) {
      const entry = log.findEntry(next);
      if (entry < 0 || log.entryFirstOffset(entry) >= log.durableEnd) return;
      if (!log.entryIsLive(entry)) {
        next = log.entryEndOffset(entry);
      } else if (reader.locate(entry, next)) {
        leftBytes -= reader.entryEnd - reader.at;
        next = reader.endOffset;
      } else {
        await reader.fill();
      }
    }
  } finally {
    reader.release();
  }
};
