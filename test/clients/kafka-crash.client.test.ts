// kill -9 of the broker: whatever a Kafka client was told is stored is there afterwards, once and in order, and
// clients that were connected carry on by themselves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Admin, Consumer, type Message, Producer } from '@platformatic/kafka';
import { skipAgainstPeers } from './broker-under-test.ts';
import { uniqueName, waitFor } from './conditions.ts';
import { startWithKafkajs } from './kafkajs-session.ts';

const { broker, session } = await startWithKafkajs();

const crash = async (): Promise<void> => {
  await broker.kill();
  await broker.restart();
};

const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => String(from + index));

test('an idempotent producer and a consumer go on through a crash; nothing is lost or doubled', {
  skip: skipAgainstPeers,
}, async () => {
  const topic = await session.createTopic();
  const producer = await session.producer({ idempotent: true, maxInFlightRequests: 1 });
  // A member that restarts is a new one, and waits for the session of the old to end.
  const { received, waitForCount } = await session.subscribe(topic, { sessionTimeout: 6000 });
  for (const value of numbers(100)) await producer.send({ topic, messages: [{ value }] });
  const sending = (async () => {
    for (const value of numbers(200, 100)) await producer.send({ topic, messages: [{ value }] });
  })();
  await crash();
  await sending;
  await waitForCount(300);
  // The consumer may see again what it had not committed; the log itself holds each message once.
  const fresh = await session.subscribe(topic);
  assert.deepEqual(await fresh.waitForValues(300), numbers(300));
  assert.deepEqual([...new Set(received.map(({ message }) => Number(message.offset)))], numbers(300).map(Number));
});

test('topics, their configs and ids, and the messages outlive a crash', { skip: skipAgainstPeers }, async () => {
  const topic = await session.createTopic({ partitions: 3, configs: { 'max.message.bytes': '4242' } });
  const producer = await session.producer();
  const messages = numbers(30).map((value) => ({ value, partition: Number(value) % 3 }));
  await producer.send({ topic, messages, acks: -1 });
  const inspect = async () => {
    const admin = new Admin({ clientId: 'client-test', bootstrapBrokers: [broker.kafka] });
    try {
      const metadata = await admin.metadata({ topics: [topic] });
      const configs = await admin.describeConfigs({
        resources: [{ resourceType: 2, resourceName: topic, configurationKeys: ['max.message.bytes'] }],
      });
      const { id, partitionsCount } = metadata.topics.get(topic)!;
      return { id, partitionsCount, maxMessageBytes: configs[0]?.configs[0]?.value };
    } finally {
      await admin.close();
    }
  };
  const earlier = await inspect();
  assert.deepEqual([earlier.partitionsCount, earlier.maxMessageBytes], [3, '4242']);
  await crash();
  assert.deepEqual(await inspect(), earlier);
  const { waitForValues } = await session.subscribe(topic);
  const values = (await waitForValues(30)).map(Number);
  assert.deepEqual(
    values.toSorted((a, b) => a - b),
    numbers(30).map(Number),
  );
});

test('committed offsets outlive a crash, and the group resumes there', { skip: skipAgainstPeers }, async () => {
  const topic = await session.createTopic();
  const groupId = uniqueName('group');
  const producer = await session.producer();
  await producer.send({ topic, messages: numbers(10).map((value) => ({ value })) });
  const first = await session.subscribe(topic, { groupId, autoCommit: false });
  await first.waitForCount(10);
  await first.consumer.commitOffsets([{ topic, partition: 0, offset: '7' }]);
  await first.consumer.disconnect();
  await crash();
  const second = await session.subscribe(topic, { groupId, autoCommit: false });
  assert.deepEqual(await second.waitForValues(3), ['7', '8', '9']);
});

test('a deleted topic stays deleted', { skip: skipAgainstPeers }, async () => {
  const topic = await session.createTopic();
  const admin = await session.admin();
  await admin.deleteTopics({ topics: [topic] });
  await crash();
  const again = await session.admin();
  assert.ok(!(await again.listTopics()).includes(topic));
});

test('a @platformatic/kafka producer and consumer reconnect', { skip: skipAgainstPeers }, async () => {
  const topic = await session.createTopic();
  const options = { clientId: 'client-test', bootstrapBrokers: [broker.kafka], retries: 30, retryDelay: 200 };
  const producer = new Producer(options);
  const consumer = new Consumer({ ...options, groupId: uniqueName('group'), maxWaitTime: 200, heartbeatInterval: 500 });
  const stream = await consumer.consume({
    topics: [topic],
    mode: 'committed',
    fallbackMode: 'earliest',
    autocommit: true,
  });
  const received: Message[] = [];
  stream.on('data', (message) => received.push(message));
  stream.on('error', () => {});
  const send = (value: string): Promise<unknown> =>
    producer.send({ messages: [{ topic, value: Buffer.from(value) }], acks: -1 });
  await send('before');
  await waitFor('the first message', () => received.length === 1);
  await crash();
  await waitFor(
    'a send that works',
    async () =>
      await send('after').then(
        () => true,
        () => false,
      ),
    30_000,
  );
  const reader = await session.subscribe(topic);
  const values = await reader.waitForValues(2);
  assert.deepEqual([values[0], values[1]], ['before', 'after']);
  await Promise.allSettled([consumer.close(true), producer.close()]);
});
