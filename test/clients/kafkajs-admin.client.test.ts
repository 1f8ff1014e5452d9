// Topics, their configuration and the cluster as kafkajs' admin client sees them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import kafkajs, { type KafkaJSAggregateError, type KafkaJSProtocolError } from 'kafkajs';
import { uniqueName, waitFor } from './conditions.ts';
import { startWithKafkajs } from './kafkajs-session.ts';

const { broker, session } = await startWithKafkajs();
const admin = await session.admin();

const rejectsWithType = async (promise: Promise<unknown>, type: string): Promise<void> => {
  await assert.rejects(promise, (error: unknown) => {
    const inner = (error as KafkaJSAggregateError).errors?.[0] ?? error;
    assert.equal((inner as KafkaJSProtocolError).type, type);
    return true;
  });
};

const createTopic = (topic: kafkajs.ITopicConfig): Promise<boolean> => admin.createTopics({ topics: [topic] });

const describeTopic = async (name: string, configNames?: string[]): Promise<Map<string, kafkajs.ConfigEntries>> => {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, ...(configNames ? { configNames } : {}) }],
  });
  return new Map(resources[0]?.configEntries.map((entry) => [entry.configName, entry]));
};

test('the cluster names one broker at the address that was connected to', async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster();
  assert.deepEqual(
    brokers.map(({ host, port }) => `${host}:${port}`),
    [broker.kafka],
  );
  assert.equal(controller, brokers[0]?.nodeId);
  assert.ok(clusterId.length > 0);
});

test('a created topic has its partitions, each led by the broker', async () => {
  const topic = uniqueName('created');
  assert.equal(await createTopic({ topic, numPartitions: 3, replicationFactor: 1 }), true);
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  const partitions = topics[0]?.partitions.toSorted((a, b) => a.partitionId - b.partitionId) ?? [];
  assert.deepEqual(
    partitions.map(({ partitionId }) => partitionId),
    [0, 1, 2],
  );
  for (const { leader, replicas, isr, partitionErrorCode } of partitions) {
    assert.deepEqual([replicas, isr, partitionErrorCode], [[leader], [leader], 0]);
  }
});

test('default partitions and replication are taken for -1', async () => {
  const topic = uniqueName('defaults');
  await createTopic({ topic, numPartitions: -1, replicationFactor: -1 });
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.equal(topics[0]?.partitions.length, 1);
});

test('creating a topic again is no success (kafkajs: false)', async () => {
  const topic = uniqueName('twice');
  assert.equal(await createTopic({ topic }), true);
  assert.equal(await createTopic({ topic }), false);
});

test('validateOnly creates nothing', async () => {
  const topic = uniqueName('validated');
  await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic }] });
  assert.ok(!(await admin.listTopics()).includes(topic));
});

for (const [what, topic, type] of [
  ['an illegal name', { topic: 'no spaces allowed' }, 'INVALID_TOPIC_EXCEPTION'],
  ['a name of 250 characters', { topic: 'n'.repeat(250) }, 'INVALID_TOPIC_EXCEPTION'],
  ['no partitions', { topic: 'p0', numPartitions: 0 }, 'INVALID_PARTITIONS'],
  ['more replicas than brokers', { topic: 'rf3', replicationFactor: 3 }, 'INVALID_REPLICATION_FACTOR'],
  ['an unknown config', { topic: 'cfg', configEntries: [{ name: 'no.such.key', value: '1' }] }, 'INVALID_CONFIG'],
  [
    'a config value of the wrong type',
    { topic: 'cfg', configEntries: [{ name: 'max.message.bytes', value: 'many' }] },
    'INVALID_CONFIG',
  ],
] as const) {
  test(`creating a topic with ${what} is refused with ${type}`, async () => {
    await rejectsWithType(
      createTopic({ ...topic, configEntries: [...('configEntries' in topic ? topic.configEntries : [])] }),
      type,
    );
  });
}

test('a deleted topic is gone and its name is free again, from offset 0', async () => {
  const topic = uniqueName('deleted');
  await createTopic({ topic });
  const producer = await session.producer();
  await producer.send({ topic, messages: [{ value: 'before' }] });
  await admin.deleteTopics({ topics: [topic] });
  await waitFor('the topic to go', async () => !(await admin.listTopics()).includes(topic));
  await createTopic({ topic });
  const offsets = await waitFor('the new topic', async () => {
    const [partition] = await admin.fetchTopicOffsets(topic).catch(() => []);
    return partition?.high === '0' && partition;
  });
  assert.equal(offsets.high, '0');
});

test('describing a topic shows what was set and every default', async () => {
  const topic = uniqueName('described');
  await createTopic({
    topic,
    configEntries: [
      { name: 'retention.ms', value: '12345678' },
      { name: 'cleanup.policy', value: 'compact' },
    ],
  });
  const configs = await describeTopic(topic);
  assert.equal(configs.get('retention.ms')?.configValue, '12345678');
  assert.equal(configs.get('retention.ms')?.isDefault, false);
  assert.equal(configs.get('cleanup.policy')?.configValue, 'compact');
  assert.equal(configs.get('max.message.bytes')?.configValue, '1048588');
  assert.equal(configs.get('max.message.bytes')?.isDefault, true);
  assert.equal(configs.get('compression.type')?.configValue, 'producer');
  assert.equal(configs.get('message.timestamp.type')?.configValue, 'CreateTime');
  for (const key of ['segment.bytes', 'retention.bytes', 'min.insync.replicas', 'delete.retention.ms']) {
    assert.ok(configs.has(key), key);
  }
});

test('describing names only the configs that were asked for', async () => {
  const topic = uniqueName('described');
  await createTopic({ topic });
  assert.deepEqual([...(await describeTopic(topic, ['retention.ms', 'no.such.key'])).keys()], ['retention.ms']);
});

test('describing the broker works', async () => {
  const { brokers } = await admin.describeCluster();
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.BROKER, name: String(brokers[0]?.nodeId) }],
  });
  const names = resources[0]?.configEntries.map(({ configName }) => configName) ?? [];
  for (const key of ['num.partitions', 'auto.create.topics.enable', 'message.max.bytes']) {
    assert.ok(names.includes(key), key);
  }
});

test('describing a topic that is not there is refused with UNKNOWN_TOPIC_OR_PARTITION', async () => {
  await rejectsWithType(describeTopic(uniqueName('absent')), 'UNKNOWN_TOPIC_OR_PARTITION');
});

test('committed offsets can be set, read and outlive the members of their group', async () => {
  const groupId = uniqueName('group');
  const topic = await session.createTopic({ partitions: 2 });
  assert.deepEqual(
    (await admin.fetchOffsets({ groupId, topics: [topic] }))[0]?.partitions.map(({ offset }) => offset),
    ['-1', '-1'],
  );
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 1, offset: '42' }] });
  const offsets = (await admin.fetchOffsets({ groupId, topics: [topic] }))[0]?.partitions ?? [];
  assert.deepEqual(Object.fromEntries(offsets.map(({ partition, offset }) => [partition, offset])), {
    0: '-1',
    1: '42',
  });
});
