// Bytes that went bad on the disk under a running broker: whoever reads there is told, in the words of the protocol, and
// nobody else notices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import kafkajs from 'kafkajs';
import { MemoryStorage } from '../../src/storage/memory-storage.ts';
import { startMemoryBroker } from '../full-disk/memory-broker.ts';
import { AmqplibSession, publishAll } from './amqplib-session.ts';
import { skipAgainstPeers } from './broker-under-test.ts';
import { within } from './conditions.ts';
import { KafkajsSession } from './kafkajs-session.ts';

const mib = 1024 * 1024;
const marker = 'the bytes that go bad';

/** Changes a byte in each place of the log where the marker lies. */
const damage = async (broker: { readonly disk: MemoryStorage['disk'] }): Promise<number> => {
  const shard = await new MemoryStorage(broker.disk).subdirectory('shard-0');
  let count = 0;
  for (const name of (await shard.list()).filter((each) => each.startsWith('wal-'))) {
    const file = await shard.open(name, { create: false, durable: false });
    const bytes = Buffer.alloc(await file.sizeBytes());
    await file.read(bytes, 0, bytes.length, 0);
    for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + 1)) {
      await new Promise((resolve) => file.write(Buffer.from('?'), 0, 1, at, resolve));
      count++;
    }
  }
  return count;
};

test('a consumer of a damaged place has its channel closed, a fetch of it gets CORRUPT_MESSAGE, others go on', {
  skip: skipAgainstPeers,
}, async () => {
  await using broker = await startMemoryBroker({ diskBytes: 200 * mib, walFileBytes: 16 * mib, walFiles: 9 });
  await using kafka = new KafkajsSession(broker.kafka);
  const [badTopic, goodTopic] = [await kafka.createTopic(), await kafka.createTopic()];
  const producer = await kafka.producer();
  {
    await using amqp = new AmqplibSession(broker.amqp);
    const channel = await amqp.channel();
    for (const queue of ['bad', 'ballast', 'good']) await channel.assertQueue(queue, { durable: true });
    await publishAll(channel, 'bad', [marker]);
    await publishAll(channel, 'ballast', [Buffer.alloc(3 * mib)]);
    await producer.send({ topic: badTopic, messages: [{ value: marker }] });
    await publishAll(channel, 'ballast', [Buffer.alloc(3 * mib)]);
    await publishAll(channel, 'good', ['good']);
    await producer.send({ topic: goodTopic, messages: [{ value: 'good' }] });
  }
  // What it reads now, it reads from the disk.
  await broker.restart();
  assert.equal(await damage(broker), 2);

  await using amqp = new AmqplibSession(broker.amqp);
  const connection = await amqp.connect();
  const [reading, getting, other] = [
    await amqp.channel(connection),
    await amqp.channel(connection),
    await amqp.channel(connection),
  ];
  const closed = new Promise<Error>((resolve) => reading.once('error', resolve));
  await reading.consume('bad', () => assert.fail('a damaged message is delivered'));
  const error = await within('channel.close', closed);
  assert.match(
    error.message,
    /406 .*PRECONDITION_FAILED - queue 'bad' cannot be read on: wal-\d+ is damaged at byte \d+/,
  );
  await assert.rejects(getting.get('bad'), /406/);
  const message = await other.get('good');
  assert.equal(message === false ? '' : String(message.content), 'good');

  const crashed = new Promise<Error>((resolve) => {
    const subscribed = kafka.subscribe(badTopic, { retry: { retries: 1 } });
    void subscribed.then(({ consumer }) => consumer.on('consumer.crash', ({ payload }) => resolve(payload.error)));
  });
  const { cause } = (await within('the fetch to fail', crashed)) as { cause?: Error };
  assert.ok(cause instanceof kafkajs.KafkaJSProtocolError && cause.type === 'CORRUPT_MESSAGE', String(cause));
  const admin = await kafka.admin();
  await assert.rejects(admin.fetchTopicOffsetsByTimestamp(badTopic, 0), { type: 'CORRUPT_MESSAGE' });
  assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(goodTopic, 0), [{ partition: 0, offset: '0' }]);
  const good = await kafka.subscribe(goodTopic);
  assert.deepEqual(await good.waitForValues(1), ['good']);
});
