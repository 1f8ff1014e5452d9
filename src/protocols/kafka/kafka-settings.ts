/**
 * Settings of the Kafka head, under Kafka's own names and with Kafka's defaults. One table: the configuration, its help,
 * DescribeConfigs on the broker and the documentation are made from it.
 */
export type KafkaSettingType =
  | { readonly kind: 'boolean' }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'string' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] };

export interface KafkaSetting {
  readonly name: string;
  readonly type: KafkaSettingType;
  readonly default: string | number | boolean;
  readonly documentation: string;
}

const int32Max = 2_147_483_647;
/** Stands for Kafka's Long.MAX_VALUE, "no bound". */
export const unbounded = Number.MAX_SAFE_INTEGER;

const boolean = { kind: 'boolean' } as const;
const integer = (min: number, max: number = int32Max) => ({ kind: 'integer', min, max }) as const;
const long = (min: number) => integer(min, unbounded);
const choice = (...choices: readonly string[]) => ({ kind: 'choice', choices }) as const;

const entry = <Name extends string, Value extends string | number | boolean>(
  name: Name,
  type: KafkaSettingType,
  defaultValue: Value,
  documentation: string,
) => ({ name, type, default: defaultValue as unknown as Widened<Value>, documentation });

type Widened<Value> = Value extends number ? number : Value extends boolean ? boolean : string;

export const kafkaSettingTable = [
  entry('node.id', integer(0), 1, 'Number by which clients know this node.'),
  entry(
    'auto.create.topics.enable',
    boolean,
    true,
    'Create a topic when a client asks for metadata of an unknown one.',
  ),
  entry('num.partitions', integer(1, 10_000), 1, 'Partitions of topics created without a number.'),
  entry('default.replication.factor', integer(1, 32_767), 1, 'Replication factor of topics created without one.'),
  entry(
    'accept.any.replication.factor',
    boolean,
    false,
    'Accept replication factors above the number of nodes; there is one copy all the same. Not a setting of Kafka.',
  ),
  entry('delete.topic.enable', boolean, true, 'Allow clients to delete topics.'),
  entry(
    'min.insync.replicas',
    integer(1),
    1,
    'Stored and shown; every acknowledgement waits for the disk of the one copy.',
  ),
  entry(
    'message.max.bytes',
    integer(0),
    1_048_588,
    'Largest record batch, compressed, for topics without max.message.bytes.',
  ),
  entry('socket.request.max.bytes', integer(1), 104_857_600, 'Largest request; a larger one closes the connection.'),
  entry(
    'fetch.max.bytes',
    integer(1024),
    57_671_680,
    'Most bytes of records in one Fetch response, beyond the first batch.',
  ),
  entry('connections.max.idle.ms', long(1), 600_000, 'Connections without a request for so long are closed.'),
  entry(
    'log.message.timestamp.type',
    choice('CreateTime', 'LogAppendTime'),
    'CreateTime',
    'Whose time records carry, for topics without message.timestamp.type.',
  ),
  entry(
    'log.message.timestamp.before.max.ms',
    long(0),
    unbounded,
    'How far a producer timestamp may lie in the past, for topics without message.timestamp.before.max.ms.',
  ),
  entry(
    'log.message.timestamp.after.max.ms',
    long(0),
    3_600_000,
    'How far a producer timestamp may lie in the future, for topics without message.timestamp.after.max.ms.',
  ),
  entry(
    'log.retention.ms',
    long(-1),
    604_800_000,
    'How long topics without retention.ms keep their messages; -1: forever.',
  ),
  entry(
    'log.retention.bytes',
    long(-1),
    -1,
    'How much a partition of a topic without retention.bytes keeps; -1: any amount.',
  ),
  entry(
    'log.retention.check.interval.ms',
    integer(1),
    300_000,
    'How often topics are looked through for what they no longer keep.',
  ),
  entry(
    'group.initial.rebalance.delay.ms',
    integer(0),
    3000,
    'How long the first rebalance of an empty group waits for more members.',
  ),
  entry('group.min.session.timeout.ms', integer(0), 6000, 'Shortest session timeout that a member may ask for.'),
  entry('group.max.session.timeout.ms', integer(0), 1_800_000, 'Longest session timeout that a member may ask for.'),
  entry('group.max.size', integer(1), int32Max, 'Most members of one group.'),
  entry('offset.metadata.max.bytes', integer(0), 4096, 'Longest metadata text of a committed offset.'),
  entry(
    'offsets.retention.minutes',
    integer(1),
    10_080,
    'How long offsets are kept after their group became empty, or after the commit where there are no members.',
  ),
  entry('offsets.retention.check.interval.ms', integer(1), 600_000, 'How often expired offsets are looked for.'),
  entry(
    'producer.id.expiration.ms',
    integer(1),
    86_400_000,
    'An idempotent producer that wrote nothing for so long is forgotten.',
  ),
] as const satisfies readonly KafkaSetting[];

type Entry = (typeof kafkaSettingTable)[number];
export type KafkaSettingName = Entry['name'];
export type KafkaSettings = { readonly [Item in Entry as Item['name']]: Item['default'] };

export const defaultKafkaSettings = Object.fromEntries(
  kafkaSettingTable.map((setting) => [setting.name, setting.default]),
) as unknown as KafkaSettings;

/** As Kafka shows it. */
export const settingText = (value: string | number | boolean): string =>
  value === unbounded ? '9223372036854775807' : String(value);

/** @throws Error on contradictions between settings */
export const assertKafkaSettings = (settings: KafkaSettings): void => {
  if (settings['group.min.session.timeout.ms'] > settings['group.max.session.timeout.ms']) {
    throw new Error('kafka.group.min.session.timeout.ms must not be above kafka.group.max.session.timeout.ms');
  }
  if (settings['default.replication.factor'] > 1 && !settings['accept.any.replication.factor']) {
    throw new Error(
      'kafka.default.replication.factor must be 1, as there is one node, unless kafka.accept.any.replication.factor is true',
    );
  }
};
