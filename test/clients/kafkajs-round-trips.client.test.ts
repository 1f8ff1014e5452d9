// What kafkajs produces is what kafkajs consumes: keys, headers, tombstones, codecs, sizes, offsets, times.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { KafkaJSProtocolError } from 'kafkajs';
import { uniqueName, within } from './conditions.ts';
import { kafkajsCodecs } from './kafkajs-codecs.ts';
import { startWithKafkajs } from './kafkajs-session.ts';

const { session } = await startWithKafkajs();

const isProtocolError =
  (type: string) =>
  (error: unknown): boolean => {
    assert.equal((error as KafkaJSProtocolError).type, type);
    return true;
  };

for (const [name, compression] of Object.entries(kafkajsCodecs)) {
  test(`a batch of 500 messages returns unchanged and in order, codec ${name}`, async () => {
    const topic = await session.createTopic();
    const producer = await session.producer();
    const messages = Array.from({ length: 500 }, (_, index) => ({
      key: `key-${index}`,
      value: Buffer.concat([Buffer.from(`${index}:`), randomBytes(64), Buffer.alloc(64)]),
      headers: { index: String(index) },
    }));
    await producer.send({ topic, messages, compression });
    const { waitForCount } = await session.subscribe(topic);
    const received = await waitForCount(messages.length);
    assert.deepEqual(
      received.map(({ message }) => [message.offset, message.key?.toString(), message.value]),
      messages.map(({ key, value }, index) => [String(index), key, value]),
    );
    assert.deepEqual(
      received.map(({ message }) => message.headers?.index?.toString()),
      messages.map(({ headers }) => headers.index),
    );
  });
}

test('null and empty keys, null and empty values, and headers of every shape survive', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer();
  const binary = Buffer.from([0, 1, 0xff, 0xfe, 0x80]);
  await producer.send({
    topic,
    messages: [
      { key: null, value: 'no key' },
      { key: '', value: 'empty key' },
      { key: binary, value: binary },
      { key: 'tombstone', value: null },
      { key: 'empty', value: '' },
      { key: 'headers', value: 'h', headers: { text: 'grün', binary, empty: '', repeated: ['a', 'b', 'c'] } },
    ],
  });
  const { waitForCount } = await session.subscribe(topic);
  const messages = (await waitForCount(6)).map(({ message }) => message);
  assert.deepEqual(
    messages.map(({ key, value }) => [key?.toString('hex') ?? null, value?.toString('hex') ?? null]),
    [
      [null, Buffer.from('no key').toString('hex')],
      ['', Buffer.from('empty key').toString('hex')],
      [binary.toString('hex'), binary.toString('hex')],
      [Buffer.from('tombstone').toString('hex'), null],
      [Buffer.from('empty').toString('hex'), ''],
      [Buffer.from('headers').toString('hex'), Buffer.from('h').toString('hex')],
    ],
  );
  const headers = messages[5]?.headers ?? {};
  assert.equal(headers.text?.toString(), 'grün');
  assert.deepEqual(headers.binary, binary);
  assert.deepEqual(headers.empty, Buffer.alloc(0));
  assert.deepEqual((headers.repeated as Buffer[]).map(String), ['a', 'b', 'c']);
});

test('timestamps given by the producer are kept', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer();
  const timestamps = [1_600_000_000_000, 1_500_000_000_123, 1_700_000_000_456].map(String);
  await producer.send({ topic, messages: timestamps.map((timestamp) => ({ value: timestamp, timestamp })) });
  const { waitForCount } = await session.subscribe(topic);
  assert.deepEqual(
    (await waitForCount(3)).map(({ message }) => message.timestamp),
    timestamps,
  );
});

test('a message of 1 MB passes by default, one of 16 MB where max.message.bytes allows it', async () => {
  const oneMegabyte = randomBytes(1_000_000);
  const sixteenMegabytes = randomBytes(16 * 1024 * 1024);
  const producer = await session.producer();
  const stock = await session.createTopic({ prefix: 'stock' });
  const large = await session.createTopic({ prefix: 'large', configs: { 'max.message.bytes': '20000000' } });
  await producer.send({ topic: stock, messages: [{ value: oneMegabyte }] });
  await producer.send({ topic: large, messages: [{ value: sixteenMegabytes }] });
  const fromStock = await session.subscribe(stock);
  const fromLarge = await session.subscribe(large);
  assert.ok((await fromStock.waitForCount(1))[0]?.message.value?.equals(oneMegabyte));
  assert.ok((await fromLarge.waitForCount(1))[0]?.message.value?.equals(sixteenMegabytes));
});

test('a message above max.message.bytes is refused with MESSAGE_TOO_LARGE and the next one is taken', async () => {
  const topic = await session.createTopic({ configs: { 'max.message.bytes': '10000' } });
  const producer = await session.producer();
  const tooLarge = { topic, messages: [{ value: randomBytes(10_001) }] };
  await assert.rejects(producer.send(tooLarge), isProtocolError('MESSAGE_TOO_LARGE'));
  const [fits] = await producer.send({ topic, messages: [{ value: 'fits' }] });
  assert.equal(fits?.baseOffset, '0');
});

test('the size limit counts the compressed batch', async () => {
  const topic = await session.createTopic({ configs: { 'max.message.bytes': '10000' } });
  const producer = await session.producer();
  await producer.send({ topic, messages: [{ value: Buffer.alloc(100_000) }], compression: kafkajsCodecs.gzip });
  const { waitForCount } = await session.subscribe(topic);
  assert.equal((await waitForCount(1))[0]?.message.value?.length, 100_000);
});

test('an idempotent producer writes each message once and in order', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer({ idempotent: true, maxInFlightRequests: 1 });
  for (let index = 0; index < 50; index += 1) {
    const [written] = await producer.send({ topic, messages: [{ value: String(index) }], acks: -1 });
    assert.equal(written?.baseOffset, String(index));
  }
  const { waitForValues } = await session.subscribe(topic);
  assert.deepEqual(
    await waitForValues(50),
    Array.from({ length: 50 }, (_, index) => String(index)),
  );
});

test('acks 0, 1 and all all store the message', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer();
  for (const acks of [0, 1, -1]) await producer.send({ topic, acks, messages: [{ value: String(acks) }] });
  const { waitForValues } = await session.subscribe(topic);
  assert.deepEqual(await waitForValues(3), ['0', '1', '-1']);
});

test('keys spread over the partitions and one key stays in one partition, in order', async () => {
  const topic = await session.createTopic({ partitions: 4 });
  const producer = await session.producer();
  const messages = Array.from({ length: 200 }, (_, index) => ({ key: `key-${index % 20}`, value: String(index) }));
  await producer.send({ topic, messages });
  const { waitForCount } = await session.subscribe(topic);
  const received = await waitForCount(200);
  for (let key = 0; key < 20; key += 1) {
    const ofKey = received.filter(({ message }) => String(message.key) === `key-${key}`);
    assert.equal(new Set(ofKey.map(({ partition }) => partition)).size, 1, `key-${key} is in one partition`);
    assert.deepEqual(
      ofKey.map(({ message }) => Number(message.value)),
      Array.from({ length: 10 }, (_, index) => index * 20 + key),
    );
  }
  assert.equal(new Set(received.map(({ partition }) => partition)).size, 4);
});

test('offsets by time find the first message at or after it, and a consumer seeks there', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer();
  const base = 1_700_000_000_000;
  const messages = Array.from({ length: 20 }, (_, index) => ({
    value: `${index}`,
    timestamp: `${base + index * 1000}`,
  }));
  await producer.send({ topic, messages: messages.slice(0, 10) });
  await producer.send({ topic, messages: messages.slice(10) });
  const admin = await session.admin();
  const offsetAt = async (time: number): Promise<string | undefined> =>
    (await admin.fetchTopicOffsetsByTimestamp(topic, time))[0]?.offset;
  assert.equal(await offsetAt(base), '0');
  assert.equal(await offsetAt(base + 6500), '7', 'inside a batch');
  assert.equal(await offsetAt(base + 12_000), '12', 'inside the second batch');
  assert.equal(await offsetAt(base + 60_000), '20', 'after the last, kafkajs falls back to the end');
  const { consumer, received, waitForCount } = await session.subscribe(topic);
  await waitForCount(20);
  received.length = 0;
  consumer.seek({ topic, partition: 0, offset: '7' });
  assert.equal((await waitForCount(13))[0]?.message.value?.toString(), '7');
});

test('earliest and latest offsets follow the log', async () => {
  const topic = await session.createTopic({ partitions: 2 });
  const producer = await session.producer();
  await producer.send({ topic, messages: [1, 2, 3].map((n) => ({ value: `${n}`, partition: 1 })) });
  const admin = await session.admin();
  const offsets = (await admin.fetchTopicOffsets(topic)).sort((a, b) => a.partition - b.partition);
  assert.deepEqual(
    offsets.map(({ partition, low, high }) => [partition, low, high]),
    [
      [0, '0', '0'],
      [1, '0', '3'],
    ],
  );
});

test('a waiting fetch answers when a message arrives, not when its wait ends', async () => {
  const topic = await session.createTopic();
  const producer = await session.producer();
  await producer.send({ topic, messages: [{ value: 'warm' }] });
  const { waitForCount, received, crash } = await session.subscribe(topic, { maxWaitTimeInMs: 20_000 });
  await waitForCount(1);
  for (let round = 1; round <= 5; round += 1) {
    const sentAt = performance.now();
    await producer.send({ topic, messages: [{ value: `round ${round}` }] });
    await waitForCount(1 + round);
    const tookMs = performance.now() - sentAt;
    assert.ok(tookMs < 5_000, `took ${tookMs} ms of a wait of 20 s`);
  }
  assert.equal(received.length, 6);
  await crash(); // leaving properly would wait for the last fetch
});

test('a topic is created by the first produce to it', async () => {
  const topic = uniqueName('auto');
  const producer = await session.producer();
  const [written] = await within('auto-creation', producer.send({ topic, messages: [{ value: 'first' }] }));
  assert.equal(written?.baseOffset, '0');
  const admin = await session.admin();
  assert.ok((await admin.listTopics()).includes(topic));
});
