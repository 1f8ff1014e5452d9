/** Metadata: the node, the topics and where their partitions are, creating topics on the way if that is allowed. */

import type { Topic } from '../../../broker/topic.ts';
import { BrokerError } from '../../../core/errors.ts';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { clusterOperations, operationsNotAsked, topicOperations } from '../authorized-operations.ts';
import { ErrorCode } from '../error-codes.ts';
import type { MetadataRequest, MetadataResponseInput, MetadataResponseTopicInput } from '../generated/metadata.ts';
import { kafkaLimits } from '../kafka-limits.ts';
import type { RequestContext } from '../request-context.ts';
import { clusterMetadataTopic, isInternalTopic, topicNameProblem, uuidOfTopic } from '../topic-directory.ts';

export const handleMetadata = (request: MetadataRequest, context: RequestContext): MetadataResponseInput => {
  const { settings, advertised, broker } = context;
  const topicAuthorizedOperations = request.includeTopicAuthorizedOperations ? topicOperations : operationsNotAsked;
  return {
    brokers: [{ nodeId: settings['node.id'], host: advertised.host, port: advertised.port }],
    clusterId: broker.clusterId,
    controllerId: settings['node.id'],
    topics: describeTopics(request, context).map((topic) =>
      // Kafka says nothing of what it does not know by id.
      topic.errorCode === ErrorCode.UNKNOWN_TOPIC_ID ? topic : { ...topic, topicAuthorizedOperations },
    ),
    clusterAuthorizedOperations: request.includeClusterAuthorizedOperations ? clusterOperations : operationsNotAsked,
    errorCode: ErrorCode.NONE,
  };
};

const describeTopics = (request: MetadataRequest, context: RequestContext): MetadataResponseTopicInput[] => {
  const { topics } = request;
  // Version 0 had no null: there an empty list means all.
  if (topics === null || (context.version === 0 && topics.length === 0)) {
    return context.topics.list().map((topic) => describeTopic(topic, context));
  }
  const created = { partitions: 0 };
  return topics.map(({ topicId, name }) => {
    if (topicId !== ZERO_UUID) {
      const topic = context.topics.findById(topicId);
      return topic === undefined ? failure(null, ErrorCode.UNKNOWN_TOPIC_ID, topicId) : describeTopic(topic, context);
    }
    return describeNamed(name ?? '', request.allowAutoTopicCreation ? created : undefined, context);
  });
};

/** @param created by the request so far; undefined: nothing may be */
const describeNamed = (
  name: string,
  created: { partitions: number } | undefined,
  context: RequestContext,
): MetadataResponseTopicInput => {
  const topic = context.topics.find(name);
  if (topic !== undefined) return describeTopic(topic, context);
  if (topicNameProblem(name) !== undefined) return failure(name, ErrorCode.INVALID_TOPIC_EXCEPTION);
  const { settings, broker } = context;
  if (created === undefined || !settings['auto.create.topics.enable'] || context.topics.isTaken(name)) {
    return failure(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  }
  if (name === clusterMetadataTopic || context.topics.collision(name) !== undefined) {
    return failure(name, ErrorCode.INVALID_TOPIC_EXCEPTION);
  }
  // The one error of a topic that all clients take for "ask again".
  if (!broker.hasRoom) return failure(name, ErrorCode.LEADER_NOT_AVAILABLE);
  const partitions = settings['num.partitions'];
  // Clients ask again on this error.
  if (created.partitions > 0 && created.partitions + partitions > kafkaLimits.autoCreatedPartitionsMax) {
    return failure(name, ErrorCode.LEADER_NOT_AVAILABLE);
  }
  created.partitions += partitions;
  try {
    return describeTopic(broker.createTopic({ vhost: '/', name, partitions, config: new Map() }), context);
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    return failure(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  }
};

/** A topic cannot be described: by name, or by id and then without a name. */
const failure = (name: string | null, errorCode: number, topicId = ZERO_UUID): MetadataResponseTopicInput => ({
  errorCode,
  name,
  topicId,
  isInternal: name !== null && isInternalTopic(name),
  partitions: [],
});

const describeTopic = (topic: Topic, { settings }: RequestContext): MetadataResponseTopicInput => {
  const replicas = [settings['node.id']];
  return {
    errorCode: ErrorCode.NONE,
    name: topic.name,
    topicId: uuidOfTopic(topic),
    isInternal: isInternalTopic(topic.name),
    partitions: topic.partitions.map((log, partitionIndex) => ({
      errorCode: ErrorCode.NONE,
      partitionIndex,
      leaderId: settings['node.id'],
      leaderEpoch: log.leaderEpoch,
      replicaNodes: replicas,
      isrNodes: replicas,
    })),
  };
};
