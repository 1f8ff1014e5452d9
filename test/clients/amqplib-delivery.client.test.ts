// Publishing, confirms, consuming and settling as amqplib does them, with RabbitMQ's order, flags and error codes.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Options } from 'amqplib';
import {
  bodiesAndMarks,
  collect,
  drain,
  getOne,
  newDurableQueue,
  type ObservedChannel,
  publishAll,
  resetConnection,
  startWithAmqplib,
} from './amqplib-session.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

const { session } = await startWithAmqplib();

const letters = (count: number): string[] => Array.from({ length: count }, (_, index) => `m${index}`);

/** A durable queue with the messages in it, deleted after `use`. */
const withQueue = async (
  messages: readonly string[],
  use: (queue: string, channel: ObservedChannel) => Promise<void>,
): Promise<void> => {
  const channel = await session.channel();
  const queue = await newDurableQueue(channel, 'delivery');
  try {
    await publishAll(channel, queue, messages);
    await use(queue, channel);
  } finally {
    await (await session.channel()).deleteQueue(queue);
  }
};

test('properties and headers of every type arrive as they were sent', async () => {
  await withQueue([], async (queue, channel) => {
    const properties: Options.Publish = {
      contentType: 'application/json',
      contentEncoding: 'gzip',
      deliveryMode: 2,
      priority: 7,
      correlationId: 'correlation',
      replyTo: 'reply',
      expiration: '600000',
      messageId: 'message',
      timestamp: 1_700_000_000,
      type: 'type',
      userId: 'guest',
      appId: 'app',
      headers: {
        text: 'grün',
        empty: '',
        yes: true,
        no: false,
        byte: 12,
        short: -1234,
        int: 1_234_567,
        long: 9_007_199_254_740_991,
        double: 1.5,
        nothing: null,
        binary: Buffer.from([0, 0xff]),
        nested: { list: [1, 'two', { three: 3 }], deep: { er: 'x' } },
        typed: { '!': 'timestamp', value: 1_600_000_000 },
        decimal: { '!': 'decimal', value: { digits: 314, places: 2 } },
        float: { '!': 'float', value: 0.25 },
      },
    };
    await publishAll(channel, queue, [Buffer.from('body')], properties);
    const { content, properties: got, fields } = await getOne(channel, queue);
    assert.equal(content.toString(), 'body');
    assert.deepEqual([fields.exchange, fields.routingKey, fields.redelivered], ['', queue, false]);
    const { headers, ...rest } = properties;
    for (const [name, value] of Object.entries(rest)) assert.equal(got[name as keyof typeof got], value, name);
    assert.deepEqual({ ...got.headers }, { ...headers, float: 0.25 });
  });
});

test('a body may be empty, and of any size around a frame and a power of two', async () => {
  await withQueue([], async (queue, channel) => {
    const sizes = [0, 1, 4087, 4088, 8184, 8185, 65_535, 65_536, 131_063, 131_064, 131_065, 262_144, 1_000_000];
    const bodies = sizes.map((size) => randomBytes(size));
    await publishAll(channel, queue, bodies);
    const { waitForCount } = await collect(channel, queue, { noAck: true });
    const received = await waitForCount(bodies.length);
    assert.deepEqual(
      received.map(({ content }) => content.length),
      sizes,
    );
    assert.ok(received.every(({ content }, index) => content.equals(bodies[index]!)));
  });
});

test('a message of 16 MiB passes, one byte more closes the channel with 406', async () => {
  await withQueue([], async (queue, channel) => {
    const largest = randomBytes(16 * 1024 * 1024);
    await publishAll(channel, queue, [largest]);
    assert.ok((await getOne(channel, queue, { noAck: true })).content.equals(largest));
    channel.sendToQueue(queue, Buffer.alloc(largest.length + 1));
    const error = await within('the channel to close', channel.closedByServer);
    assert.equal(error.code, 406);
    assert.match(
      error.message,
      /PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216/,
    );
  });
});

test('every publish of a confirm channel is confirmed once, routed or not', async () => {
  await withQueue([], async (queue, channel) => {
    let confirmed = 0;
    for (let index = 0; index < 2000; index += 1) {
      const key = index % 10 === 0 ? 'nobody' : queue;
      channel.publish('', key, Buffer.from(String(index)), { persistent: index % 2 === 0 }, (error) => {
        assert.equal(error, null);
        confirmed += 1;
      });
    }
    await channel.waitForConfirms();
    assert.equal(confirmed, 2000);
    assert.equal((await channel.checkQueue(queue)).messageCount, 1800);
  });
});

test('a mandatory message that reaches no queue is returned before it is confirmed', async () => {
  const channel = await session.channel();
  const events: string[] = [];
  channel.on('return', ({ fields, content, properties }) => {
    const { replyCode, replyText, exchange, routingKey } = fields as unknown as Record<string, unknown>;
    events.push([replyCode, replyText, exchange, routingKey, content, properties.messageId].join(' '));
  });
  const publish = (key: string, body: string): void => {
    channel.publish('amq.direct', key, Buffer.from(body), { mandatory: true, messageId: 'id' }, () =>
      events.push('confirm'),
    );
  };
  publish('nobody-1', 'one');
  publish('nobody-2', 'two');
  await channel.waitForConfirms();
  assert.equal(events.filter((event) => event === 'confirm').length, 2);
  assert.ok(events.indexOf('312 NO_ROUTE amq.direct nobody-1 one id') < events.indexOf('confirm'));
  assert.ok(events.indexOf('312 NO_ROUTE amq.direct nobody-2 two id') < events.lastIndexOf('confirm'));
});

test('messages arrive in the order published, and acknowledged ones are gone', async () => {
  await withQueue(letters(100), async (queue, channel) => {
    const consumer = await collect(channel, queue);
    const received = await consumer.waitForCount(100);
    assert.deepEqual(consumer.bodies(), letters(100));
    assert.ok(
      received.every(({ fields }) => fields.redelivered === false && fields.consumerTag === consumer.consumerTag),
    );
    assert.match(consumer.consumerTag, /^amq\.ctag-/);
    for (const message of received) channel.ack(message);
    await channel.close();
    assert.equal((await (await session.channel()).checkQueue(queue)).messageCount, 0);
  });
});

test('ack with multiple settles all up to it, on its channel only', async () => {
  await withQueue(letters(10), async (queue, channel) => {
    const other = await session.channel();
    const kept = await getOne(other, queue);
    const { waitForCount } = await collect(channel, queue);
    const received = await waitForCount(9);
    channel.ack(received[5]!, true);
    await channel.close();
    assert.equal(kept.content.toString(), 'm0');
    assert.deepEqual(await drain(await session.channel(), queue), ['m7', 'm8', 'm9']);
    await other.close();
    assert.deepEqual(await drain(await session.channel(), queue), ['m0']);
  });
});

test('ackAll settles everything outstanding', async () => {
  await withQueue(letters(5), async (queue, channel) => {
    await (await collect(channel, queue)).waitForCount(5);
    channel.ackAll();
    await channel.close();
    assert.equal((await (await session.channel()).checkQueue(queue)).messageCount, 0);
  });
});

test('prefetch limits what is unacknowledged, consumer by consumer', async () => {
  await withQueue(letters(20), async (queue, channel) => {
    await channel.prefetch(3);
    const consumer = await collect(channel, queue);
    await consumer.waitForCount(3);
    assert.equal((await channel.checkQueue(queue)).messageCount, 17);
    assert.equal(consumer.messages.length, 3);
    channel.ack(consumer.messages[0]!);
    await consumer.waitForCount(4);
    assert.equal((await channel.checkQueue(queue)).messageCount, 16);
    await channel.prefetch(5);
    const second = await collect(channel, queue);
    await second.waitForCount(5);
    assert.equal((await channel.checkQueue(queue)).messageCount, 11);
    assert.deepEqual([consumer.messages.length, second.messages.length], [4, 5]);
  });
});

test('a rejected message comes back at its place, marked redelivered', async () => {
  await withQueue(letters(4), async (queue, channel) => {
    const [first, second, third] = [
      await getOne(channel, queue),
      await getOne(channel, queue),
      await getOne(channel, queue),
    ];
    channel.reject(third, true);
    channel.nack(first, false, true);
    channel.ack(second);
    const order = [await getOne(channel, queue), await getOne(channel, queue), await getOne(channel, queue)];
    assert.deepEqual(bodiesAndMarks(order), [
      ['m0', true],
      ['m2', true],
      ['m3', false],
    ]);
  });
});

test('nack with multiple requeues or drops all up to it', async () => {
  await withQueue(letters(6), async (queue, channel) => {
    const messages = [];
    for (let index = 0; index < 6; index += 1) messages.push(await getOne(channel, queue));
    channel.nack(messages[1]!, true, false);
    channel.nack(messages[4]!, true, true);
    assert.deepEqual(await drain(channel, queue), ['m2', 'm3', 'm4']);
    await channel.close();
    assert.deepEqual(await drain(await session.channel(), queue), ['m5']);
  });
});

test('reject without requeue drops the message', async () => {
  await withQueue(letters(2), async (queue, channel) => {
    channel.reject(await getOne(channel, queue), false);
    await channel.close();
    assert.deepEqual(await drain(await session.channel(), queue), ['m1']);
  });
});

test('a consumer that keeps requeueing sees the same message first again', async () => {
  await withQueue(letters(3), async (queue, channel) => {
    await channel.prefetch(1);
    const consumer = await collect(channel, queue);
    for (let round = 1; round <= 4; round += 1) {
      await consumer.waitForCount(round);
      channel.nack(consumer.messages[round - 1]!, false, true);
    }
    await consumer.waitForCount(5);
    assert.deepEqual(consumer.bodies(), ['m0', 'm0', 'm0', 'm0', 'm0']);
  });
});

test('get takes one message at a time and says how many are left', async () => {
  await withQueue(letters(3), async (queue, channel) => {
    const counts = [];
    for (let index = 0; index < 3; index += 1) counts.push((await getOne(channel, queue)).fields.messageCount);
    assert.deepEqual(counts, [2, 1, 0]);
    assert.equal(await channel.get(queue), false);
  });
});

test('recover gives everything unacknowledged back, in order, redelivered', async () => {
  await withQueue(letters(3), async (queue, channel) => {
    const consumer = await collect(channel, queue);
    await consumer.waitForCount(3);
    await channel.recover();
    const again = (await consumer.waitForCount(6)).slice(3);
    assert.deepEqual(
      bodiesAndMarks(again),
      letters(3).map((body) => [body, true]),
    );
  });
});

test('a cancelled consumer gets nothing more and may still settle what it has', async () => {
  await withQueue(letters(2), async (queue, channel) => {
    const consumer = await collect(channel, queue);
    await consumer.waitForCount(2);
    await channel.cancel(consumer.consumerTag);
    await publishAll(channel, queue, ['later']);
    assert.equal((await channel.checkQueue(queue)).messageCount, 1);
    assert.equal(consumer.messages.length, 2);
    channel.ack(consumer.messages[0]!);
    await channel.close();
    assert.deepEqual(await drain(await session.channel(), queue), ['m1', 'later']);
    const other = await session.channel();
    assert.deepEqual(await other.cancel('nobody'), { consumerTag: 'nobody' }, 'an unknown tag is fine');
  });
});

test('deleting the queue cancels its consumers', async () => {
  const channel = await session.channel();
  const queue = await newDurableQueue(channel, 'deleted');
  const consumer = await collect(channel, queue);
  await (await session.channel()).deleteQueue(queue);
  await waitFor('the cancel', consumer.cancelledByServer);
});

test('closing a channel gives back what it had not acknowledged, in order', async () => {
  await withQueue(letters(6), async (queue, channel) => {
    const { waitForCount } = await collect(channel, queue);
    const received = await waitForCount(6);
    channel.ack(received[1]!);
    channel.ack(received[4]!);
    await channel.close();
    const next = await collect(await session.channel(), queue);
    assert.deepEqual(
      bodiesAndMarks(await next.waitForCount(4)),
      ['m0', 'm2', 'm3', 'm5'].map((body) => [body, true]),
    );
  });
});

test('a connection that dies gives back what it had not acknowledged, in order', async () => {
  await withQueue(letters(6), async (queue) => {
    const dying = await session.connect();
    const { waitForCount } = await collect(await session.channel(dying), queue);
    await waitForCount(6);
    resetConnection(dying);
    const next = await collect(await session.channel(), queue);
    assert.deepEqual(
      bodiesAndMarks(await next.waitForCount(6)),
      letters(6).map((body) => [body, true]),
    );
  });
});

test('consumers of a queue take turns', async () => {
  await withQueue([], async (queue, channel) => {
    const consumers = [await collect(channel, queue), await collect(channel, queue)];
    consumers.push(await collect(await session.channel(await session.connect()), queue));
    await publishAll(channel, queue, letters(30));
    await waitFor('all messages', () => consumers.reduce((sum, { messages }) => sum + messages.length, 0) === 30);
    assert.deepEqual(
      consumers.map(({ messages }) => messages.length),
      [10, 10, 10],
    );
    const [a, b, c] = consumers.map(({ bodies }) => bodies());
    assert.deepEqual(
      [a?.slice(0, 2), b?.slice(0, 2), c?.slice(0, 2)],
      [
        ['m0', 'm3'],
        ['m1', 'm4'],
        ['m2', 'm5'],
      ],
    );
  });
});

test('a consumer that is full leaves its turn to the others', async () => {
  await withQueue([], async (queue, channel) => {
    await channel.prefetch(2);
    const slow = await collect(channel, queue);
    const fastChannel = await session.channel();
    const fast = await collect(fastChannel, queue);
    await publishAll(fastChannel, queue, letters(20));
    await waitFor('all but two', () => slow.messages.length + fast.messages.length === 20);
    assert.deepEqual([slow.messages.length, fast.messages.length], [2, 18]);
  });
});

test('without acknowledgements a message is gone once sent', async () => {
  await withQueue(letters(5), async (queue, channel) => {
    const { waitForCount } = await collect(channel, queue, { noAck: true });
    await waitForCount(5);
    await channel.close();
    assert.equal((await (await session.channel()).checkQueue(queue)).messageCount, 0);
  });
});

test('many queues bound to one fanout each get every message', async () => {
  const channel = await session.channel();
  const exchange = uniqueName('fanout');
  await channel.assertExchange(exchange, 'fanout', { durable: true });
  const queues: string[] = [];
  for (let index = 0; index < 20; index += 1) {
    const { queue } = await channel.assertQueue('', { exclusive: true });
    await channel.bindQueue(queue, exchange, '');
    queues.push(queue);
  }
  for (const body of letters(10)) channel.publish(exchange, '', Buffer.from(body), { persistent: true });
  await channel.waitForConfirms();
  for (const queue of queues) assert.deepEqual(await drain(channel, queue), letters(10));
  await channel.deleteExchange(exchange);
});

test('403: a second consumer where one is exclusive, and an exclusive one where there is any', async () => {
  await withQueue([], async (queue, channel) => {
    const text = `ACCESS_REFUSED - queue '${queue}' in vhost '/' in exclusive use`;
    const isRefused = (error: Error & { code?: number }): boolean => error.code === 403 && error.message.includes(text);
    const { consumerTag } = await collect(channel, queue, { exclusive: true });
    await assert.rejects(
      (await session.channel()).consume(queue, () => {}),
      isRefused,
    );
    await channel.cancel(consumerTag);
    await collect(channel, queue);
    await assert.rejects(
      (await session.channel()).consume(queue, () => {}, { exclusive: true }),
      isRefused,
    );
  });
});

test('406: an unknown delivery tag, and one settled twice', async () => {
  await withQueue(letters(2), async (queue, channel) => {
    const message = await getOne(channel, queue);
    channel.ack(message);
    channel.ack(message);
    const twice = await within('the channel to close', channel.closedByServer);
    assert.equal(twice.code, 406);
    assert.match(twice.message, /PRECONDITION_FAILED - unknown delivery tag 1"/);
    const other = await session.channel();
    other.reject({ ...message, fields: { ...message.fields, deliveryTag: 99 } }, true);
    const unknown = await within('the channel to close', other.closedByServer);
    assert.equal(unknown.code, 406);
    assert.match(unknown.message, /PRECONDITION_FAILED - unknown delivery tag 99"/);
  });
});

test('530: a consumer tag used twice on a channel closes the connection', async () => {
  await withQueue([], async (queue) => {
    const channel = await session.channel(await session.connect());
    await channel.consume(queue, () => {}, { consumerTag: 'mine' });
    channel.consume(queue, () => {}, { consumerTag: 'mine' }).catch(() => {});
    const error = await within('the connection to close', channel.closedByServer);
    assert.equal(error.code, 530);
    assert.match(error.message, /NOT_ALLOWED - attempt to reuse consumer tag 'mine'/);
  });
});

test('a channel closed by an error leaves the other channels of its connection alone', async () => {
  await withQueue(['kept'], async (queue, channel) => {
    const broken = await session.channel();
    broken.publish(uniqueName('none'), '', Buffer.from('x'));
    assert.equal((await within('the channel to close', broken.closedByServer)).code, 404);
    assert.equal((await getOne(channel, queue)).content.toString(), 'kept');
  });
});
