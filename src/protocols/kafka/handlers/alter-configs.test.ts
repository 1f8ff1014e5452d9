/** AlterConfigs and IncrementalAlterConfigs: codes and words are those of Apache Kafka 4.3, save where docs/kafka.md says otherwise. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, makeBatch, type RawClient } from '../in-process-kafka.ts';
import { defaultKafkaSettings } from '../kafka-settings.ts';
import { retentionPolicy } from '../topic-config.ts';

const topicResource = 2;
const brokerResource = 4;
const set = 0;
const remove = 1;
const append = 2;
const subtract = 3;

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

let topicCount = 0;

const createTopic = (config: Record<string, string> = {}): string => {
  const name = `t${++topicCount}`;
  kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map(Object.entries(config)) });
  return name;
};

const configOf = (name: string): Record<string, string> =>
  Object.fromEntries(kafka.broker.vhost('/')!.topic(name)!.config);

type Change = readonly [name: string, operation: number, value: string | null];
type Answer = [errorCode: number, errorMessage: string | null];

interface Asked {
  readonly type?: number;
  readonly name: string;
  readonly changes: readonly Change[];
}

interface AskOptions {
  readonly version?: number;
  readonly validateOnly?: boolean;
}

const incrementally = async (asked: readonly Asked[], options: AskOptions = {}): Promise<Answer[]> => {
  const resources = asked.map(({ type = topicResource, name, changes }) => ({
    resourceType: type,
    resourceName: name,
    configs: changes.map(([key, configOperation, value]) => ({ name: key, configOperation, value })),
  }));
  const { version = 1, validateOnly = false } = options;
  const { responses } = await client.call('IncrementalAlterConfigs', version, { resources, validateOnly });
  assert.deepEqual(
    responses.map(({ resourceType, resourceName }) => [resourceType, resourceName]),
    resources.map(({ resourceType, resourceName }) => [resourceType, resourceName]),
  );
  return responses.map(({ errorCode, errorMessage }) => [errorCode, errorMessage]);
};

/** Of one topic. */
const change = async (name: string, ...changes: readonly Change[]): Promise<Answer> =>
  (await incrementally([{ name, changes }]))[0]!;

const replace = async (
  name: string,
  configs: Record<string, string | null>,
  { version = 2, validateOnly = false }: AskOptions = {},
): Promise<Answer> => {
  const entries = Object.entries(configs).map(([key, value]) => ({ name: key, value }));
  const resources = [{ resourceType: topicResource, resourceName: name, configs: entries }];
  const { responses } = await client.call('AlterConfigs', version, { resources, validateOnly });
  return [responses[0]!.errorCode, responses[0]!.errorMessage];
};

const done: Answer = [ErrorCode.NONE, null];
const invalid = (message: string): Answer => [ErrorCode.INVALID_CONFIG, message];
const refused = (message: string): Answer => [ErrorCode.INVALID_REQUEST, message];

test('set, delete, append and subtract change what they name and nothing else, in every version', async () => {
  const name = createTopic({ 'segment.ms': '60000' });
  for (const version of [0, 1]) {
    const [answer] = await incrementally([{ name, changes: [['retention.ms', set, ' 1234 ']] }], { version });
    assert.deepEqual(answer, done);
    assert.deepEqual(configOf(name), { 'segment.ms': '60000', 'retention.ms': '1234' });
  }
  assert.deepEqual(await change(name, ['retention.ms', remove, 'ignored'], ['flush.ms', remove, null]), done);
  assert.deepEqual(await change(name, ['cleanup.policy', append, 'compact'], ['segment.ms', remove, null]), done);
  assert.deepEqual(configOf(name), { 'cleanup.policy': 'delete,compact' }, 'what the default has stays in it');
  assert.deepEqual(await change(name, ['cleanup.policy', append, 'delete']), done);
  assert.deepEqual(configOf(name), { 'cleanup.policy': 'delete,compact' });
  assert.deepEqual(await change(name, ['cleanup.policy', subtract, 'delete']), done);
  assert.deepEqual(configOf(name), { 'cleanup.policy': 'compact' });
  assert.deepEqual(await change(name, ['cleanup.policy', subtract, 'compact']), done);
  assert.deepEqual(configOf(name), { 'cleanup.policy': '' });
  assert.deepEqual(await change(name, ['cleanup.policy', set, ' compact , delete,delete ']), done);
  assert.deepEqual(configOf(name), { 'cleanup.policy': 'compact,delete' });
});

test('AlterConfigs sets what it names and resets everything else, in every version', async () => {
  const name = createTopic({ 'segment.ms': '60000' });
  for (const version of [0, 1, 2]) {
    assert.deepEqual(await replace(name, { 'retention.ms': `${version}` }, { version }), done);
    assert.deepEqual(configOf(name), { 'retention.ms': `${version}` });
  }
  assert.deepEqual(await replace(name, {}), done);
  assert.deepEqual(configOf(name), {});
});

test('what is refused changes nothing, nor does what is only to be validated', async () => {
  const name = createTopic({ 'segment.ms': '60000' });
  const answer = await change(name, ['retention.ms', set, '1'], ['flush.ms', set, 'x']);
  assert.deepEqual(answer, invalid('Invalid value x for configuration flush.ms: Not a number of type LONG'));
  const good = [{ name, changes: [['retention.ms', set, '1']] as Change[] }];
  assert.deepEqual(await incrementally(good, { validateOnly: true }), [done]);
  assert.deepEqual(await replace(name, { 'retention.ms': '1' }, { validateOnly: true }), done);
  assert.deepEqual(
    await replace(name, { 'retention.ms': 'x' }, { validateOnly: true }),
    invalid('Invalid value x for configuration retention.ms: Not a number of type LONG'),
  );
  assert.deepEqual(configOf(name), { 'segment.ms': '60000' });
});

const isNotList = (verb: string, name: string): Answer =>
  invalid(`Can't ${verb} to key ${name} because its type is not LIST.`);
const invalidValue = (value: string, name: string, reason: string): Answer =>
  invalid(`Invalid value ${value} for configuration ${name}: ${reason}`);
const nullValue = (names: string): Answer => refused(`Null value not supported for : ${names}`);

const refusals: readonly (readonly [what: string, changes: readonly Change[], answer: Answer])[] = [
  ['an unknown config', [['foo.bar', set, '1']], invalid('Unknown topic config name: foo.bar')],
  ['appending to an unknown config', [['foo.bar', append, '1']], isNotList('APPEND', 'foo.bar')],
  ['appending to what is no list', [['retention.ms', append, '1']], isNotList('APPEND', 'retention.ms')],
  ['subtracting from what is no list', [['retention.ms', subtract, '1']], isNotList('SUBTRACT', 'retention.ms')],
  ['text for a number', [['retention.ms', set, '']], invalidValue('', 'retention.ms', 'Not a number of type LONG')],
  [
    'a number below the least',
    [['retention.ms', set, '-2']],
    invalidValue('-2', 'retention.ms', 'Value must be at least -1'),
  ],
  [
    'a policy that there is not',
    [['cleanup.policy', append, 'foo']],
    invalidValue('foo', 'cleanup.policy', 'String must be one of: compact, delete'),
  ],
  [
    'an empty item',
    [['cleanup.policy', set, 'delete,']],
    invalid("Configuration 'cleanup.policy' values must not be empty."),
  ],
  ['null', [['retention.ms', set, null]], nullValue('retention.ms')],
  [
    'several nulls',
    [
      ['cleanup.policy', append, null],
      ['retention.ms', remove, null],
      ['segment.ms', subtract, null],
    ],
    nullValue('cleanup.policy, segment.ms'),
  ],
  [
    'one config twice',
    [
      ['retention.ms', set, '1'],
      ['retention.ms', remove, null],
    ],
    refused('Error due to duplicate config keys'),
  ],
  ['an unknown operation', [['retention.ms', 9, '1']], refused('Unknown operation type 9 for retention.ms')],
];

for (const [what, changes, answer] of refusals) {
  test(`${what} is refused`, async () => {
    const name = createTopic();
    assert.deepEqual(await change(name, ...changes), answer);
    assert.deepEqual(configOf(name), {});
  });
}

test('AlterConfigs refuses null and what is unknown', async () => {
  const name = createTopic();
  assert.deepEqual(await replace(name, { 'retention.ms': null }), nullValue('retention.ms'));
  assert.deepEqual(await replace(name, { 'foo.bar': '1' }), invalid('Unknown topic config name: foo.bar'));
});

test('a default may be set for configs whose other values are refused; deleting what is unknown is no mistake', async () => {
  const name = createTopic();
  assert.deepEqual(await change(name, ['remote.storage.enable', set, 'false'], ['foo.bar', remove, null]), done);
  assert.equal((await change(name, ['remote.storage.enable', set, 'true']))[0], ErrorCode.INVALID_CONFIG);
});

test('each resource gets its own answer', async () => {
  const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
  kafka.broker.vhost('/')!.declareQueue('work', properties, undefined);
  const changes: Change[] = [['retention.ms', set, '1']];
  const [name, twice] = [createTopic(), createTopic()];
  const nodeId = String(defaultKafkaSettings['node.id']);
  assert.deepEqual(
    await incrementally([
      { name, changes },
      { name: twice, changes },
      { name: 'absent', changes },
      { name: twice, changes: [] },
      { name: 'no blanks', changes },
      { name: '', changes },
      { name: 'work', changes },
      { type: brokerResource, name: nodeId, changes },
      { type: brokerResource, name: '', changes },
      { type: brokerResource, name: '4711', changes },
      { type: brokerResource, name: 'x', changes },
      { type: 3, name, changes },
    ]),
    [
      done,
      refused('Each resource must appear at most once.'),
      [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'absent' does not exist."],
      refused('Each resource must appear at most once.'),
      [
        ErrorCode.INVALID_TOPIC_EXCEPTION,
        "Topic name is invalid: 'no blanks' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
      ],
      refused('Default topic resources are not allowed.'),
      invalid("'work' is a queue: it has no topic configs"),
      refused('Cannot update these configs dynamically: [retention.ms]'),
      refused('Cannot update these configs dynamically: [retention.ms]'),
      refused(`Unexpected broker id, expected ${nodeId}, but received 4711`),
      refused('Node id must be an integer, but it is: x'),
      refused('Unknown resource type 3'),
    ],
  );
  assert.deepEqual([configOf(name), configOf(twice)], [{ 'retention.ms': '1' }, {}]);
  assert.deepEqual(await incrementally([{ type: brokerResource, name: nodeId, changes: [] }]), [done]);
});

test('a change holds for the next Produce and after a restart', async () => {
  const name = createTopic();
  const produce = async (): Promise<number> => {
    const partitionData = [{ index: 0, records: makeBatch({ values: ['v'.repeat(500)] }) }];
    const topicData = [{ name, topicId: '', partitionData }];
    const response = await client.call('Produce', 7, { acks: -1, timeoutMs: 1000, topicData });
    return response.responses[0]!.partitionResponses[0]!.errorCode;
  };
  assert.equal(await produce(), ErrorCode.NONE);
  await change(name, ['max.message.bytes', set, '100']);
  assert.equal(await produce(), ErrorCode.MESSAGE_TOO_LARGE);
  const { disk } = kafka;
  await kafka[Symbol.asyncDispose]();
  kafka = await InProcessKafka.start({ disk });
  client = await kafka.client();
  assert.equal(await produce(), ErrorCode.MESSAGE_TOO_LARGE);
  await change(name, ['max.message.bytes', remove, null]);
  assert.equal(await produce(), ErrorCode.NONE);
});

test('how long and how much a topic keeps follows from its configs and the settings', () => {
  const forever = Number.POSITIVE_INFINITY;
  const settings = { ...defaultKafkaSettings, 'log.retention.ms': 5000, 'log.retention.bytes': 600 };
  for (const [config, ageMs, sizeBytes] of [
    [{}, 5000, 600],
    [{ 'retention.ms': '70', 'retention.bytes': '80' }, 70, 80],
    [{ 'retention.ms': '-1', 'retention.bytes': '-1' }, forever, forever],
    [{ 'cleanup.policy': 'compact', 'retention.ms': '70' }, forever, forever],
    [{ 'cleanup.policy': '' }, forever, forever],
    [{ 'cleanup.policy': 'compact,delete', 'retention.ms': '70' }, 70, 600],
  ] as const) {
    const name = createTopic(config as Record<string, string>);
    assert.deepEqual(retentionPolicy(kafka.broker.vhost('/')!.topic(name)!, settings), { ageMs, sizeBytes });
  }
});
