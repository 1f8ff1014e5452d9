// @cloudamqp/amqp-client: small frames, promises that resolve on the confirm, callbacks for deliveries.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type AMQPBaseClient, type AMQPChannel, AMQPClient, type AMQPMessage } from '@cloudamqp/amqp-client';
import { type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

let broker: BrokerUnderTest;
let connection: AMQPBaseClient;

const connect = async (url = broker.amqp): Promise<AMQPBaseClient> => {
  const client = new AMQPClient(url, undefined, null);
  client.onerror = () => {};
  return await client.connect();
};

const openChannel = async (): Promise<AMQPChannel> => {
  const channel = await connection.channel();
  channel.onerror = () => {};
  await channel.confirmSelect();
  return channel;
};

before(async () => {
  broker = await startBrokerUnderTest();
  connection = await connect();
});

after(async () => {
  await connection?.close();
  await broker?.stop();
});

const withQueue = async (use: (queue: string, channel: AMQPChannel) => Promise<void>): Promise<void> => {
  const channel = await openChannel();
  const queue = uniqueName('cloudamqp');
  await channel.queueDeclare(queue, { durable: true });
  try {
    await use(queue, channel);
  } finally {
    await (await openChannel()).queueDelete(queue);
  }
};

const collect = async (channel: AMQPChannel, queue: string): Promise<AMQPMessage[]> => {
  const messages: AMQPMessage[] = [];
  await channel.basicConsume(queue, { noAck: false }, (message) => {
    messages.push(message);
  });
  return messages;
};

test('publish resolves with the confirmed delivery tag, and properties round-trip', async () => {
  await withQueue(async (queue, channel) => {
    const properties = {
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      deliveryMode: 2,
      priority: 3,
      correlationId: 'c',
      replyTo: 'r',
      expiration: '600000',
      messageId: 'm',
      timestamp: new Date(1_700_000_000_000),
      type: 't',
      userId: 'guest',
      appId: 'a',
      headers: {
        text: 'grün',
        number: 5,
        yes: true,
        nothing: null,
        list: [1, 'a'],
        table: { inner: 'x' },
        big: 2 ** 40,
      },
    };
    assert.equal(await channel.basicPublish('', queue, 'one', properties), 1);
    assert.equal(await channel.basicPublish('', queue, 'two', properties), 2);
    const message = await channel.basicGet(queue, { noAck: true });
    assert.equal(message?.bodyString(), 'one');
    assert.deepEqual(message?.properties, properties);
    assert.equal(message?.messageCount, 1);
  });
});

test('a message of 1 MB passes in frames of 8 KB both ways', async () => {
  await withQueue(async (queue, channel) => {
    const body = randomBytes(1_000_000);
    await channel.basicPublish('', queue, body, { deliveryMode: 2 });
    const message = await channel.basicGet(queue, { noAck: true });
    assert.ok(Buffer.from(message?.body as unknown as Uint8Array).equals(body));
  });
});

test('unsettled messages of a closed channel come back in order, redelivered', async () => {
  await withQueue(async (queue, channel) => {
    for (const body of ['a', 'b', 'c', 'd']) await channel.basicPublish('', queue, body, { deliveryMode: 2 });
    const first = await openChannel();
    await first.prefetch(3);
    const held = await collect(first, queue);
    await waitFor('three', () => held.length === 3);
    await held[1]?.ack();
    await waitFor('the fourth', () => held.length === 4);
    await held[3]?.nack(false);
    await first.close();
    const again = await collect(channel, queue);
    await waitFor('two', () => again.length === 2);
    assert.deepEqual(
      again.map((message) => [message.bodyString(), message.redelivered]),
      [
        ['a', true],
        ['c', true],
      ],
    );
  });
});

test('a returned message carries its reply code', async () => {
  const channel = await openChannel();
  const returned = new Promise<AMQPMessage>((resolve) => {
    channel.onReturn = resolve;
  });
  await channel.basicPublish('amq.direct', 'nobody', 'back', {}, true);
  const message = await within('the return', returned);
  assert.deepEqual([message.replyCode, message.replyText, message.bodyString()], [312, 'NO_ROUTE', 'back']);
  await channel.close();
});

test('an exchange of each type and a binding to another exchange route', async () => {
  await withQueue(async (queue, channel) => {
    const names = ['direct', 'fanout', 'topic'].map((type) => [type, uniqueName(type)] as const);
    for (const [type, name] of names) {
      await channel.exchangeDeclare(name, type, { durable: false });
      await channel.queueBind(queue, name, type === 'topic' ? 'key.#' : 'key');
      await channel.basicPublish(name, 'key', type);
    }
    const [fanout, topic] = [names[1]![1], names[2]![1]];
    await channel.exchangeBind(topic, fanout, '');
    await channel.queueUnbind(queue, fanout, 'key');
    await channel.basicPublish(fanout, 'key.through', 'through');
    const bodies = [];
    for (let message = await channel.basicGet(queue); message !== null; message = await channel.basicGet(queue)) {
      bodies.push(message.bodyString());
    }
    assert.deepEqual(bodies, ['direct', 'fanout', 'topic', 'through']);
    for (const [, name] of names) await channel.exchangeDelete(name);
  });
});

test('purge, passive declare and delete count', async () => {
  await withQueue(async (queue, channel) => {
    for (const body of ['a', 'b', 'c']) await channel.basicPublish('', queue, body);
    assert.equal((await channel.queueDeclare(queue, { passive: true })).messageCount, 3);
    assert.equal((await channel.queuePurge(queue)).messageCount, 3);
    await channel.basicPublish('', queue, 'd');
    assert.equal((await channel.queueDelete(queue)).messageCount, 1);
  });
});

test('errors carry the code and the text', async () => {
  const none = uniqueName('none');
  await assert.rejects((await openChannel()).queueDeclare(none, { passive: true }), (error: Error) => {
    assert.match(error.message, new RegExp(`NOT_FOUND - no queue '${none}' in vhost '/'.*404`));
    return true;
  });
  await withQueue(async (queue) => {
    await assert.rejects(
      (await openChannel()).queueDeclare(queue, { durable: false }),
      /PRECONDITION_FAILED - inequivalent arg/,
    );
  });
  const wrong = broker.amqp.replace('guest:guest', 'guest:wrong');
  await assert.rejects(connect(wrong), /ACCESS_REFUSED/);
});
