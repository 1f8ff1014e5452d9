/** The end of a fold or rewrite, after its commit: the entries of the logs move to where the messages are now, in slices. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LogStore } from './log-store.ts';

/** What is committed is moved whatever happens, the sooner if others wait for the end. */
export const moveEntries = async (store: LogStore, isCancelled: () => boolean): Promise<void> => {
  let costLeft = store.entriesPerTurn;
  for (const cost of store.moves()) {
    costLeft -= cost;
    if (costLeft > 0 || isCancelled()) continue;
    await nextTurn();
    costLeft = store.entriesPerTurn;
  }
};
