/**
 * AlterConfigs, which says all that is set for a topic, and IncrementalAlterConfigs, which says what changes. Both hold from the
 * next request on. The settings of this node are those that it was started with.
 */
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  AlterConfigsRequest,
  AlterConfigsResourceResponse,
  AlterConfigsResponseInput,
} from '../generated/alter-configs.ts';
import type {
  IncrementalAlterConfigsRequest,
  IncrementalAlterConfigsResponseInput,
} from '../generated/incremental-alter-configs.ts';
import type { RequestContext } from '../request-context.ts';
import {
  checkTopicConfig,
  configItems,
  findTopicConfig,
  topicConfigDefault,
  topicConfigText,
} from '../topic-config.ts';
import { topicNameProblem } from '../topic-directory.ts';
import { resourceType } from './describe-configs.ts';

/** Numbers of the protocol. */
const configOperation = { set: 0, delete: 1, append: 2, subtract: 3 } as const;

interface ConfigChange {
  readonly name: string;
  readonly configOperation: number;
  readonly value: string | null;
}

interface Resource {
  readonly resourceType: number;
  readonly resourceName: string;
  readonly configs: readonly ConfigChange[];
}

interface Refusal {
  readonly errorCode: number;
  readonly errorMessage: string;
}

type Configs = Map<string, string>;

export const handleAlterConfigs = (
  request: AlterConfigsRequest,
  context: RequestContext,
): AlterConfigsResponseInput => {
  const resources = request.resources.map(({ configs, ...resource }) => ({
    ...resource,
    configs: configs.map((config) => ({ ...config, configOperation: configOperation.set })),
  }));
  return { responses: alterResources(resources, () => new Map(), request.validateOnly, context) };
};

export const handleIncrementalAlterConfigs = (
  request: IncrementalAlterConfigsRequest,
  context: RequestContext,
): IncrementalAlterConfigsResponseInput => ({
  responses: alterResources(request.resources, (topic) => new Map(topic.config), request.validateOnly, context),
});

/** @param base what is set before the changes */
const alterResources = (
  resources: readonly Resource[],
  base: (topic: Topic) => Configs,
  validateOnly: boolean,
  context: RequestContext,
): AlterConfigsResourceResponse[] => {
  const counts = new Map<string, number>();
  const keyOf = ({ resourceType: type, resourceName }: Resource): string => `${type} ${resourceName}`;
  for (const resource of resources) counts.set(keyOf(resource), (counts.get(keyOf(resource)) ?? 0) + 1);
  return resources.map((resource) => {
    const { resourceName } = resource;
    const refusal =
      counts.get(keyOf(resource))! > 1
        ? { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: 'Each resource must appear at most once.' }
        : alterResource(resource, base, validateOnly, context);
    const { errorCode, errorMessage } = refusal ?? { errorCode: ErrorCode.NONE, errorMessage: null };
    return { errorCode, errorMessage, resourceType: resource.resourceType, resourceName };
  });
};

/** The order of the checks is Kafka's. */
const alterResource = (
  resource: Resource,
  base: (topic: Topic) => Configs,
  validateOnly: boolean,
  context: RequestContext,
): Refusal | undefined => {
  const { resourceType: type, resourceName, configs: changes } = resource;
  const names = changes.map(({ name }) => name);
  if (new Set(names).size < names.length) return invalidRequest('Error due to duplicate config keys');
  const nulls = changes.filter(
    ({ configOperation: operation, value }) => operation !== configOperation.delete && value === null,
  );
  if (nulls.length > 0) {
    return invalidRequest(`Null value not supported for : ${nulls.map(({ name }) => name).join(', ')}`);
  }
  if (type === resourceType.broker) return refuseBrokerConfigs(resourceName, names, context);
  if (type !== resourceType.topic) return invalidRequest(`Unknown resource type ${type}`);
  if (resourceName === '') return invalidRequest('Default topic resources are not allowed.');
  const nameProblem = topicNameProblem(resourceName);
  if (nameProblem !== undefined) {
    return { errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION, errorMessage: nameProblem };
  }
  const topic = context.topics.find(resourceName);
  if (topic === undefined) {
    return {
      errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      errorMessage: `The topic '${resourceName}' does not exist.`,
    };
  }
  if (topic.kind === 'queue') return invalidConfig(`'${resourceName}' is a queue: it has no topic configs`);
  const configs = base(topic);
  for (const change of changes) {
    const refusal = applyChange(configs, change, context);
    if (refusal !== undefined) return refusal;
  }
  if (!validateOnly) context.broker.configureTopic(topic, configs);
  return undefined;
};

const invalidRequest = (errorMessage: string): Refusal => ({ errorCode: ErrorCode.INVALID_REQUEST, errorMessage });
const invalidConfig = (errorMessage: string): Refusal => ({ errorCode: ErrorCode.INVALID_CONFIG, errorMessage });

/** An empty name stands for all brokers. */
const refuseBrokerConfigs = (
  name: string,
  configNames: readonly string[],
  { settings }: RequestContext,
): Refusal | undefined => {
  if (!/^(-?\d+)?$/.test(name)) return invalidRequest(`Node id must be an integer, but it is: ${name}`);
  const id = settings['node.id'];
  if (name !== '' && Number(name) !== id) {
    return invalidRequest(`Unexpected broker id, expected ${id}, but received ${name}`);
  }
  if (configNames.length === 0) return undefined;
  return invalidRequest(`Cannot update these configs dynamically: [${configNames.join(', ')}]`);
};

const applyChange = (configs: Configs, change: ConfigChange, { settings }: RequestContext): Refusal | undefined => {
  const { name, configOperation: operation } = change;
  if (operation === configOperation.delete) {
    configs.delete(name);
    return undefined;
  }
  let value = change.value!;
  if (operation === configOperation.append || operation === configOperation.subtract) {
    const isAppend = operation === configOperation.append;
    const config = findTopicConfig(name);
    if (config?.type !== 'list') {
      return invalidConfig(`Can't ${isAppend ? 'APPEND' : 'SUBTRACT'} to key ${name} because its type is not LIST.`);
    }
    const present = configItems(configs.get(name) ?? topicConfigDefault(config, settings));
    const given = configItems(value);
    value = (isAppend ? [...present, ...given] : present.filter((item) => !given.includes(item))).join(',');
  } else if (operation !== configOperation.set) {
    return invalidRequest(`Unknown operation type ${operation} for ${name}`);
  }
  const problem = checkTopicConfig(name, value);
  if (problem !== undefined) return invalidConfig(problem);
  configs.set(name, topicConfigText(name, value));
  return undefined;
};
