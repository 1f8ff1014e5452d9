/** OffsetForLeaderEpoch: where an epoch ended, so that a consumer notices that records it read are gone. */
import { ErrorCode } from '../error-codes.ts';
import type {
  OffsetForLeaderEpochRequest,
  OffsetForLeaderEpochResponseInput,
} from '../generated/offset-for-leader-epoch.ts';
import { epochEnd } from '../leader-epochs.ts';
import { checkLeaderEpoch } from '../partition-checks.ts';
import type { RequestContext } from '../request-context.ts';

export const handleOffsetForLeaderEpoch = (
  request: OffsetForLeaderEpochRequest,
  { topics }: RequestContext,
): OffsetForLeaderEpochResponseInput => ({
  topics: request.topics.map(({ topic: name, partitions }) => ({
    topic: name,
    partitions: partitions.map(({ partition, currentLeaderEpoch, leaderEpoch }) => {
      const log = topics.find(name)?.partitions[partition];
      if (log === undefined) return { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partition };
      const errorCode = checkLeaderEpoch(log, currentLeaderEpoch);
      if (errorCode !== ErrorCode.NONE) return { errorCode, partition };
      const { epoch, endOffset } = epochEnd(log, leaderEpoch);
      return { errorCode, partition, leaderEpoch: epoch, endOffset };
    }),
  })),
});
