/** Messages of a log that were lost with damage which was accepted. */
import type { Position } from '../core/ids.ts';
import { builtInSubscription, type Log } from './log.ts';

/**
 * Offsets that no entry holds count as settled by everyone. Returns how many messages that were wanted are gone. Only in recovery,
 * when all that is left was replayed.
 * @param before the end of the log is known if a message behind this position of the shard's log is there
 * @param reserved offsets that are not given again if it is not
 */
export const acceptLoss = (log: Log, before: Position, reserved: number): number => {
  const gaps: [from: number, to: number][] = [];
  let next = log.startOffset;
  for (let entry = 0; entry < log.entryCount; entry++) {
    gaps.push([next, log.entryFirstOffset(entry)]);
    next = Math.max(next, log.entryEndOffset(entry));
  }
  const settledEnds = [...log.subscriptions.values()].map(({ end }) => end);
  const end = Math.max(log.endOffset, next, ...settledEnds);
  gaps.push([next, end]);
  const isEndKnown = log.firstEntryFrom(before) < log.entryCount;
  log.endOffset = log.durableEnd = log.visibleEnd = isEndKnown ? end : end + reserved;
  log.producers.acceptLoss();
  const lost = gaps.reduce((count, [from, to]) => count + settle(log, from, to), 0);
  settle(log, end, log.endOffset);
  return lost;
};

/** Returns how many of [from, to) were not settled. */
const settle = (log: Log, from: number, to: number): number => {
  if (from >= to) return 0;
  const settled = log.deletesOnAck ? log.subscriptions.get(builtInSubscription)!.countWithin(from, to) : 0;
  for (const [id] of log.subscriptions) log.applyAck(id, from, to);
  return to - from - settled;
};
