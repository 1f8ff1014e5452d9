/** DescribeConfigs of topics and of this node: every key with its value and where that comes from. */
import { ErrorCode } from '../error-codes.ts';
import type {
  DescribeConfigsRequest,
  DescribeConfigsResource,
  DescribeConfigsResourceResultInput,
  DescribeConfigsResponseInput,
  DescribeConfigsResultInput,
} from '../generated/describe-configs.ts';
import { defaultKafkaSettings, type KafkaSettings, kafkaSettingTable, settingText } from '../kafka-settings.ts';
import type { RequestContext } from '../request-context.ts';
import { configSource, configType, topicConfigDefault, topicConfigTable } from '../topic-config.ts';
import { topicNameProblem } from '../topic-directory.ts';

/** Numbers of the protocol. */
export const resourceType = { topic: 2, broker: 4, brokerLogger: 8, clientMetrics: 16, group: 32 } as const;

type ConfigEntry = DescribeConfigsResourceResultInput & { readonly configSource: number };
type Synonym = DescribeConfigsResourceResultInput['synonyms'][number];

export const handleDescribeConfigs = (
  request: DescribeConfigsRequest,
  context: RequestContext,
): DescribeConfigsResponseInput => ({
  results: request.resources.map((resource) => describeResource(resource, request, context)),
});

const describeResource = (
  resource: DescribeConfigsResource,
  { includeSynonyms, includeDocumentation }: DescribeConfigsRequest,
  context: RequestContext,
): DescribeConfigsResultInput => {
  const { resourceType: type, resourceName, configurationKeys } = resource;
  const found = findConfigs(type, resourceName, context);
  if (!Array.isArray(found)) {
    return { errorCode: found.errorCode, errorMessage: found.message, resourceType: type, resourceName, configs: [] };
  }
  const wanted = configurationKeys === null ? undefined : new Set(configurationKeys);
  const configs = found
    .filter(({ name }) => wanted === undefined || wanted.has(name))
    .map((config) => ({
      ...config,
      synonyms: includeSynonyms ? config.synonyms : [],
      documentation: includeDocumentation ? config.documentation : null,
    }));
  return { errorCode: ErrorCode.NONE, errorMessage: null, resourceType: type, resourceName, configs };
};

const findConfigs = (
  type: number,
  name: string,
  { topics, settings }: RequestContext,
): ConfigEntry[] | { errorCode: number; message: string | null } => {
  switch (type) {
    case resourceType.topic: {
      const problem = topicNameProblem(name);
      if (problem !== undefined) return { errorCode: ErrorCode.INVALID_TOPIC_EXCEPTION, message: problem };
      const topic = topics.find(name);
      if (topic === undefined) return { errorCode: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, message: null };
      return describeTopicConfigs(topic.config, settings);
    }
    case resourceType.broker:
      // An empty name asks for the defaults of all nodes that were set at run time: there are none.
      if (name === '') return [];
      if (name === String(settings['node.id'])) return describeNodeConfigs(settings);
      return {
        errorCode: ErrorCode.INVALID_REQUEST,
        message: `Unexpected broker id, expected ${settings['node.id']} or empty string, but received ${name}`,
      };
    case resourceType.brokerLogger:
    case resourceType.clientMetrics:
    case resourceType.group:
      return [];
    default:
      return { errorCode: ErrorCode.INVALID_REQUEST, message: `Unsupported resource type: ${type}` };
  }
};

export const describeTopicConfigs = (config: ReadonlyMap<string, string>, settings: KafkaSettings): ConfigEntry[] =>
  topicConfigTable.map((entry) => {
    const set = config.get(entry.name);
    const fallback = topicConfigDefault(entry, settings);
    const { brokerSetting } = entry;
    const synonyms: Synonym[] = [];
    if (set !== undefined) synonyms.push({ name: entry.name, value: set, source: configSource.topic });
    if (brokerSetting !== undefined) synonyms.push(...settingSynonyms(brokerSetting, settings));
    return {
      name: entry.name,
      value: set ?? fallback,
      readOnly: false,
      configSource: set !== undefined ? configSource.topic : (synonyms[0]?.source ?? configSource.default),
      isSensitive: false,
      synonyms,
      configType: configType[entry.type],
      documentation: entry.documentation,
    };
  });

const settingSynonyms = (name: keyof KafkaSettings, settings: KafkaSettings): Synonym[] => {
  const fallback = { name, value: settingText(defaultKafkaSettings[name]), source: configSource.default };
  if (settings[name] === defaultKafkaSettings[name]) return [fallback];
  return [{ name, value: settingText(settings[name]), source: configSource.staticBroker }, fallback];
};

const describeNodeConfigs = (settings: KafkaSettings): ConfigEntry[] =>
  kafkaSettingTable.map(({ name, type, documentation }) => {
    const synonyms = settingSynonyms(name, settings);
    return {
      name,
      value: synonyms[0]!.value,
      readOnly: true,
      configSource: synonyms[0]!.source,
      isSensitive: false,
      synonyms,
      configType: nodeConfigType(type),
      documentation,
    };
  });

const nodeConfigType = (type: (typeof kafkaSettingTable)[number]['type']): number => {
  if (type.kind === 'boolean') return configType.boolean;
  if (type.kind === 'integer') return type.max > 2_147_483_647 ? configType.long : configType.int;
  return configType.string;
};
