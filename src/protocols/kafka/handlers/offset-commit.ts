/** OffsetCommit by members of a group, and by consumers that assign themselves. */

import type { GroupError } from '../../../broker/groups/group-types.ts';
import type { OffsetChange } from '../../../broker/groups/stored-group.ts';
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import type { OffsetCommitRequest, OffsetCommitResponseInput } from '../generated/offset-commit.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleOffsetCommit = (
  request: OffsetCommitRequest,
  { groups, topics, version, broker }: RequestContext,
): OffsetCommitResponseInput => {
  const { groupId, memberId, groupInstanceId, generationIdOrMemberEpoch, retentionTimeMs } = request;
  const identity = { groupId, memberId, instanceId: groupInstanceId, generation: generationIdOrMemberEpoch };
  const refusal = refusalCode(groups.checkCommit(identity), version);
  const changes: OffsetChange[] = [];
  const committedMs = broker.clock.now();
  const expiresMs = retentionTimeMs >= 0 ? committedMs + retentionTimeMs : -1;
  const take = (
    topic: Topic | undefined,
    partition: OffsetCommitRequest['topics'][number]['partitions'][number],
  ): number => {
    const { partitionIndex, committedOffset, committedLeaderEpoch, committedMetadata } = partition;
    if (refusal !== ErrorCode.NONE) return refusal;
    if (topic === undefined && version >= 10) return ErrorCode.UNKNOWN_TOPIC_ID;
    if (topic?.partitions[partitionIndex] === undefined) return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION;
    const metadata = committedMetadata ?? '';
    // Kafka counts characters, whatever the name of the setting says.
    if (metadata.length > groups.options.offsetMetadataBytesMax) return ErrorCode.OFFSET_METADATA_TOO_LARGE;
    changes.push({
      topicId: topic.id,
      partition: partitionIndex,
      offset: committedOffset,
      leaderEpoch: committedLeaderEpoch,
      metadata,
      committedMs,
      expiresMs,
    });
    return ErrorCode.NONE;
  };
  const answers = request.topics.map(({ name, topicId, partitions }) => {
    const topic = version >= 10 ? topics.findById(topicId) : topics.find(name);
    return {
      name,
      topicId,
      partitions: partitions.map((partition) => ({
        partitionIndex: partition.partitionIndex,
        errorCode: take(topic, partition),
      })),
    };
  });
  groups.commitOffsets(groupId, changes);
  return { topics: answers };
};

/** Before version 9 clients did not know that a group can be missing. */
const refusalCode = (error: GroupError, version: number): ErrorCode =>
  error === 'group-not-found' && version < 9 ? ErrorCode.ILLEGAL_GENERATION : groupErrorCode[error];
