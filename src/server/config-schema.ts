/**
 * All settings, whatever the source of their values. Names are our own, except those below `kafka.` and `amqp.`, which
 * Kafka's and RabbitMQ's users know; the heads define theirs.
 */
import { limits } from '../core/limits.ts';
import { type AmqpSettings, defaultAmqpSettings } from '../protocols/amqp/amqp-settings.ts';
import { kafkaSettingTable } from '../protocols/kafka/kafka-settings.ts';
import type { Setting, SettingType, SettingValue } from './setting.ts';

const integer = (min: number, max?: number): SettingType =>
  max === undefined ? { kind: 'integer', min } : { kind: 'integer', min, max };

const ownSettings: readonly Setting[] = [
  {
    name: 'data',
    type: { kind: 'string' },
    default: './data',
    documentation: 'Directory of the data; created if missing. One broker at a time.',
    flag: { name: 'data', placeholder: 'DIR' },
  },
  {
    name: 'memory',
    type: { kind: 'boolean' },
    default: false,
    documentation: 'Keep everything in memory: nothing survives the process, and there is no data directory.',
    flag: { name: 'memory', placeholder: '' },
  },
  {
    name: 'durability',
    type: { kind: 'choice', choices: ['sync', 'os'] },
    default: 'sync',
    documentation:
      'sync: acknowledged means on disk. os: acknowledged means handed to the operating system; a crash of the machine may lose what it acknowledged last, a crash of the broker does not.',
    flag: { name: 'durability', placeholder: 'sync|os' },
  },
  {
    name: 'listeners.kafka',
    type: { kind: 'list' },
    default: ['127.0.0.1:9092'],
    documentation: 'Addresses to listen on for Kafka clients. Port 0 takes a free one. Empty: none.',
    flag: { name: 'kafka', placeholder: 'HOST:PORT' },
  },
  {
    name: 'listeners.kafka.advertised',
    type: { kind: 'list' },
    default: [],
    documentation:
      'Addresses that Kafka clients are told, one for each of listeners.kafka in the same order. Port 0 means the real port. Without one, clients are told the address that is listened on.',
    flag: { name: 'kafka-advertised', placeholder: 'HOST:PORT' },
  },
  {
    name: 'listeners.amqp',
    type: { kind: 'list' },
    default: ['127.0.0.1:5672'],
    documentation: 'Addresses to listen on for AMQP 0-9-1 clients. Port 0 takes a free one. Empty: none.',
    flag: { name: 'amqp', placeholder: 'HOST:PORT' },
  },
  {
    name: 'connections.max',
    type: integer(1),
    default: 10_000,
    documentation: 'Client connections of all protocols together; further ones are closed at once.',
  },
  {
    name: 'shards',
    type: integer(1, 64),
    default: 1,
    documentation: 'Write-ahead logs that the data is spread over. Fixed when the data directory is made.',
  },
  {
    name: 'shutdown.timeout.ms',
    type: integer(0),
    default: 10_000,
    documentation: 'How long clients may take to leave after SIGTERM before their connections are cut.',
  },
  {
    name: 'storage.wal.bytes.max',
    type: { kind: 'bytes', min: limits.walReserveBytes + 2 * limits.walFileBytes },
    default: limits.walBytesMax,
    documentation:
      'Most bytes of each write-ahead log. Near it publishing is refused; consuming goes on and makes room again.',
  },
  {
    name: 'storage.accept.damage',
    type: { kind: 'boolean' },
    default: false,
    documentation:
      'Start although stored data is damaged, with what can still be read; each thing that is lost is logged. Without it the broker refuses to start. Needed for one start: what was accepted is remembered.',
    flag: { name: 'accept-damage', placeholder: '' },
  },
  {
    name: 'log.level',
    type: { kind: 'choice', choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] },
    default: 'info',
    documentation: 'Least severe log lines to write to standard error.',
    flag: { name: 'log-level', placeholder: 'LEVEL' },
  },
];

const amqpDocumentation = {
  frame_max: ['Largest frame to negotiate, in bytes.', integer(8192)],
  channel_max: ['Channels of one connection.', integer(1, 65_535)],
  heartbeat: ['Seconds between heartbeats that the broker proposes; 0 proposes none.', integer(0, 65_535)],
  handshake_timeout: ['Milliseconds that a client may take to log in.', integer(1)],
  max_message_size: ['Most bytes of one message body.', integer(1, limits.messageBytesMax)],
  product: [
    'Product name in connection.start. Some clients choose their RabbitMQ behaviour by it.',
    { kind: 'string' },
  ],
  version: ['Version in connection.start, likewise.', { kind: 'string' }],
  cluster_name: ['Cluster name in connection.start.', { kind: 'string' }],
  default_vhost: [
    'Name of the virtual host. There is only the one that is called `/`.',
    { kind: 'choice', choices: ['/'] },
  ],
} satisfies Record<keyof AmqpSettings, readonly [string, SettingType]>;

const amqpSettings: readonly Setting[] = [
  ...Object.entries(amqpDocumentation).map(([name, [documentation, type]]) => ({
    name: `amqp.${name}`,
    type: type as SettingType,
    default: defaultAmqpSettings[name as keyof AmqpSettings] as SettingValue,
    documentation: documentation as string,
  })),
  {
    name: 'amqp.default_user',
    type: { kind: 'string' },
    default: 'guest',
    documentation: 'Name of the user that clients log in as.',
  },
  {
    name: 'amqp.default_pass',
    type: { kind: 'string' },
    default: 'guest',
    documentation: 'Password of that user.',
  },
  {
    name: 'amqp.loopback_users',
    type: { kind: 'list' },
    default: ['guest'],
    documentation: 'Users that may only connect from this machine. Empty: none.',
  },
];

const kafkaSettings: readonly Setting[] = kafkaSettingTable.map((setting) => ({
  ...setting,
  name: `kafka.${setting.name}`,
}));

export const settings: readonly Setting[] = [...ownSettings, ...kafkaSettings, ...amqpSettings];

export const settingNames: readonly string[] = settings.map(({ name }) => name);

const byName = new Map(settings.map((setting) => [setting.name, setting]));

export const settingByName = (name: string): Setting | undefined => byName.get(name);
