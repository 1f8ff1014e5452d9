/** CreateTopics: checks as Kafka's controller makes them, in its words. */
import { BrokerError } from '../../../core/errors.ts';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  CreatableTopic,
  CreatableTopicResultInput,
  CreateTopicsRequest,
  CreateTopicsResponseInput,
} from '../generated/create-topics.ts';
import { kafkaLimits } from '../kafka-limits.ts';
import type { RequestContext } from '../request-context.ts';
import { checkTopicConfig, topicConfigText } from '../topic-config.ts';
import { clusterMetadataTopic, topicNameProblem, uuidOfTopic } from '../topic-directory.ts';
import { describeTopicConfigs } from './describe-configs.ts';

/** What a valid request asks for, or why it is not valid. */
type Plan =
  | { readonly partitions: number; readonly replicationFactor: number; readonly config: ReadonlyMap<string, string> }
  | { readonly errorCode: number; readonly errorMessage: string };

/** A topic takes as long as so many of its partitions. */
const topicWork = 10;

/** Others have their turn between the topics of a large request. */
export const handleCreateTopics = (
  request: CreateTopicsRequest,
  context: RequestContext,
  respond: (response: CreateTopicsResponseInput) => void,
): void => {
  const counts = new Map<string, number>();
  for (const { name } of request.topics) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = [...counts.keys()];
  const first = new Map(request.topics.map((topic) => [topic.name, topic]));
  const isExcessive = wantedPartitions(request, context) > kafkaLimits.partitionsPerRequestMax;
  const topics: CreatableTopicResultInput[] = [];
  const answer = (name: string): CreatableTopicResultInput => {
    if (isExcessive) {
      return refuse(name, ErrorCode.POLICY_VIOLATION, 'Excessively large number of partitions per request.');
    }
    if (counts.get(name)! > 1) return refuse(name, ErrorCode.INVALID_REQUEST, 'Duplicate topic name.');
    return createTopic(first.get(name)!, request.validateOnly, context);
  };
  const goOn = (): void => {
    if (context.isGone()) return;
    try {
      for (let created = 0; topics.length < names.length && created < kafkaLimits.createdPerTurnMax; ) {
        const result = answer(names[topics.length]!);
        topics.push(result);
        created += topicWork + (result.numPartitions ?? 0);
      }
    } catch (error) {
      context.fail(error);
      return;
    }
    if (topics.length < names.length) setImmediate(goOn);
    else respond({ topics });
  };
  goOn();
};

const wantedPartitions = ({ topics }: CreateTopicsRequest, { settings }: RequestContext): number =>
  topics.reduce((sum, { numPartitions, assignments }) => {
    if (assignments.length > 0) return sum + assignments.length;
    return sum + (numPartitions === -1 ? settings['num.partitions'] : Math.max(0, numPartitions));
  }, 0);

const refuse = (name: string, errorCode: number, errorMessage: string): CreatableTopicResultInput => ({
  name,
  topicId: ZERO_UUID,
  errorCode,
  errorMessage,
  configs: null,
});

const createTopic = (
  wanted: CreatableTopic,
  validateOnly: boolean,
  context: RequestContext,
): CreatableTopicResultInput => {
  const { name } = wanted;
  const plan = planTopic(wanted, context);
  if ('errorCode' in plan) return refuse(name, plan.errorCode, plan.errorMessage);
  const { partitions, replicationFactor, config } = plan;
  let topicId = ZERO_UUID;
  if (!validateOnly) {
    try {
      topicId = uuidOfTopic(context.broker.createTopic({ vhost: '/', name, partitions, config }));
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      return refuse(name, ErrorCode.TOPIC_ALREADY_EXISTS, error.message);
    }
  }
  return {
    name,
    topicId,
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    numPartitions: partitions,
    replicationFactor,
    configs: describeTopicConfigs(config, context.settings).map(({ name: key, value, configSource }) => ({
      name: key,
      value,
      readOnly: false,
      configSource,
      isSensitive: false,
    })),
  };
};

const planTopic = (wanted: CreatableTopic, context: RequestContext): Plan => {
  const { name, assignments } = wanted;
  const { settings, topics, broker } = context;
  const no = (errorCode: number, errorMessage: string): Plan => ({ errorCode, errorMessage });
  const problem = topicNameProblem(name);
  if (problem !== undefined) return no(ErrorCode.INVALID_TOPIC_EXCEPTION, problem);
  if (name === clusterMetadataTopic) {
    return no(ErrorCode.INVALID_REQUEST, `Creation of internal topic ${name} is prohibited.`);
  }
  if (topics.isTaken(name)) return no(ErrorCode.TOPIC_ALREADY_EXISTS, `Topic '${name}' already exists.`);
  const collision = topics.collision(name);
  if (collision !== undefined) return no(ErrorCode.INVALID_TOPIC_EXCEPTION, collision);
  if (!broker.hasRoom) return no(ErrorCode.KAFKA_STORAGE_ERROR, 'The storage is full.');
  const config = new Map<string, string>();
  for (const { name: key, value } of wanted.configs) {
    const reason = checkTopicConfig(key, value);
    if (reason !== undefined) return no(ErrorCode.INVALID_CONFIG, reason);
    config.set(key, topicConfigText(key, value!));
  }
  if (assignments.length > 0) return planAssignments(wanted, config, context);
  const partitions = wanted.numPartitions === -1 ? settings['num.partitions'] : wanted.numPartitions;
  if (partitions < 1) {
    return no(ErrorCode.INVALID_PARTITIONS, 'Number of partitions was set to an invalid non-positive value.');
  }
  const replicationFactor =
    wanted.replicationFactor === -1 ? settings['default.replication.factor'] : wanted.replicationFactor;
  if (replicationFactor < 1) {
    return no(
      ErrorCode.INVALID_REPLICATION_FACTOR,
      'Replication factor must be larger than 0, or -1 to use the default value.',
    );
  }
  if (replicationFactor > 1 && !settings['accept.any.replication.factor']) {
    return no(
      ErrorCode.INVALID_REPLICATION_FACTOR,
      `Unable to replicate the partition ${replicationFactor} time(s): The target replication factor of ${replicationFactor} cannot be reached because only 1 broker(s) are registered.`,
    );
  }
  return { partitions, replicationFactor, config };
};

/** Every replica is to be on this node. */
const planAssignments = (
  { assignments, numPartitions, replicationFactor }: CreatableTopic,
  config: ReadonlyMap<string, string>,
  { settings }: RequestContext,
): Plan => {
  const no = (errorCode: number, errorMessage: string): Plan => ({ errorCode, errorMessage });
  if (replicationFactor !== -1) {
    return no(
      ErrorCode.INVALID_REQUEST,
      'A manual partition assignment was specified, but replication factor was not set to -1.',
    );
  }
  if (numPartitions !== -1) {
    return no(
      ErrorCode.INVALID_REQUEST,
      'A manual partition assignment was specified, but numPartitions was not set to -1.',
    );
  }
  const indexes = new Set(assignments.map(({ partitionIndex }) => partitionIndex));
  if (indexes.size !== assignments.length) {
    return no(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'Found multiple manual partition assignments for one partition');
  }
  for (let index = 0; index < assignments.length; index++) {
    if (!indexes.has(index)) {
      return no(ErrorCode.INVALID_REPLICA_ASSIGNMENT, 'partitions should be a consecutive 0-based integer sequence');
    }
  }
  for (const { brokerIds } of assignments) {
    if (brokerIds.length === 0) {
      return no(
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        'The manual partition assignment includes an empty replica list.',
      );
    }
    const stranger = brokerIds.find((id) => id !== settings['node.id']);
    if (stranger !== undefined) {
      return no(
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        `The manual partition assignment includes broker ${stranger}, but no such broker is registered.`,
      );
    }
    if (brokerIds.length > 1) {
      return no(
        ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        `The manual partition assignment includes the broker ${settings['node.id']} more than once.`,
      );
    }
  }
  return { partitions: assignments.length, replicationFactor: 1, config };
};
