/** What the logs have in a stretch of the shard's log that is folded. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LogStretch } from '../shard/shard-log.ts';
import { cutRunBytes } from './block.ts';
import type { Log } from './log.ts';
import type { LogStore } from './log-store.ts';

/** What is known of an entry while it is gathered takes so much beside its bytes. */
const placeBytes = 24;
/** No entry takes less. */
export const gatherBytesMin = placeBytes + cutRunBytes(1, 0);

/** Most bytes of memory that the entry takes while it is gathered. */
export const entryGatherBytes = (log: Log, entry: number): number => {
  const sizeBytes = log.entrySizeBytes(entry);
  if (log.entryIsBatch(entry)) return placeBytes + sizeBytes;
  return placeBytes + cutRunBytes(log.entryEndOffset(entry) - log.entryFirstOffset(entry), sizeBytes);
};

/** A log and what it has in the stretch; of what is live about how much, as some of it may be settled later. */
export interface FoldShare {
  readonly log: Log;
  /** Of the first entry there. */
  readonly firstOffset: number;
  readonly entryCount: number;
  readonly liveBytes: number;
  /** Most bytes of memory that it takes while it is gathered. */
  readonly gatherBytes: number;
}

/** Index of the log's first entry in the stretch, -1 if it has none there. */
const firstEntryIn = (log: Log, stretch: LogStretch): number => {
  const entry = log.firstEntryFrom(stretch.start);
  return entry < log.entryCount && log.entryPosition(entry) < stretch.end ? entry : -1;
};

const shareOf = (log: Log, stretch: LogStretch, first: number): FoldShare => {
  const end = log.firstEntryFrom(stretch.end);
  let entryCount = 0;
  let liveBytes = 0;
  let gatherBytes = 0;
  for (let entry = first; entry < end; entry++) {
    if (!log.entryIsLive(entry)) continue;
    entryCount++;
    liveBytes += log.entrySizeBytes(entry);
    gatherBytes += entryGatherBytes(log, entry);
  }
  return { log, firstOffset: log.entryFirstOffset(first), entryCount, liveBytes, gatherBytes };
};

/** The logs that have something live in the stretch, in order of their ids. */
export const findShares = async ({ logs, entriesPerTurn }: LogStore, stretch: LogStretch): Promise<FoldShare[]> => {
  const shares: FoldShare[] = [];
  let costLeft = entriesPerTurn;
  for (const log of [...logs]) {
    const first = log.deleted ? -1 : firstEntryIn(log, stretch);
    if (first >= 0) {
      const share = shareOf(log, stretch, first);
      if (share.entryCount > 0) shares.push(share);
      costLeft -= log.firstEntryFrom(stretch.end) - first;
    }
    costLeft--;
    if (costLeft > 0) continue;
    await nextTurn();
    costLeft = entriesPerTurn;
  }
  return shares.sort((left, right) => left.log.id - right.log.id);
};
