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

/** What is named twice, in one way or in both, is not deleted, and answered once. */
export const handleDeleteTopics = (
  request: DeleteTopicsRequest,
  context: RequestContext,
): DeleteTopicsResponseInput => {
  const targets: readonly Target[] =
    context.version >= 6 ? request.topics : request.topicNames.map((name) => ({ name, topicId: ZERO_UUID }));
  if (!context.settings['delete.topic.enable']) {
    const disabled = { errorCode: ErrorCode.TOPIC_DELETION_DISABLED, errorMessage: 'Topic deletion is disabled.' };
    return { responses: targets.map(({ name, topicId }) => ({ name, topicId, ...disabled })) };
  }
  const { repeated, namedIds } = findRepeated(targets, context);
  const answered = new Set<string>();
  const responses: DeletableTopicResultInput[] = [];
  for (const target of targets) {
    const key = keyOf(target);
    if (answered.has(key) || (isById(target) && namedIds.has(target.topicId) && !repeated.has(key))) continue;
    if (key !== '') answered.add(key);
    responses.push(deleteTopic(target, repeated.has(key), namedIds, context));
  }
  return { responses };
};

const isById = ({ name, topicId }: Target): boolean => name === null && topicId !== ZERO_UUID;

/** Empty: it names nothing, or in two ways. */
const keyOf = ({ name, topicId }: Target): string => {
  if (topicId === ZERO_UUID) return name === null ? '' : `name ${name}`;
  return name === null ? `id ${topicId}` : '';
};

/** Keys of targets that are there twice, and ids of topics that are named by name as well. */
const findRepeated = (targets: readonly Target[], { topics }: RequestContext) => {
  const keys = new Set<string>();
  const repeated = new Set<string>();
  const ids = new Set<string>();
  for (const target of targets) {
    const key = keyOf(target);
    if (key !== '' && keys.has(key)) repeated.add(key);
    keys.add(key);
    if (isById(target)) ids.add(target.topicId);
  }
  const namedIds = new Set<string>();
  for (const target of targets) {
    const topic = target.topicId === ZERO_UUID && target.name !== null ? topics.find(target.name) : undefined;
    if (topic === undefined || repeated.has(keyOf(target))) continue;
    if (ids.has(uuidOfTopic(topic))) namedIds.add(uuidOfTopic(topic));
  }
  return { repeated, namedIds };
};

const deleteTopic = (
  { name, topicId }: Target,
  isRepeated: boolean,
  namedIds: ReadonlySet<string>,
  { topics, broker }: RequestContext,
): DeletableTopicResultInput => {
  const refuse = (errorCode: number, errorMessage: string): DeletableTopicResultInput => ({
    name,
    topicId,
    errorCode,
    errorMessage,
  });
  const byId = topicId !== ZERO_UUID;
  if (byId && name !== null) {
    return refuse(ErrorCode.INVALID_REQUEST, 'You may not specify both topic name and topic id.');
  }
  if (!byId && name === null) return refuse(ErrorCode.INVALID_REQUEST, 'Neither topic name nor id were specified.');
  if (isRepeated) return refuse(ErrorCode.INVALID_REQUEST, `Duplicate topic ${byId ? 'id' : 'name'}.`);
  const topic = byId ? topics.findById(topicId) : topics.find(name!);
  if (topic === undefined) {
    return byId
      ? refuse(ErrorCode.UNKNOWN_TOPIC_ID, 'This server does not host this topic ID.')
      : refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 'This server does not host this topic-partition.');
  }
  const found = { name: topic.name, topicId: uuidOfTopic(topic) };
  if (namedIds.has(found.topicId)) {
    const errorMessage = 'The provided topic name maps to an ID that was already supplied.';
    return { ...found, errorCode: ErrorCode.INVALID_REQUEST, errorMessage };
  }
  broker.deleteTopic(topic);
  return { ...found, errorCode: ErrorCode.NONE };
};
