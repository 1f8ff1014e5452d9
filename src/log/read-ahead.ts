/**
 * How much readers that live long read ahead when they are behind what is in memory. One that goes on where it was reads more
 * and more at a time; one that jumps reads little. All together hold no more than `readAheadBudgetBytes`, and beyond that each
 * only the least.
 */
import { limits } from '../core/limits.ts';

export class ReadAhead {
  #heldBytes = 0;
  #prefetchCount = 0;

  /** A reader holds so many bytes more, or less. */
  changed(bytes: number): void {
    this.#heldBytes += bytes;
  }

  /** Bytes to read, for a reader that read `lastBytes` before and goes on behind them or not. */
  nextBytes(lastBytes: number, isSequential: boolean): number {
    if (!isSequential || this.#heldBytes > limits.readAheadBudgetBytes) return limits.readAheadMinBytes;
    return Math.min(limits.readAheadBytes, Math.max(limits.readAheadMinBytes, lastBytes * 2));
  }

  /** False if enough is read for later already: with many readers behind, what is read too early is dropped before it is used. */
  beginPrefetch(): boolean {
    if (this.#prefetchCount === limits.prefetchesMax) return false;
    this.#prefetchCount++;
    return true;
  }

  endPrefetch(): void {
    this.#prefetchCount--;
  }
}
