// @platformatic/kafka speaks only the flexible request versions (KIP-482), topic ids and fetch sessions: what it
// produces returns unchanged, groups share their work, and bad requests get Kafka's codes.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  Admin,
  allowedCompressionsAlgorithms,
  type CompressionAlgorithmValue,
  Connection,
  Consumer,
  compressionsAlgorithms,
  type Message,
  type MessagesStream,
  Producer,
  produceV9,
} from '@platformatic/kafka';
import { type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor } from './conditions.ts';

type Closable = { close(force?: boolean): Promise<unknown> };
type Stream = MessagesStream<Buffer, Buffer, Buffer, Buffer>;

const errorCodes = { unknownTopicOrPartition: 3, messageTooLarge: 10 } as const;

let broker: BrokerUnderTest;
let admin: Admin;
const closables: Closable[] = [];

const clientOptions = () => ({ clientId: 'client-test', bootstrapBrokers: [broker.kafka], retryDelay: 100 });

const closeLater = <T extends Closable>(client: T): T => {
  closables.unshift(client);
  return client;
};

const newProducer = (): Producer<Buffer, Buffer, Buffer, Buffer> => closeLater(new Producer(clientOptions()));

const newConsumer = (groupId = uniqueName('group')): Consumer<Buffer, Buffer, Buffer, Buffer> =>
  closeLater(
    new Consumer({ ...clientOptions(), groupId, maxWaitTime: 200, sessionTimeout: 6000, heartbeatInterval: 500 }),
  );

before(async () => {
  broker = await startBrokerUnderTest();
  admin = new Admin(clientOptions());
});

after(async () => {
  await Promise.allSettled(closables.map((client) => client.close(true)));
  await admin?.close();
  await broker?.stop();
});

const createTopic = async (partitions = 1, configs: Record<string, string> = {}): Promise<string> => {
  const topic = uniqueName('topic');
  await admin.createTopics({
    topics: [topic],
    partitions,
    replicas: 1,
    configs: Object.entries(configs).map(([name, value]) => ({ name, value })),
  });
  // Kafka answers before the partitions are up.
  await waitFor(`all partitions of ${topic}`, async () => {
    const probe = new Consumer({ ...clientOptions(), groupId: uniqueName('probe'), retries: 0 });
    const offsets = await probe.listOffsets({ topics: [topic] }).catch(() => undefined);
    await probe.close(true);
    return offsets?.get(topic)?.length === partitions;
  });
  return topic;
};

interface Reading {
  readonly stream: Stream;
  readonly received: Message[];
  readonly waitForCount: (count: number) => Promise<Message[]>;
}

const read = async (topic: string, consumer = newConsumer()): Promise<Reading> => {
  const stream = await consumer.consume({
    topics: [topic],
    mode: 'committed',
    fallbackMode: 'earliest',
    autocommit: true,
  });
  const received: Message[] = [];
  stream.on('data', (message) => received.push(message));
  stream.on('error', () => {}); // a consumer closed by force ends its stream with one
  const waitForCount = (count: number): Promise<Message[]> =>
    waitFor(`${count} messages of ${topic}`, () => received.length >= count && received, 30_000);
  return { stream, received, waitForCount };
};

const usableCodecs = allowedCompressionsAlgorithms.filter((codec) => compressionsAlgorithms[codec].available);

for (const compression of usableCodecs) {
  test(`a batch of 300 messages returns unchanged and in order, codec ${compression}`, async () => {
    const topic = await createTopic();
    const messages = Array.from({ length: 300 }, (_, index) => ({
      topic,
      key: Buffer.from(`key-${index}`),
      value: Buffer.concat([Buffer.from(`${index}:`), randomBytes(64), Buffer.alloc(64)]),
      headers: new Map([[Buffer.from('index'), Buffer.from(String(index))]]),
    }));
    await newProducer().send({ messages, compression: compression as CompressionAlgorithmValue, acks: -1 });
    const received = await (await read(topic)).waitForCount(300);
    assert.deepEqual(
      received.map(({ offset, key, value }) => [offset, key, value]),
      messages.map(({ key, value }, index) => [BigInt(index), key, value]),
    );
    assert.deepEqual(
      received.map(({ headers }) => [...headers].map(String)),
      messages.map(({ headers }) => [...headers].map(String)),
    );
  });
}

test('a message of 1 MB passes by default, one of 16 MB where max.message.bytes allows it', async () => {
  const oneMegabyte = randomBytes(1_000_000);
  const sixteenMegabytes = randomBytes(16 * 1024 * 1024);
  const stock = await createTopic();
  const large = await createTopic(1, { 'max.message.bytes': '20000000' });
  const producer = newProducer();
  await producer.send({ messages: [{ topic: stock, value: oneMegabyte }], acks: -1 });
  await producer.send({ messages: [{ topic: large, value: sixteenMegabytes }], acks: -1 });
  assert.ok((await (await read(stock)).waitForCount(1))[0]?.value.equals(oneMegabyte));
  assert.ok((await (await read(large)).waitForCount(1))[0]?.value.equals(sixteenMegabytes));
});

test('an idempotent producer writes each message once and in order', async () => {
  const topic = await createTopic();
  const producer = newProducer();
  for (let index = 0; index < 30; index += 1) {
    const messages = [{ topic, value: Buffer.from(String(index)) }];
    const { offsets } = await producer.send({ messages, idempotent: true, acks: -1 });
    assert.equal(offsets?.[0]?.offset, BigInt(index));
  }
  const received = await (await read(topic)).waitForCount(30);
  assert.deepEqual(
    received.map(({ value }) => String(value)),
    Array.from({ length: 30 }, (_, index) => String(index)),
  );
});

test('idempotent producers are not taken for one another', async () => {
  const topic = await createTopic();
  const values = ['a', 'b', 'c'];
  for (const value of values) {
    await newProducer().send({ messages: [{ topic, value: Buffer.from(value) }], idempotent: true, acks: -1 });
  }
  const received = await (await read(topic)).waitForCount(values.length);
  assert.deepEqual(
    received.map(({ value }) => String(value)),
    values,
  );
});

test('offsets are listed by earliest, latest and time, with the time found', async () => {
  const topic = await createTopic();
  const base = 1_700_000_000_000n;
  const messages = Array.from({ length: 10 }, (_, index) => ({
    topic,
    value: Buffer.from(String(index)),
    timestamp: base + BigInt(index) * 1000n,
  }));
  await newProducer().send({ messages, acks: -1 });
  const consumer = newConsumer();
  const at = async (timestamp: bigint): Promise<bigint | undefined> =>
    (await consumer.listOffsets({ topics: [topic], timestamp })).get(topic)?.[0];
  assert.equal(await at(-1n), 10n, 'latest');
  assert.equal(await at(-2n), 0n, 'earliest');
  const withTime = await consumer.listOffsetsWithTimestamps({ topics: [topic], timestamp: base + 3500n });
  assert.deepEqual(withTime.get(topic)?.get(0), { offset: 4n, timestamp: base + 4000n });
  const newest = await consumer.listOffsetsWithTimestamps({ topics: [topic], timestamp: -3n });
  assert.deepEqual(newest.get(topic)?.get(0), { offset: 9n, timestamp: base + 9000n });
});

test('a consumer placed inside a batch starts at exactly that message', async () => {
  const topic = await createTopic();
  const messages = Array.from({ length: 20 }, (_, index) => ({ topic, value: Buffer.from(String(index)) }));
  await newProducer().send({ messages, acks: -1 });
  const consumer = newConsumer();
  const offsets = [{ topic, partition: 0, offset: 13n }];
  const stream = await consumer.consume({ topics: [topic], mode: 'manual', offsets });
  const values: string[] = [];
  stream.on('data', ({ value }) => values.push(String(value)));
  await waitFor('the last message', () => values.includes('19'));
  assert.deepEqual(values, ['13', '14', '15', '16', '17', '18', '19']);
});

const produceRaw = async (topic: string, partition: number, value: Buffer): Promise<{ errorCode: number }> => {
  const connection = new Connection('client-test');
  const [host = '', port] = broker.kafka.split(':');
  await connection.connect(host, Number(port));
  const codeOf = (answer: unknown): { errorCode: number } => {
    const { responses } = answer as { responses: { partitionResponses: { errorCode: number }[] }[] };
    return { errorCode: responses[0]?.partitionResponses[0]?.errorCode ?? -1 };
  };
  try {
    const sent = produceV9.api.async(connection, -1, 5000, [{ topic, partition, value }], { compression: 'none' });
    return codeOf(await sent.catch((error: { response: unknown }) => error.response));
  } finally {
    await connection.close();
  }
};

test('producing to an unknown topic or partition answers UNKNOWN_TOPIC_OR_PARTITION', async () => {
  const topic = await createTopic();
  const value = Buffer.from('v');
  assert.equal((await produceRaw(topic, 7, value)).errorCode, errorCodes.unknownTopicOrPartition);
  assert.equal((await produceRaw(uniqueName('absent'), 0, value)).errorCode, errorCodes.unknownTopicOrPartition);
  assert.equal((await produceRaw(topic, 0, value)).errorCode, 0);
});

test('producing a batch above max.message.bytes answers MESSAGE_TOO_LARGE', async () => {
  const topic = await createTopic(1, { 'max.message.bytes': '1000' });
  assert.equal((await produceRaw(topic, 0, Buffer.alloc(1001))).errorCode, errorCodes.messageTooLarge);
  assert.equal((await produceRaw(topic, 0, Buffer.alloc(100))).errorCode, 0);
});

test('deleting a topic that is not there is refused', async () => {
  await assert.rejects(admin.deleteTopics({ topics: [uniqueName('absent')] }), (error: { findBy?: unknown }) => {
    const found = (error as unknown as { findBy(property: string, value: unknown): unknown }).findBy('apiCode', 3);
    assert.notEqual(found, null);
    return true;
  });
});

test('a topic that is deleted and created again has a new id', async () => {
  const topic = uniqueName('recreated');
  const [first] = await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 });
  await admin.deleteTopics({ topics: [topic] });
  const second = await waitFor('the name to be free', async () => {
    const created = await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 }).catch(() => undefined);
    return created?.[0];
  });
  assert.match(second.id, /^[0-9a-f]{8}-[0-9a-f]{4}-/);
  assert.notEqual(second.id, first?.id);
});

describe('groups', { concurrency: true }, () => {
  const partitionsOf = (consumer: Consumer, topic: string): number[] =>
    consumer.assignments?.find((assignment) => assignment.topic === topic)?.partitions ?? [];

  const waitForShares = (consumers: Consumer[], topic: string, shares: string): Promise<unknown> =>
    waitFor(
      `shares of ${shares}`,
      () => {
        const owned = consumers.map((consumer) => partitionsOf(consumer, topic));
        return (
          new Set(owned.flat()).size === 6 &&
          owned
            .map((one) => one.length)
            .sort()
            .join() === shares
        );
      },
      30_000,
    );

  const sendToAll = (topic: string, value: string): Promise<unknown> =>
    newProducer().send({
      messages: Array.from({ length: 6 }, (_, partition) => ({ topic, partition, value: Buffer.from(value) })),
      acks: -1,
    });

  const waitForEach = (readings: Reading[], value: string): Promise<unknown> =>
    waitFor(
      `${value} of each partition`,
      () => {
        const messages = readings.flatMap(({ received }) => received);
        return new Set(messages.filter((m) => String(m.value) === value).map((m) => m.partition)).size === 6;
      },
      30_000,
    );

  test('three members share six partitions; what one leaves behind the others take over', async () => {
    const topic = await createTopic(6);
    const groupId = uniqueName('group');
    const consumers = [newConsumer(groupId), newConsumer(groupId), newConsumer(groupId)];
    const readings: Reading[] = [];
    for (const consumer of consumers) readings.push(await read(topic, consumer));
    await waitForShares(consumers, topic, '2,2,2');
    await sendToAll(topic, 'three');
    await waitForEach(readings, 'three');
    await consumers[2]?.close(true);
    await waitForShares(consumers.slice(0, 2), topic, '3,3');
    await sendToAll(topic, 'two');
    await waitForEach(readings.slice(0, 2), 'two');
  });

  test('a commit is where the next member resumes', async () => {
    const topic = await createTopic();
    const groupId = uniqueName('group');
    const messages = Array.from({ length: 10 }, (_, index) => ({ topic, value: Buffer.from(String(index)) }));
    await newProducer().send({ messages, acks: -1 });
    const first = newConsumer(groupId);
    const stream = await first.consume({ topics: [topic], mode: 'earliest', autocommit: false });
    const seen: Message[] = [];
    stream.on('data', (message) => seen.push(message));
    await waitFor('ten messages', () => seen.length === 10);
    await seen[5]?.commit();
    const topics = [{ topic, partitions: [0] }];
    assert.equal((await first.listCommittedOffsets({ topics })).get(topic)?.[0], 6n);
    stream.on('error', () => {});
    await first.close(true);
    const second = await read(topic, newConsumer(groupId));
    assert.deepEqual(
      (await second.waitForCount(4)).map(({ value }) => String(value)),
      ['6', '7', '8', '9'],
    );
  });
});
