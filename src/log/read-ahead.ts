/**
 * How much is read for readers that are behind what is in memory, beyond what they need at once. One that lives long and goes on
 * where it was reads more and more at a time; one that jumps reads little.
 */
import { limits } from '../core/limits.ts';

/** Bytes to read, for a reader that read `lastBytes` before and goes on behind them or not. */
export const nextReadBytes = (lastBytes: number, isSequential: boolean): number =>
  isSequential
    ? Math.min(limits.readAheadBytes, Math.max(limits.readAheadMinBytes, lastBytes * 2))
    : limits.readAheadMinBytes;
