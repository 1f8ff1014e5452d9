/** Where a leader epoch of a log ends. */
import type { Log } from '../../log/log.ts';

export const noEpoch = -1;

export interface EpochEnd {
  readonly epoch: number;
  readonly endOffset: number;
}

const unknown: EpochEnd = { epoch: noEpoch, endOffset: -1 };

/**
 * The largest epoch not above `asked` and the offset where it ends; the end of the log for the newest. As in Kafka's
 * LeaderEpochFileCache; an epoch of this log's owner under which nothing was written yet counts too.
 */
export const epochEnd = (log: Log, asked: number): EpochEnd => {
  if (asked < 0 || asked > log.leaderEpoch) return unknown;
  if (asked === log.leaderEpoch) return { epoch: asked, endOffset: log.durableEnd };
  const { epochs } = log;
  let floor = asked;
  for (let i = 0; i < epochs.length; i += 2) {
    if (epochs[i]! > asked) return { epoch: floor, endOffset: Math.min(epochs[i + 1]!, log.durableEnd) };
    floor = epochs[i]!;
  }
  return { epoch: floor, endOffset: log.durableEnd };
};
