// One message, two protocols: what a Kafka client produces an AMQP client consumes, and the other way round, with
// keys, headers, timestamps and tombstones mapped as `mapping` says (docs/interop.md is its readable form).
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { AMQPClient } from '@cloudamqp/amqp-client';
import type { ConsumeMessage, Options } from 'amqplib';
import type { KafkaMessage, Message } from 'kafkajs';
import {
  AmqplibSession,
  bodiesAndMarks,
  type ChannelError,
  collect,
  newDurableQueue,
  type ObservedChannel,
  publishAll,
} from './amqplib-session.ts';
import { againstPeers, type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor, within } from './conditions.ts';
import { kafkajsCodecs } from './kafkajs-codecs.ts';
import { KafkajsSession } from './kafkajs-session.ts';

/** Every expectation about the mapping that is ours to choose. */
const mapping = {
  /** Queue argument that makes a queue a named subscription of a Kafka topic. */
  topicArgument: 'x-topic',
  /** AMQP header that carries the Kafka key, both ways. */
  keyHeader: 'x-key',
  /** AMQP header that is true for a null Kafka value, both ways. */
  tombstoneHeader: 'x-tombstone',
  /** Before the name of a record header that would be taken for one of the broker. */
  reservedPrefix: 'x-kafka-header-',
  /** AMQP property -> Kafka header. */
  propertyHeaders: {
    contentType: 'amqp.content-type',
    contentEncoding: 'amqp.content-encoding',
    correlationId: 'amqp.correlation-id',
    replyTo: 'amqp.reply-to',
    expiration: 'amqp.expiration',
    messageId: 'amqp.message-id',
    type: 'amqp.type',
    userId: 'amqp.user-id',
    appId: 'amqp.app-id',
    priority: 'amqp.priority',
  },
  /** What an AMQP header of each type is in Kafka; null is a header with a null value. */
  headerInKafka: [
    ['text', 'grün', 'grün'],
    ['empty', '', ''],
    ['yes', true, 'true'],
    ['no', false, 'false'],
    ['int', 1_234_567, '1234567'],
    ['negative', -5, '-5'],
    ['long', 9_007_199_254_740_991, '9007199254740991'],
    ['double', 1.5, '1.5'],
    ['nothing', null, null],
    ['binary', Buffer.from([0, 0xff, 0x80]), Buffer.from([0, 0xff, 0x80])],
    ['list', [1, 'two'], '[1,"two"]'],
    ['table', { inner: 'x' }, '{"inner":"x"}'],
  ] as [name: string, amqp: unknown, kafka: string | Buffer | null][],
  /** What a message that came from Kafka says about its way. */
  deliveredExchange: '',
} as const;

const skip = againstPeers ? 'no peer speaks both protocols' : false;

let broker: BrokerUnderTest;
let kafka: KafkajsSession;
let amqp: AmqplibSession;

before(async () => {
  if (skip) return;
  broker = await startBrokerUnderTest();
  kafka = new KafkajsSession(broker.kafka);
  amqp = new AmqplibSession(broker.amqp);
});

after(async () => {
  await kafka?.[Symbol.asyncDispose]();
  await amqp?.[Symbol.asyncDispose]();
  await broker?.stop();
});

/** AMQP has one type for text and bytes, and clients show it as text: both forms of the same bytes are right. */
const assertBytes = (actual: unknown, expected: Buffer, what: string): void => {
  if (typeof actual === 'string') assert.equal(actual, expected.toString(), what);
  else assert.deepEqual(actual, expected, what);
};

const declareSubscription = async (channel: ObservedChannel, topic: string): Promise<string> => {
  const queue = uniqueName('subscription');
  await channel.assertQueue(queue, { durable: true, arguments: { [mapping.topicArgument]: topic } });
  return queue;
};

const toAmqp = async (messages: Message[], options: { partitions?: number; compression?: number } = {}) => {
  const topic = await kafka.createTopic({ partitions: options.partitions ?? 1 });
  const channel = await amqp.channel();
  const queue = await declareSubscription(channel, topic);
  const producer = await kafka.producer();
  await producer.send({ topic, messages, ...(options.compression ? { compression: options.compression } : {}) });
  const { waitForCount } = await collect(channel, queue);
  return { topic, queue, channel, received: await waitForCount(messages.length) };
};

const toKafka = async (messages: [body: Buffer | string, options: Options.Publish][], target: 'queue' | 'topic') => {
  const channel = await amqp.channel();
  const name = target === 'topic' ? await kafka.createTopic() : await newDurableQueue(channel, 'queue');
  for (const [body, options] of messages) {
    channel.sendToQueue(name, Buffer.from(body), { persistent: true, ...options });
  }
  await channel.waitForConfirms();
  const { waitForCount } = await kafka.subscribe(name);
  const received = (await waitForCount(messages.length)).map(({ message }) => message);
  return { name, channel, received };
};

const headersOf = ({ properties }: ConsumeMessage): Record<string, unknown> => properties.headers ?? {};

describe('Kafka to AMQP', { skip }, () => {
  for (const [name, compression] of Object.entries(kafkajsCodecs)) {
    test(`a batch with codec ${name} arrives message by message, in order`, async () => {
      const messages = Array.from({ length: 100 }, (_, index) => ({
        key: `key-${index}`,
        value: Buffer.concat([randomBytes(32), Buffer.alloc(200)]),
        headers: { index: String(index) },
        timestamp: String(1_700_000_000_000 + index * 1000),
      }));
      const { received } = await toAmqp(messages, { compression });
      for (const [index, message] of received.entries()) {
        const { key, value, headers, timestamp } = messages[index]!;
        assert.ok(message.content.equals(value), `body ${index}`);
        assertBytes(headersOf(message)[mapping.keyHeader], Buffer.from(key), `key ${index}`);
        assertBytes(headersOf(message).index, Buffer.from(headers.index), `header ${index}`);
        assert.equal(message.properties.timestamp, Math.floor(Number(timestamp) / 1000));
        assert.equal(message.fields.exchange, mapping.deliveredExchange);
      }
    });
  }

  test('no key, an empty key and a binary key can be told apart', async () => {
    const binary = Buffer.from([0, 0xff, 0x80]);
    const { received } = await toAmqp([null, '', binary].map((key) => ({ key, value: 'v' })));
    assert.ok(!(mapping.keyHeader in headersOf(received[0]!)));
    assertBytes(headersOf(received[1]!)[mapping.keyHeader], Buffer.alloc(0), 'empty key');
    assertBytes(headersOf(received[2]!)[mapping.keyHeader], binary, 'binary key');
  });

  test('headers of every kind arrive', async () => {
    const binary = Buffer.from([0, 0xff, 0x80]);
    const { received } = await toAmqp([
      {
        value: 'v',
        headers: { text: 'grün', empty: '', binary, repeated: ['a', 'b'], traceparent: '00-4bf9-00f0-01' },
      },
    ]);
    const headers = headersOf(received[0]!);
    assertBytes(headers.text, Buffer.from('grün'), 'text');
    assertBytes(headers.empty, Buffer.alloc(0), 'empty');
    assertBytes(headers.binary, binary, 'binary');
    assertBytes(headers.traceparent, Buffer.from('00-4bf9-00f0-01'), 'traceparent');
    const repeated = headers.repeated as unknown[];
    assertBytes(repeated[0], Buffer.from('a'), 'first of the repeated');
    assertBytes(repeated[1], Buffer.from('b'), 'second of the repeated');
  });

  test('a tombstone is an empty message that says so; an empty value is not', async () => {
    const { received } = await toAmqp([
      { key: 'k', value: null },
      { key: 'k', value: '' },
    ]);
    assert.deepEqual(
      received.map((message) => [message.content.length, headersOf(message)[mapping.tombstoneHeader] ?? false]),
      [
        [0, true],
        [0, false],
      ],
    );
  });

  test('a message of 1 MB arrives whole', async () => {
    const value = randomBytes(1_000_000);
    const { received } = await toAmqp([{ value }]);
    assert.ok(received[0]?.content.equals(value));
  });

  test('what does not fit into a frame of the client is left out and said to be, and what follows arrives', async () => {
    const topic = await kafka.createTopic();
    const big = Buffer.alloc(20_000, 65);
    await (await kafka.producer()).send({
      topic,
      messages: [
        { key: big, value: 'large key', headers: { h: 'v' } },
        { key: 'k', value: 'large header', headers: { big, h: 'v' } },
        { key: 'k', value: 'small' },
      ],
    });
    const queue = await declareSubscription(await amqp.channel(), topic);
    const client = await new AMQPClient(broker.amqp, undefined, null).connect();
    const received: [string | null, unknown][] = [];
    const shown = ['x-key', 'h', 'big', 'x-omitted-key', 'x-omitted-headers'];
    await (await client.channel()).basicConsume(queue, {}, (message) => {
      const headers = message.properties.headers ?? {};
      received.push([
        message.bodyString(),
        Object.fromEntries(Object.entries(headers).filter(([name]) => shown.includes(name))),
      ]);
    });
    await waitFor('three messages', () => received.length === 3);
    await client.close();
    assert.deepEqual(received, [
      ['large key', { h: 'v', 'x-omitted-key': 20_000 }],
      ['large header', { 'x-key': 'k', h: 'v', 'x-omitted-headers': 1 }],
      ['small', { 'x-key': 'k' }],
    ]);
  });

  test('all partitions arrive, each in order', async () => {
    const messages = Array.from({ length: 90 }, (_, index) => ({ value: String(index), partition: index % 3 }));
    const { received } = await toAmqp(messages, { partitions: 3 });
    const values = received.map(({ content }) => Number(content.toString()));
    assert.equal(new Set(values).size, 90);
    for (const message of received) {
      assert.equal(headersOf(message)['x-partition'], Number(message.content.toString()) % 3);
    }
    for (let partition = 0; partition < 3; partition += 1) {
      const ofPartition = values.filter((value) => value % 3 === partition);
      assert.deepEqual(
        ofPartition,
        ofPartition.toSorted((a, b) => a - b),
      );
    }
  });

  test('each message is acknowledged by itself; what is not comes back, redelivered', async () => {
    const { queue, channel, received } = await toAmqp(['a', 'b', 'c', 'd'].map((value) => ({ value })));
    channel.ack(received[0]!);
    channel.ack(received[2]!);
    await channel.close();
    const { waitForCount } = await collect(await amqp.channel(), queue);
    assert.deepEqual(bodiesAndMarks(await waitForCount(2)), [
      ['b', true],
      ['d', true],
    ]);
  });

  test('two subscriptions and a consumer group each get everything', async () => {
    const { topic } = await toAmqp(['a', 'b'].map((value) => ({ value })));
    const channel = await amqp.channel();
    const other = await collect(channel, await declareSubscription(channel, topic));
    await other.waitForCount(2);
    assert.deepEqual(other.bodies(), ['a', 'b'], 'a subscription starts at the beginning');
    const { waitForCount } = await kafka.subscribe(topic);
    assert.equal((await waitForCount(2)).length, 2);
  });

  test('producing to the topic that a queue is enqueues', async () => {
    const channel = await amqp.channel();
    const queue = await newDurableQueue(channel, 'queue');
    const producer = await kafka.producer();
    await producer.send({ topic: queue, messages: [{ key: 'k', value: 'from kafka' }] });
    const { waitForCount } = await collect(channel, queue);
    const [message] = await waitForCount(1);
    assert.equal(message?.content.toString(), 'from kafka');
    assertBytes(headersOf(message!)[mapping.keyHeader], Buffer.from('k'), 'key');
  });
});

describe('AMQP to Kafka', { skip }, () => {
  const headerOf = (message: KafkaMessage, name: string): unknown => message.headers?.[name];

  for (const target of ['queue', 'topic'] as const) {
    test(`properties of a message published to a ${target} become headers, the timestamp the timestamp`, async () => {
      const properties = {
        contentType: 'application/json',
        contentEncoding: 'gzip',
        correlationId: 'correlation',
        replyTo: 'reply',
        expiration: '600000',
        messageId: 'message',
        type: 'type',
        userId: 'guest',
        appId: 'app',
        priority: 4,
      };
      const { received } = await toKafka([['body', { ...properties, timestamp: 1_700_000_000 }]], target);
      const message = received[0]!;
      assert.equal(message.value?.toString(), 'body');
      assert.equal(message.timestamp, '1700000000000');
      for (const [property, header] of Object.entries(mapping.propertyHeaders)) {
        assert.equal(
          String(headerOf(message, header)),
          String(properties[property as keyof typeof properties]),
          header,
        );
      }
    });

    test(`headers of every type published to a ${target} arrive`, async () => {
      const headers = Object.fromEntries(mapping.headerInKafka.map(([name, value]) => [name, value]));
      const { received } = await toKafka([['body', { headers }]], target);
      for (const [name, , expected] of mapping.headerInKafka) {
        const actual = headerOf(received[0]!, name);
        if (expected === null) assert.ok(actual === null || actual === undefined, name);
        else assert.deepEqual(Buffer.from(actual as Buffer), Buffer.from(expected), name);
      }
    });

    test(`key and tombstone headers published to a ${target} become key and null value`, async () => {
      const { received } = await toKafka(
        [
          ['value', { headers: { [mapping.keyHeader]: 'key', other: 'stays' } }],
          ['', { headers: { [mapping.keyHeader]: Buffer.from([0, 0xff]), [mapping.tombstoneHeader]: true } }],
          ['', {}],
        ],
        target,
      );
      assert.deepEqual(
        received.map(({ key, value }) => [key?.toString('hex') ?? null, value?.toString() ?? null]),
        [
          [Buffer.from('key').toString('hex'), 'value'],
          ['00ff', null],
          [null, ''],
        ],
      );
      assert.equal(String(headerOf(received[0]!, 'other')), 'stays');
      assert.equal(headerOf(received[0]!, mapping.keyHeader), undefined, 'the key is not a header as well');
      assert.equal(headerOf(received[1]!, mapping.tombstoneHeader), undefined);
    });

    test(`200 messages of many sizes published to a ${target} arrive in order`, async () => {
      const bodies = Array.from({ length: 200 }, (_, index) => randomBytes(index * 50));
      const { received } = await toKafka([...bodies.map((body): [Buffer, Options.Publish] => [body, {}])], target);
      assert.deepEqual(
        received.map(({ offset, value }) => [offset, value?.length]),
        bodies.map((body, index) => [String(index), body.length]),
      );
      assert.ok(received.every(({ value }, index) => value?.equals(bodies[index]!)));
    });
  }

  test('record headers with the names of those of the broker keep their values there and back', async () => {
    const names = ['x-key', 'x-tombstone', 'timestamp_in_ms', 'x-stream-offset', 'x-partition', 'x-omitted-key'];
    const escaped = [...names, `${mapping.reservedPrefix}x-key`];
    const headers = Object.fromEntries(
      [...escaped, `${mapping.reservedPrefix}mine`].map((name) => [name, `my ${name}`]),
    );
    const { received } = await toAmqp([{ value: 'v', headers, timestamp: '1700000000123' }]);
    const { content, properties } = received[0]!;
    const ofClient: Record<string, unknown> = properties.headers ?? {};
    for (const name of escaped) assert.equal(ofClient[mapping.reservedPrefix + name], `my ${name}`, name);
    assert.equal(ofClient[`${mapping.reservedPrefix}mine`], `my ${mapping.reservedPrefix}mine`);
    assert.ok(!('x-key' in ofClient), 'a header is not a key');
    assert.deepEqual([ofClient['x-stream-offset'], ofClient['x-partition']], [0, 0]);
    const channel = await amqp.channel();
    const target = await kafka.createTopic();
    await publishAll(channel, target, [content], { headers: properties.headers });
    const { message } = (await (await kafka.subscribe(target)).waitForCount(1))[0]!;
    assert.deepEqual([message.key, String(message.value), message.timestamp], [null, 'v', '1700000000123']);
    const back = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]);
    assert.deepEqual(Object.fromEntries(back), headers);
  });

  test('a message that is larger than its topic takes is refused, those around it arrive', async () => {
    const topic = await kafka.createTopic({ configs: { 'max.message.bytes': '1000' } });
    const channel = await amqp.channel();
    const fan = `${topic}-fan`;
    await channel.assertQueue(fan, { durable: true });
    await channel.bindQueue(topic, 'amq.direct', topic);
    await channel.bindQueue(fan, 'amq.direct', topic);
    const publish = async (bytes: number): Promise<void> => {
      const publishing = await amqp.channel();
      publishing.publish('amq.direct', topic, Buffer.alloc(bytes), { persistent: true });
      await publishing.waitForConfirms();
    };
    await publish(900);
    await assert.rejects(publish(1001), /406|closed/);
    await assert.rejects(publish(990), /406|closed/, 'properties count');
    await publish(901);
    const { waitForCount } = await kafka.subscribe(topic);
    assert.deepEqual(
      (await waitForCount(2)).map(({ message }) => message.value?.length),
      [900, 901],
    );
    assert.equal((await channel.checkQueue(fan)).messageCount, 2, 'refused is refused for all');
    const admin = await kafka.admin();
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: 2, name: topic, configEntries: [{ name: 'max.message.bytes', value: '2000' }] }],
    });
    await publish(1001);
  });

  test('a key may be a number; values that mean nothing stay headers', async () => {
    const { received } = await toKafka(
      [
        ['number', { headers: { [mapping.keyHeader]: 5 } }],
        ['list', { headers: { [mapping.keyHeader]: [1], timestamp_in_ms: 'late' } }],
        ['body', { headers: { [mapping.tombstoneHeader]: true } }],
        ['', { headers: { [mapping.tombstoneHeader]: 'yes' } }],
      ],
      'topic',
    );
    const shown = received.map(({ key, value, headers }) => [
      key?.toString() ?? null,
      value?.toString() ?? null,
      Object.fromEntries(Object.entries(headers ?? {}).map(([name, text]) => [name, String(text)])),
    ]);
    assert.deepEqual(shown, [
      ['5', 'number', {}],
      [null, 'list', { [mapping.keyHeader]: '[1]', timestamp_in_ms: 'late' }],
      [null, 'body', { [mapping.tombstoneHeader]: 'true' }],
      [null, '', { [mapping.tombstoneHeader]: 'yes' }],
    ]);
  });

  test('a queue is a topic of one partition, and reading it from Kafka takes nothing from it', async () => {
    const { name, channel } = await toKafka(
      ['a', 'b', 'c'].map((body): [string, Options.Publish] => [body, {}]),
      'queue',
    );
    const admin = await kafka.admin();
    assert.ok((await admin.listTopics()).includes(name));
    assert.equal((await admin.fetchTopicMetadata({ topics: [name] })).topics[0]?.partitions.length, 1);
    assert.equal((await channel.checkQueue(name)).messageCount, 3);
    const { waitForCount, bodies } = await collect(channel, name);
    await waitForCount(3);
    assert.deepEqual(bodies(), ['a', 'b', 'c']);
  });

  test('a message goes from Kafka through AMQP to another topic unchanged', async () => {
    const { received } = await toAmqp([
      { key: 'k', value: 'through', headers: { h: 'v' }, timestamp: '1700000000000' },
    ]);
    const target = await kafka.createTopic();
    const channel = await amqp.channel();
    const { content, properties } = received[0]!;
    await publishAll(channel, target, [content], { headers: properties.headers, timestamp: properties.timestamp });
    const { waitForCount } = await kafka.subscribe(target);
    const { message } = (await waitForCount(1))[0]!;
    assert.deepEqual(
      [String(message.key), String(message.value), message.timestamp],
      ['k', 'through', '1700000000000'],
    );
    assert.equal(String(headerOf(message, 'h')), 'v');
  });
});

describe('one namespace', { skip }, () => {
  test('a topic is not a queue to declare, but to look at', async () => {
    const topic = await kafka.createTopic();
    await assert.rejects((await amqp.channel()).assertQueue(topic, { durable: true }), (error: unknown) => {
      assert.equal((error as ChannelError).code, 406);
      assert.match((error as ChannelError).message, /topic/);
      return true;
    });
    assert.equal((await (await amqp.channel()).checkQueue(topic)).queue, topic);
  });

  test('a topic is not a queue to delete', async () => {
    const topic = await kafka.createTopic();
    await assert.rejects((await amqp.channel()).deleteQueue(topic), (error: unknown) => {
      assert.equal((error as ChannelError).code, 406);
      assert.match((error as ChannelError).message, /is a topic/);
      return true;
    });
    assert.ok((await (await kafka.admin()).listTopics()).includes(topic));
  });

  test('deleting a topic cancels the AMQP consumers of its subscriptions', async () => {
    const topic = await kafka.createTopic();
    const channel = await amqp.channel();
    const queue = await declareSubscription(channel, topic);
    const cancelled = new Promise<void>((resolve) => {
      void channel.consume(queue, (message) => {
        if (message === null) resolve();
      });
    });
    await waitFor('the consumer', async () => (await channel.checkQueue(queue)).consumerCount === 1);
    await (await kafka.admin()).deleteTopics({ topics: [topic] });
    await within('basic.cancel', cancelled);
    await assert.rejects((await amqp.channel()).checkQueue(queue), /404/);
  });

  test('a topic cannot be created where a queue is', async () => {
    const queue = await newDurableQueue(await amqp.channel(), 'queue');
    const admin = await kafka.admin();
    assert.equal(await admin.createTopics({ topics: [{ topic: queue }] }), false, 'TOPIC_ALREADY_EXISTS');
  });
});
