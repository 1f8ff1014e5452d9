/** OffsetFetch: of one group up to version 7, of several from 8 on, by topic id from 10 on. No offset is ever unstable. */
import type { CommittedOffset } from '../../../broker/groups/stored-group.ts';
import type { Topic } from '../../../broker/topic.ts';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ErrorCode } from '../error-codes.ts';
import type { OffsetFetchRequest, OffsetFetchResponseInput } from '../generated/offset-fetch.ts';
import type { RequestContext } from '../request-context.ts';
import { uuidOfTopic } from '../topic-directory.ts';

interface WantedTopic {
  readonly name: string;
  readonly topicId: string;
  readonly partitionIndexes: readonly number[];
}

export const handleOffsetFetch = (request: OffsetFetchRequest, context: RequestContext): OffsetFetchResponseInput => {
  if (context.version >= 8) {
    const groups = request.groups.map(({ groupId, topics }) => ({
      groupId,
      topics: topics === null ? fetchAll(groupId, context) : fetchTopics(groupId, topics, context),
    }));
    return { topics: [], groups };
  }
  const { groupId } = request;
  const topics =
    request.topics === null
      ? fetchAll(groupId, context)
      : fetchTopics(
          groupId,
          request.topics.map((topic) => ({ ...topic, topicId: ZERO_UUID })),
          context,
        );
  return { topics, groups: [] };
};

const fetchTopics = (groupId: string, wanted: readonly WantedTopic[], { groups, topics, version }: RequestContext) =>
  wanted.map(({ name, topicId, partitionIndexes }) => {
    const topic = version >= 10 ? topics.findById(topicId) : topics.find(name);
    const errorCode = topic === undefined && version >= 10 ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.NONE;
    return {
      name,
      topicId,
      partitions: partitionIndexes.map((index) =>
        describeOffset(index, topic && groups.committed(groupId, topic.id, index), errorCode),
      ),
    };
  });

const fetchAll = (groupId: string, { groups, topics }: RequestContext) => {
  const found: { topic: Topic; partitions: ReadonlyMap<number, CommittedOffset> }[] = [];
  for (const [topicId, partitions] of groups.allCommitted(groupId)) {
    const topic = topics.findByHexId(topicId);
    if (topic !== undefined) found.push({ topic, partitions });
  }
  return found.map(({ topic, partitions }) => ({
    name: topic.name,
    topicId: uuidOfTopic(topic),
    partitions: [...partitions].map(([index, committed]) => describeOffset(index, committed, ErrorCode.NONE)),
  }));
};

const describeOffset = (partitionIndex: number, committed: CommittedOffset | undefined, errorCode: number) => ({
  partitionIndex,
  committedOffset: committed?.offset ?? -1,
  committedLeaderEpoch: committed?.leaderEpoch ?? -1,
  metadata: committed?.metadata ?? '',
  errorCode,
});
