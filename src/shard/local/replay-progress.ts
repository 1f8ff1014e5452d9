/** How far the replay of a log has come, told from time to time. */
import type { OpenProgress } from '../shard-log.ts';

/** Of the log, between one word and the next. */
const everyBytes = 4 * 1024 * 1024;

export class ReplayProgress {
  readonly #walFileBytes: number;
  #nextPosition = 0;
  #sequence = 0;
  #fileCount = 0;

  constructor(walFileBytes: number) {
    this.#walFileBytes = walFileBytes;
  }

  /** A commit at this position is replayed; positions only grow. `wholeBytes`: all files that are known by now. */
  replaying(position: number, wholeBytes: number, onProgress: (progress: OpenProgress) => void): void {
    if (position < this.#nextPosition) return;
    this.#nextPosition = position + everyBytes;
    const sequence = Math.floor(position / this.#walFileBytes);
    if (sequence !== this.#sequence) this.#fileCount++;
    this.#sequence = sequence;
    const done = (this.#fileCount - 1) * this.#walFileBytes + (position % this.#walFileBytes);
    onProgress({ what: 'log', done, whole: wholeBytes });
  }
}
