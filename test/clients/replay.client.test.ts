// A queue with x-replay-retention: what AMQP consumers have settled can be read again with Kafka, for the time that was asked for.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { AmqplibSession, type ObservedChannel, publishAll } from './amqplib-session.ts';
import { type BrokerUnderTest, skipAgainstPeers, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor } from './conditions.ts';
import { KafkajsSession } from './kafkajs-session.ts';

const hourMs = 3_600_000;
const skip = skipAgainstPeers;

let broker: BrokerUnderTest;
let kafka: KafkajsSession;
let amqp: AmqplibSession;

before(async () => {
  if (skip) return;
  broker = await startBrokerUnderTest(['kafka.log.retention.check.interval.ms=50']);
  kafka = new KafkajsSession(broker.kafka);
  amqp = new AmqplibSession(broker.amqp);
});

after(async () => {
  await kafka?.[Symbol.asyncDispose]();
  await amqp?.[Symbol.asyncDispose]();
  await broker?.stop();
});

const declare = async (channel: ObservedChannel, replayMs: unknown): Promise<string> => {
  const queue = uniqueName('replay');
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-replay-retention': replayMs } });
  return queue;
};

/** Takes so many and acknowledges them; what is acknowledged is stored. */
const consume = async (channel: ObservedChannel, queue: string, count: number): Promise<string[]> => {
  const bodies: string[] = [];
  for (let left = count; left > 0; left--) {
    const message = await channel.get(queue);
    assert.ok(message !== false);
    channel.ack(message);
    bodies.push(message.content.toString());
  }
  await channel.checkQueue(queue);
  return bodies;
};

const offsets = async (queue: string): Promise<{ low: string; high: string }> => {
  const admin = await kafka.admin();
  const { low, high } = (await admin.fetchTopicOffsets(queue))[0]!;
  return { low, high };
};

const bodies = Array.from({ length: 6 }, (_, index) => `message ${index}`);

test('settled messages are read again with Kafka, also after kill -9, and do not come to AMQP again', {
  skip,
}, async () => {
  const channel = await amqp.channel();
  const queue = await declare(channel, hourMs);
  await publishAll(channel, queue, bodies);
  assert.deepEqual(await consume(channel, queue, 4), bodies.slice(0, 4));
  assert.deepEqual(await offsets(queue), { low: '0', high: '6' });
  const first = await kafka.subscribe(queue);
  assert.deepEqual(await first.waitForValues(6), bodies);

  await broker.kill();
  await broker.restart();
  await amqp[Symbol.asyncDispose]();
  const again = await amqp.channel();
  assert.equal((await again.checkQueue(queue)).messageCount, 2);
  const second = await kafka.subscribe(queue);
  assert.deepEqual(await second.waitForValues(6), bodies);
  assert.deepEqual(await consume(again, queue, 2), bodies.slice(4));
  assert.deepEqual(await offsets(queue), { low: '0', high: '6' });
  assert.equal((await again.checkQueue(queue)).messageCount, 0);
});

test('when their time is over they are gone, and what is not settled stays', { skip }, async () => {
  const channel = await amqp.channel();
  const queue = await declare(channel, 1);
  await publishAll(channel, queue, bodies);
  await consume(channel, queue, 2);
  await waitFor('the settled messages to go', async () => (await offsets(queue)).low === '2');
  const { waitForValues } = await kafka.subscribe(queue);
  assert.deepEqual(await waitForValues(4), bodies.slice(2));
  assert.equal((await channel.checkQueue(queue)).messageCount, 4);
  assert.equal((await channel.purgeQueue(queue)).messageCount, 4);
  await waitFor('the purged messages to go', async () => (await offsets(queue)).low === '6');
});

test('the argument is checked as RabbitMQ checks its own, and must be the same when the queue is declared again', {
  skip,
}, async () => {
  const refused = async (replayMs: unknown): Promise<{ code: number; message: string }> => {
    const channel = await amqp.channel();
    await assert.rejects(declare(channel, replayMs));
    return await channel.closedByServer;
  };
  const negative = await refused(-5);
  assert.equal(negative.code, 406);
  assert.match(negative.message, /PRECONDITION_FAILED - invalid arg 'x-replay-retention' .*: \{value_negative,-5\}/);
  const text = await refused('1 hour');
  assert.equal(text.code, 406);
  assert.match(text.message, /\{unacceptable_type,longstr\}/);

  const channel = await amqp.channel();
  const queue = await declare(channel, hourMs);
  await channel.assertQueue(queue, { durable: true, arguments: { 'x-replay-retention': hourMs } });
  await assert.rejects(channel.assertQueue(queue, { durable: true }));
  const { code, message } = await channel.closedByServer;
  assert.equal(code, 406);
  assert.match(message, /inequivalent arg 'x-replay-retention'/);
});
