/** Checks that requests about a partition have in common. */
import type { Log } from '../../log/log.ts';
import { ErrorCode } from './error-codes.ts';

/** A client that knows of another leader epoch than the broker has old metadata, or newer ones than it. */
export const checkLeaderEpoch = (log: Log, currentLeaderEpoch: number): number => {
  if (currentLeaderEpoch < 0 || currentLeaderEpoch === log.leaderEpoch) return ErrorCode.NONE;
  return currentLeaderEpoch < log.leaderEpoch ? ErrorCode.FENCED_LEADER_EPOCH : ErrorCode.UNKNOWN_LEADER_EPOCH;
};
