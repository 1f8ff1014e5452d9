// kill -9 of the broker: confirmed persistent messages in durable queues are there afterwards, in order; transient
// ones and transient queues are not; settled messages stay settled, and what was out is marked redelivered.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, test } from 'node:test';
import { Connection } from 'rabbitmq-client';
import { collect, drain, getOne, isGone, newDurableQueue, publishAll, startWithAmqplib } from './amqplib-session.ts';
import { skipAgainstPeers } from './broker-under-test.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

const { broker, session } = await startWithAmqplib();

afterEach(async () => {
  await session[Symbol.asyncDispose]();
});

/** Kills the broker and starts it again; connections of before are dead, `session` makes new ones. */
const crash = async (): Promise<void> => {
  await broker.kill();
  await session[Symbol.asyncDispose]();
  await broker.restart();
};

const letters = (count: number): string[] => Array.from({ length: count }, (_, index) => `m${index}`);

test('confirmed persistent messages are kept in order, with properties and body', {
  skip: skipAgainstPeers,
}, async () => {
  const channel = await session.channel();
  const queue = await newDurableQueue(channel, 'durable');
  const large = randomBytes(1_000_000);
  await publishAll(channel, queue, letters(500));
  await publishAll(channel, queue, [large], { persistent: true, messageId: 'large', headers: { kept: true } });
  await crash();
  const again = await session.channel();
  assert.equal((await again.checkQueue(queue)).messageCount, 501);
  const { waitForCount } = await collect(again, queue, { noAck: true });
  const received = await waitForCount(501);
  assert.deepEqual(
    received.slice(0, 500).map(({ content }) => content.toString()),
    letters(500),
  );
  const last = received[500]!;
  assert.ok(last.content.equals(large));
  assert.deepEqual([last.properties.messageId, last.properties.headers?.kept], ['large', true]);
});

test('transient messages and transient queues are dropped', { skip: skipAgainstPeers }, async () => {
  const channel = await session.channel();
  const durable = await newDurableQueue(channel, 'durable');
  const transient = uniqueName('transient');
  await channel.assertQueue(transient, { durable: false });
  for (const [index, body] of letters(20).entries()) {
    await publishAll(channel, durable, [body], { persistent: index % 2 === 0 });
    await publishAll(channel, transient, [body], { persistent: true });
  }
  await crash();
  const again = await session.channel();
  assert.deepEqual(
    await drain(again, durable),
    letters(20).filter((_, index) => index % 2 === 0),
  );
  assert.ok(await isGone(session, transient));
});

test('acknowledged messages stay away; unacknowledged ones return in order, redelivered', {
  skip: skipAgainstPeers,
}, async () => {
  const channel = await session.channel();
  const queue = await newDurableQueue(channel, 'settled');
  await publishAll(channel, queue, letters(10));
  await channel.prefetch(6);
  const { waitForCount } = await collect(channel, queue);
  const received = await waitForCount(6);
  channel.ack(received[0]!);
  channel.ack(received[3]!);
  // Answers come in order, and a confirm is given when the disk has it and all before it.
  await publishAll(channel, queue, ['last']);
  await crash();
  const again = await collect(await session.channel(), queue);
  const messages = await again.waitForCount(9);
  assert.deepEqual(again.bodies(), ['m1', 'm2', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9', 'last']);
  // RabbitMQ marks every message after a crash; the ones that were out must be marked.
  const redelivered = messages.filter(({ fields }) => fields.redelivered).map(({ content }) => content.toString());
  assert.ok(
    ['m1', 'm2', 'm4', 'm5'].every((body) => redelivered.includes(body)),
    `marked redelivered: ${redelivered.join(', ')}`,
  );
});

test('durable exchanges and bindings outlive a crash, exclusive queues do not', {
  skip: skipAgainstPeers,
}, async () => {
  const channel = await session.channel();
  const [durable, queue, exclusive] = ['x-durable', 'q-durable', 'q-exclusive'].map(uniqueName);
  await channel.assertExchange(durable!, 'topic', { durable: true });
  await channel.assertQueue(queue!, { durable: true, arguments: { 'x-unknown-to-all': 1 } });
  await channel.assertQueue(exclusive!, { exclusive: true, durable: true });
  await channel.bindQueue(queue!, durable!, 'a.*');
  await channel.bindQueue(queue!, durable!, 'gone');
  await channel.unbindQueue(queue!, durable!, 'gone');
  await crash();
  const again = await session.channel();
  again.publish(durable!, 'a.b', Buffer.from('routed'), { persistent: true });
  again.publish(durable!, 'gone', Buffer.from('unbound'), { persistent: true });
  await again.waitForConfirms();
  assert.deepEqual(await drain(again, queue!), ['routed']);
  assert.ok(await isGone(session, exclusive!));
});

test('a deleted or purged queue stays so', { skip: skipAgainstPeers }, async () => {
  const channel = await session.channel();
  const deleted = await newDurableQueue(channel, 'deleted');
  const purged = await newDurableQueue(channel, 'purged');
  for (const queue of [deleted, purged]) await publishAll(channel, queue, letters(10));
  await channel.purgeQueue(purged);
  await channel.deleteQueue(deleted);
  await publishAll(channel, purged, ['after']);
  await crash();
  assert.deepEqual(await drain(await session.channel(), purged), ['after']);
  assert.ok(await isGone(session, deleted));
});

test('two crashes in a row lose nothing, and the queue goes on between them', { skip: skipAgainstPeers }, async () => {
  const queue = await newDurableQueue(await session.channel(), 'twice');
  for (const round of ['one', 'two']) {
    await publishAll(await session.channel(), queue, [`${round}-a`, `${round}-b`]);
    await crash();
  }
  const channel = await session.channel();
  assert.equal((await getOne(channel, queue)).content.toString(), 'one-a');
  assert.deepEqual(await drain(channel, queue), ['one-b', 'two-a', 'two-b']);
});

test('rabbitmq-client reconnects by itself; its publisher and consumer go on', { skip: skipAgainstPeers }, async () => {
  const { hostname, port } = new URL(broker.amqp);
  const connection = new Connection({ hostname, port, retryLow: 50, retryHigh: 300 });
  connection.on('error', () => {});
  const queue = uniqueName('reconnect');
  const bodies: string[] = [];
  const consumer = connection.createConsumer({ queue, queueOptions: { durable: true } }, async ({ body }) => {
    bodies.push(body as string);
  });
  consumer.on('error', () => {});
  await within('the consumer', new Promise<void>((resolve) => consumer.once('ready', resolve)));
  const publisher = connection.createPublisher({ confirm: true, maxAttempts: 50 });
  await publisher.send({ routingKey: queue, durable: true }, 'before');
  await waitFor('the first message', () => bodies.includes('before'));
  await broker.kill();
  const sending = publisher.send({ routingKey: queue, durable: true }, 'after');
  await broker.restart();
  await within('the send', sending);
  await waitFor('the message after', () => bodies.includes('after'));
  await consumer.close();
  await publisher.close();
  await connection.close();
});
