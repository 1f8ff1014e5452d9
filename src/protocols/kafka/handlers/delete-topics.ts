/** DeleteTopics, by name or by id. A queue goes the same way: its name is a topic to this client. */
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  DeletableTopicResultInput,
  DeleteTopicsRequest,
  DeleteTopicsResponseInput,
} from '../generated/delete-topics.ts';
import type { RequestContext } from '../request-context.ts';
import { uuidOfTopic } from '../topic-directory.ts';

interface Target {
  readonly name: string | null;
  readonly topicId: string;
}

export const handleDeleteTopics = (
  request: DeleteTopicsRequest,
  context: RequestContext,
): DeleteTopicsResponseInput => {
  const targets: readonly Target[] =
    context.version >= 6 ? request.topics : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }));
  return { responses: targets.map((target) => deleteTopic(target, context)) };
};

const deleteTopic = (
  { name, topicId }: Target,
  { topics, broker, settings }: RequestContext,
): DeletableTopicResultInput => {
  const refuse = (errorCode: number, errorMessage: string): DeletableTopicResultInput => ({
    name,
    topicId,
    errorCode,
    errorMessage,
  });
  if (!settings['delete.topic.enable']) return refuse(ErrorCode.TOPIC_DELETION_DISABLED, 'Topic deletion is disabled.');
  const byId = topicId !== ZERO_UUID;
  if (byId && name !== null)
    return refuse(ErrorCode.INVALID_REQUEST, 'Topic name and topic ID can not both be specified.');
  if (!byId && name === null) return refuse(ErrorCode.INVALID_REQUEST, 'Neither topic name nor id were specified.');
  const topic = byId ? topics.findById(topicId) : topics.find(name!);
  if (topic === undefined) {
    return byId
      ? refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This server does not host this topic ID.')
      : refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This server does not host this topic-partition.');
  }
  broker.deleteTopic(topic);
  return { name: topic.name, topicId: uuidOfTopic(topic), errorCode: ErrorCode.NONE };
};
