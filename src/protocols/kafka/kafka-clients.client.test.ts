import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Consumer as PlatformaticConsumer,
  Producer as PlatformaticProducer,
  stringDeserializers,
  stringSerializers,
} from '@platformatic/kafka';
import kafkajs from 'kafkajs';
import { InProcessKafka } from './in-process-kafka.ts';

const kafkajsClient = (kafka: InProcessKafka): kafkajs.Kafka =>
  new kafkajs.Kafka({
    clientId: 'test',
    brokers: [`127.0.0.1:${kafka.port}`],
    logLevel: kafkajs.logLevel.NOTHING,
  });

test('kafkajs produces, consumes in a group, commits and goes on where it stopped', async () => {
  await using kafka = await InProcessKafka.start();
  const client = kafkajsClient(kafka);
  const producer = client.producer({ idempotent: true, createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({
    topic: 'orders',
    messages: [{ key: 'k', value: 'first', headers: { trace: 'abc' } }, { value: null }],
  });
  const consume = async (count: number): Promise<[string | undefined, string | undefined, string][]> => {
    const received: [string | undefined, string | undefined, string][] = [];
    const consumer = client.consumer({ groupId: 'readers' });
    await consumer.connect();
    await consumer.subscribe({ topic: 'orders', fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      void consumer.run({
        eachMessage: async ({ message }) => {
          received.push([message.key?.toString(), message.value?.toString(), message.offset]);
          if (received.length === count) resolve();
        },
      });
    });
    await consumer.disconnect();
    return received;
  };
  assert.deepEqual(await consume(2), [
    ['k', 'first', '0'],
    [undefined, undefined, '1'],
  ]);
  await producer.send({ topic: 'orders', messages: [{ value: 'third' }] });
  assert.deepEqual(await consume(1), [[undefined, 'third', '2']]);
  await producer.disconnect();
});

test('kafkajs creates, describes and deletes topics', async () => {
  await using kafka = await InProcessKafka.start();
  const admin = kafkajsClient(kafka).admin();
  await admin.connect();
  const entry = { name: 'retention.ms', value: '1000' };
  assert.equal(await admin.createTopics({ topics: [{ topic: 'a', numPartitions: 3, configEntries: [entry] }] }), true);
  assert.equal(await admin.createTopics({ topics: [{ topic: 'a' }] }), false);
  await assert.rejects(admin.createTopics({ topics: [{ topic: 'b', replicationFactor: 3 }] }));
  await assert.rejects(
    admin.createTopics({ topics: [{ topic: 'b', configEntries: [{ name: 'no.such.config', value: '1' }] }] }),
  );
  assert.deepEqual(await admin.listTopics(), ['a']);
  const { topics } = await admin.fetchTopicMetadata({ topics: ['a'] });
  assert.deepEqual(
    topics[0]!.partitions.map(({ leader, isr }) => [leader, isr]),
    [
      [1, [1]],
      [1, [1]],
      [1, [1]],
    ],
  );
  const { resources } = await admin.describeConfigs({
    includeSynonyms: true,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: 'a' }],
  });
  const configs = new Map(resources[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]));
  assert.equal(configs.get('retention.ms'), '1000');
  assert.equal(configs.get('max.message.bytes'), '1048588');
  const { clusterId, controller, brokers } = await admin.describeCluster();
  assert.deepEqual([clusterId.length, controller, brokers.length], [22, 1, 1]);
  await admin.deleteTopics({ topics: ['a'] });
  assert.deepEqual(await admin.listTopics(), []);
  await admin.disconnect();
});

test('a transactional producer of kafkajs fails at once instead of retrying', async () => {
  await using kafka = await InProcessKafka.start();
  const producer = kafkajsClient(kafka).producer({ transactionalId: 'tx', maxInFlightRequests: 1, idempotent: true });
  await assert.rejects(
    producer.connect().then(() => producer.transaction()),
    { retriable: false },
  );
  await producer.disconnect();
});

test('@platformatic/kafka, which speaks only the newer encodings, produces and consumes in a group', async () => {
  await using kafka = await InProcessKafka.start();
  const bootstrapBrokers = [`127.0.0.1:${kafka.port}`];
  const producer = new PlatformaticProducer({
    clientId: 'p',
    bootstrapBrokers,
    serializers: stringSerializers,
    autocreateTopics: true,
  });
  const messages = Array.from({ length: 20 }, (_, index) => ({ topic: 'events', key: 'k', value: `value ${index}` }));
  await producer.send({ messages, acks: -1 });
  await producer.close();
  const consumer = new PlatformaticConsumer({
    clientId: 'c',
    groupId: 'group',
    bootstrapBrokers,
    deserializers: stringDeserializers,
  });
  const stream = await consumer.consume({ topics: ['events'], mode: 'earliest', autocommit: true });
  const values: string[] = [];
  for await (const { value } of stream) {
    values.push(value);
    if (values.length === messages.length) break;
  }
  assert.deepEqual(
    values,
    messages.map(({ value }) => value),
  );
  await consumer.close(true);
});
