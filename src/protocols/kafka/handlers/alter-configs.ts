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
import { checkTopicConfig, findTopicConfig, topicConfigDefault } from '../topic-config.ts';
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

const alterResource = (
  { resourceType: type, resourceName, configs: changes }: Resource,
  base: (topic: Topic) => Configs,
  validateOnly: boolean,
  context: RequestContext,
): Refusal | undefined => {
  const names = changes.map(({ name }) => name);
  if (type === resourceType.broker) {
    return {
      errorCode: ErrorCode.INVALID_REQUEST,
      errorMessage: `Cannot update these configs dynamically: ${names.join(', ')}`,
    };
  }
  if (type !== resourceType.topic) {
    return { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: `Unexpected resource type ${type}.` };
  }
  const topic = context.topics.find(resourceName);
  if (topic === undefined) {
    return {
      errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      errorMessage: `The topic '${resourceName}' does not exist.`,
    };
  }
  if (topic.kind === 'queue') {
    return {
      errorCode: ErrorCode.INVALID_CONFIG,
      errorMessage: `'${resourceName}' is a queue: it has no topic configs`,
    };
  }
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  if (twice.length > 0) {
    return {
      errorCode: ErrorCode.INVALID_REQUEST,
      errorMessage: `Error due to duplicate config keys : ${[...new Set(twice)].join(',')}`,
    };
  }
  const configs = base(topic);
  for (const change of changes) {
    const refusal = applyChange(configs, change, context);
    if (refusal !== undefined) return refusal;
  }
  if (!validateOnly) context.broker.configureTopic(topic, configs);
  return undefined;
};

const applyChange = (
  configs: Configs,
  { name, configOperation: operation, value }: ConfigChange,
  { settings }: RequestContext,
): Refusal | undefined => {
  const invalid = (errorMessage: string): Refusal => ({ errorCode: ErrorCode.INVALID_CONFIG, errorMessage });
  const config = findTopicConfig(name);
  if (config === undefined) return invalid(`Unknown topic config name: ${name}`);
  if (operation === configOperation.delete) {
    configs.delete(name);
    return undefined;
  }
  if (value === null) {
    return { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: `Null value not supported for : ${name}` };
  }
  let text = value;
  if (operation === configOperation.append || operation === configOperation.subtract) {
    const verb = operation === configOperation.append ? 'APPEND' : 'SUBTRACT';
    if (config.type !== 'list') return invalid(`Can't ${verb} to key ${name} because its type is not LIST.`);
    const present = (configs.get(name) ?? topicConfigDefault(config, settings))
      .split(',')
      .filter((part) => part !== '');
    const given = value.split(',').map((part) => part.trim());
    const kept = present.filter((part) => !given.includes(part));
    text = (operation === configOperation.append ? [...kept, ...given] : kept).join(',');
  } else if (operation !== configOperation.set) {
    return { errorCode: ErrorCode.INVALID_REQUEST, errorMessage: `Unknown operation type ${operation} for ${name}` };
  }
  const problem = checkTopicConfig(name, text);
  if (problem !== undefined) return invalid(problem);
  configs.set(name, text.trim());
  return undefined;
};
