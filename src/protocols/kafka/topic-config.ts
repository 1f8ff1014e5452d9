/**
 * Topic configs by Kafka's names. Each is in one of three lists: `effective` ones change what the broker does, `stored` ones
 * are kept and shown because tools set them, and `refused` ones may only have their default, because accepting another value
 * would promise what does not happen.
 */
import type { RetentionPolicy } from '../../broker/retention.ts';
import type { Topic } from '../../broker/topic.ts';
import { limits } from '../../core/limits.ts';
import { type KafkaSettingName, type KafkaSettings, settingText, unbounded } from './kafka-settings.ts';

/** Numbers of the protocol. */
export const configType = { boolean: 1, string: 2, int: 3, long: 5, double: 6, list: 7 } as const;
export const configSource = { topic: 1, staticBroker: 4, default: 5 } as const;

export type TopicConfigList = 'effective' | 'stored' | 'refused';

export interface TopicConfig {
  readonly name: string;
  readonly list: TopicConfigList;
  readonly type: keyof typeof configType;
  readonly default: string;
  /** The broker's setting that is its default. */
  readonly brokerSetting?: KafkaSettingName;
  readonly min?: number;
  readonly max?: number;
  /** The only values, or items of a list. */
  readonly choices?: readonly string[];
  readonly documentation: string;
}

const longMax = '9223372036854775807';

export const topicConfigTable: readonly TopicConfig[] = [
  {
    name: 'max.message.bytes',
    list: 'effective',
    type: 'int',
    default: '1048588',
    brokerSetting: 'message.max.bytes',
    min: 0,
    documentation: 'Largest record batch, compressed. If set for the topic, the largest message of AMQP as well.',
  },
  {
    name: 'message.timestamp.type',
    list: 'effective',
    type: 'string',
    default: 'CreateTime',
    brokerSetting: 'log.message.timestamp.type',
    choices: ['CreateTime', 'LogAppendTime'],
    documentation: 'Whose time records of Kafka producers carry: their own or that of the append.',
  },
  {
    name: 'message.timestamp.before.max.ms',
    list: 'effective',
    type: 'long',
    default: longMax,
    brokerSetting: 'log.message.timestamp.before.max.ms',
    min: 0,
    documentation: 'How far the timestamp of a Kafka producer may lie in the past.',
  },
  {
    name: 'message.timestamp.after.max.ms',
    list: 'effective',
    type: 'long',
    default: '3600000',
    brokerSetting: 'log.message.timestamp.after.max.ms',
    min: 0,
    documentation: 'How far the timestamp of a Kafka producer may lie in the future.',
  },
  {
    name: 'cleanup.policy',
    list: 'effective',
    type: 'list',
    default: 'delete',
    choices: ['compact', 'delete'],
    documentation: 'Without delete in it nothing is deleted by age or size. Nothing is compacted by key yet.',
  },
  stored('compression.type', 'string', 'producer', 'Batches keep the compression of their producer.', {
    choices: ['uncompressed', 'zstd', 'lz4', 'snappy', 'gzip', 'producer'],
  }),
  stored('compression.gzip.level', 'int', '-1', 'The broker does not compress.', { min: -1, max: 9 }),
  stored('compression.lz4.level', 'int', '9', 'The broker does not compress.', { min: 1, max: 17 }),
  stored('compression.zstd.level', 'int', '3', 'The broker does not compress.', { min: -131_072, max: 22 }),
  stored('delete.retention.ms', 'long', '86400000', 'No compaction yet.', { min: 0 }),
  stored('file.delete.delay.ms', 'long', '60000', 'A topic has no files of its own.', { min: 0 }),
  stored('flush.messages', 'long', longMax, 'Every acknowledged batch is on disk.', { min: 1 }),
  stored('flush.ms', 'long', longMax, 'Every acknowledged batch is on disk.', { min: 0 }),
  stored('follower.replication.throttled.replicas', 'list', '', 'There are no followers.'),
  stored('index.interval.bytes', 'int', '4096', 'Every batch is indexed.', { min: 0 }),
  stored('leader.replication.throttled.replicas', 'list', '', 'There are no followers.'),
  stored('local.retention.bytes', 'long', '-2', 'There is one tier.', { min: -2 }),
  stored('local.retention.ms', 'long', '-2', 'There is one tier.', { min: -2 }),
  stored('max.compaction.lag.ms', 'long', longMax, 'No compaction yet.', { min: 1 }),
  stored('min.cleanable.dirty.ratio', 'double', '0.5', 'No compaction yet.', { min: 0, max: 1 }),
  stored('min.compaction.lag.ms', 'long', '0', 'No compaction yet.', { min: 0 }),
  {
    ...stored('min.insync.replicas', 'int', '1', 'Every acknowledgement waits for the disk of the one copy.', {
      min: 1,
    }),
    brokerSetting: 'min.insync.replicas',
  },
  stored('preallocate', 'boolean', 'false', 'A topic has no files of its own.'),
  {
    name: 'retention.bytes',
    list: 'effective',
    type: 'long',
    default: '-1',
    brokerSetting: 'log.retention.bytes',
    documentation: 'Most bytes of a partition; -1: any amount.',
  },
  {
    name: 'retention.ms',
    list: 'effective',
    type: 'long',
    default: '604800000',
    brokerSetting: 'log.retention.ms',
    min: -1,
    documentation: 'How long messages are kept; -1: forever.',
  },
  stored('segment.bytes', 'int', '1073741824', 'A topic has no files of its own.', { min: 1_048_576 }),
  stored('segment.index.bytes', 'int', '10485760', 'A topic has no files of its own.', { min: 4 }),
  stored('segment.jitter.ms', 'long', '0', 'A topic has no files of its own.', { min: 0 }),
  stored('segment.ms', 'long', '604800000', 'A topic has no files of its own.', { min: 1 }),
  stored('unclean.leader.election.enable', 'boolean', 'false', 'There is one copy, so no election.'),
  refused('remote.storage.enable', 'There is one tier.'),
  refused('remote.log.copy.disable', 'There is one tier.'),
  refused('remote.log.delete.on.disable', 'There is one tier.'),
];

function stored(
  name: string,
  type: TopicConfig['type'],
  defaultValue: string,
  documentation: string,
  rest: Partial<Pick<TopicConfig, 'min' | 'max' | 'choices'>> = {},
): TopicConfig {
  return { name, list: 'stored', type, default: defaultValue, documentation, ...rest };
}

function refused(name: string, documentation: string): TopicConfig {
  return { name, list: 'refused', type: 'boolean', default: 'false', documentation };
}

const byName: ReadonlyMap<string, TopicConfig> = new Map(topicConfigTable.map((config) => [config.name, config]));

export const findTopicConfig = (name: string): TopicConfig | undefined => byName.get(name);

/** Its value when the topic does not set it. */
export const topicConfigDefault = (config: TopicConfig, settings: KafkaSettings): string =>
  config.brokerSetting === undefined ? config.default : settingText(settings[config.brokerSetting]);

/** The items of a list, without blanks around them, each once. */
export const configItems = (text: string): string[] =>
  text.trim() === '' ? [] : [...new Set(text.split(',').map((item) => item.trim()))];

/** A value that was found to be allowed, as it is kept and shown. */
export const topicConfigText = (name: string, value: string): string =>
  byName.get(name)?.type === 'list' ? configItems(value).join(',') : value.trim();

/** Undefined: allowed. Else why not, in Kafka's words. */
export const checkTopicConfig = (name: string, value: string | null): string | undefined => {
  const config = byName.get(name);
  if (config === undefined) return `Unknown topic config name: ${name}`;
  if (value === null) return `Null value not supported for topic configs: ${name}`;
  const text = value.trim();
  const invalid = (reason: string, what = value): string =>
    `Invalid value ${what} for configuration ${name}: ${reason}`;
  if (config.list === 'refused' && text.toLowerCase() !== config.default) {
    return 'Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.';
  }
  const items = config.type === 'list' ? configItems(text) : [text];
  if (config.type === 'list' && items.includes('')) return `Configuration '${name}' values must not be empty.`;
  const { choices } = config;
  const stranger = choices && items.find((item) => !choices.includes(item));
  if (stranger !== undefined) return invalid(`String must be one of: ${choices!.join(', ')}`, stranger);
  switch (config.type) {
    case 'boolean':
      return /^(true|false)$/i.test(text) ? undefined : invalid('Expected value to be either true or false');
    case 'int':
    case 'long':
    case 'double':
      return checkNumber(config, text, invalid);
    default:
      return undefined;
  }
};

/** What Java's parseInt, parseLong and parseDouble read, without hexadecimal fractions, infinity and NaN. */
const parseNumber = (type: TopicConfig['type'], text: string): number | undefined => {
  if (type === 'double') {
    return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?[fd]?$/i.test(text) ? Number.parseFloat(text) : undefined;
  }
  if (!/^[+-]?0*\d{1,19}$/.test(text)) return undefined;
  const exact = BigInt(text);
  return BigInt.asIntN(type === 'int' ? 32 : 64, exact) === exact ? Number(exact) : undefined;
};

const checkNumber = (config: TopicConfig, text: string, invalid: (reason: string) => string): string | undefined => {
  const number = parseNumber(config.type, text);
  if (number === undefined) return invalid(`Not a number of type ${config.type.toUpperCase()}`);
  if (config.min !== undefined && number < config.min) return invalid(`Value must be at least ${config.min}`);
  if (config.max !== undefined && number > config.max) return invalid(`Value must be no more than ${config.max}`);
  return undefined;
};

const cleanupPolicy = (topic: Topic): string[] => configItems(topic.config.get('cleanup.policy') ?? 'delete');

/** False: every key's last record is promised to stay. A topic that neither deletes nor compacts promises nothing. */
export const allowsDeleteRecords = (topic: Topic): boolean => {
  const policy = cleanupPolicy(topic);
  return policy.includes('delete') || !policy.includes('compact');
};

/** How long and how much the topic keeps. */
export const retentionPolicy = (topic: Topic, settings: KafkaSettings): RetentionPolicy => {
  const limit = (name: string, setting: KafkaSettingName): number => {
    const value = Number(topic.config.get(name) ?? settings[setting]);
    return value < 0 ? Number.POSITIVE_INFINITY : value;
  };
  if (!cleanupPolicy(topic).includes('delete'))
    return { ageMs: Number.POSITIVE_INFINITY, sizeBytes: Number.POSITIVE_INFINITY };
  return {
    ageMs: limit('retention.ms', 'log.retention.ms'),
    sizeBytes: limit('retention.bytes', 'log.retention.bytes'),
  };
};

/** What Produce needs to know of a topic, parsed once. */
export interface TopicRules {
  readonly batchBytesMax: number;
  readonly stampsAppendTime: boolean;
  readonly timestampBeforeMaxMs: number;
  readonly timestampAfterMaxMs: number;
}

export const topicRules = (topic: Topic, settings: KafkaSettings): TopicRules => {
  const number = (name: string, setting: KafkaSettingName): number =>
    Math.min(unbounded, Number(topic.config.get(name) ?? settings[setting]));
  const timestampType = topic.config.get('message.timestamp.type') ?? settings['log.message.timestamp.type'];
  return {
    batchBytesMax: Math.min(number('max.message.bytes', 'message.max.bytes'), limits.messageBytesMax),
    stampsAppendTime: timestampType === 'LogAppendTime',
    timestampBeforeMaxMs: number('message.timestamp.before.max.ms', 'log.message.timestamp.before.max.ms'),
    timestampAfterMaxMs: number('message.timestamp.after.max.ms', 'log.message.timestamp.after.max.ms'),
  };
};
