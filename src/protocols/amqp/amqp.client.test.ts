/** An unmodified RabbitMQ client meets RabbitMQ's behaviours: amqplib over TCP against the in-process broker. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import amqp, { type Channel, type ChannelModel, type ConsumeMessage, type GetMessage } from 'amqplib';
import { startTestServer } from './test-server.ts';

interface Stand extends AsyncDisposable {
  readonly connection: ChannelModel;
  readonly channel: Channel;
  readonly url: string;
}

const start = async (): Promise<Stand> => {
  const server = await startTestServer();
  const connection = await amqp.connect(server.url);
  connection.on('error', () => {});
  const channel = await openChannel(connection);
  return {
    connection,
    channel,
    url: server.url,
    async [Symbol.asyncDispose]() {
      try {
        await connection.close();
      } catch {
        // It was closed by the server.
      }
      await server[Symbol.asyncDispose]();
    },
  };
};

const openChannel = async (connection: ChannelModel): Promise<Channel> => {
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  return channel;
};

/** The operation fails with this channel error. */
const failsWith = async (
  connection: ChannelModel,
  text: string,
  operation: (channel: Channel) => unknown,
): Promise<void> => {
  const channel = await connection.createChannel();
  const closed = once(channel, 'error');
  Promise.resolve(operation(channel)).catch(() => {});
  const [error] = (await closed) as [Error];
  assert.ok(error.message.includes(text), error.message);
};

const deferred = <T>(): { promise: Promise<T>; resolve: (value: T) => void } => {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
};

const collect = async (channel: Channel, queue: string, count: number, noAck = true): Promise<ConsumeMessage[]> => {
  const received: ConsumeMessage[] = [];
  const { promise, resolve } = deferred<void>();
  const { consumerTag } = await channel.consume(
    queue,
    (message) => {
      if (message !== null) received.push(message);
      if (received.length === count) resolve();
    },
    { noAck },
  );
  await promise;
  await channel.cancel(consumerTag);
  return received;
};

const body = (message: GetMessage | ConsumeMessage | false): string | false =>
  message !== false && message.content.toString();

test('properties, headers of every type and bodies round-trip byte for byte', async () => {
  await using stand = await start();
  const channel = await stand.connection.createConfirmChannel();
  await channel.assertQueue('q');
  const headers = {
    text: 'ü',
    number: 5,
    big: 2 ** 40,
    float: 1.5,
    yes: true,
    none: null,
    list: [1, 'a'],
    table: { deep: { x: 1 } },
  };
  const sent = {
    headers,
    contentType: 'text/plain',
    correlationId: 'c',
    replyTo: 'r',
    messageId: 'm',
    priority: 3,
    appId: 'a',
  };
  for (const size of [0, 1, 100, 200_000, 2_000_000]) {
    channel.sendToQueue('q', Buffer.alloc(size, 7), { ...sent, persistent: size % 200 === 0, timestamp: 12345 });
  }
  await channel.waitForConfirms();
  const received = await collect(channel, 'q', 5);
  assert.deepEqual(
    received.map(({ content }) => content.length),
    [0, 1, 100, 200_000, 2_000_000],
  );
  for (const message of received) {
    const { properties } = message;
    assert.deepEqual(properties.headers, headers);
    assert.equal(properties.contentType, 'text/plain');
    assert.equal(properties.timestamp, 12345);
    assert.equal(properties.priority, 3);
    assert.equal(message.fields.routingKey, 'q');
    assert.ok(message.content.every((octet) => octet === 7));
  }
});

test('prefetch bounds what is out; acks with multiple free it; requeued messages come first and are marked', async () => {
  await using stand = await start();
  const { channel } = stand;
  await channel.assertQueue('q');
  for (let i = 0; i < 20; i++) channel.sendToQueue('q', Buffer.from(`${i}`));
  await channel.prefetch(5);
  const received: ConsumeMessage[] = [];
  await channel.consume('q', (message) => void received.push(message!), { consumerTag: 'c' });
  while (received.length < 5) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await channel.checkQueue('q')).messageCount, 15);
  assert.equal(received.length, 5);
  channel.ack(received[2]!, true);
  while (received.length < 8) await new Promise((resolve) => setImmediate(resolve));
  await channel.cancel('c');
  channel.nack(received[4]!, false, true);
  channel.nack(received[3]!, false, true);
  const next = (await collect(channel, 'q', 14)).slice(0, 2);
  assert.deepEqual(
    next.map((message) => [body(message), message.fields.redelivered]),
    [
      ['3', true],
      ['4', true],
    ],
  );
});

test('unsettled messages return in order when the channel closes, the connection closes, or the socket breaks', async () => {
  await using stand = await start();
  const { channel } = stand;
  await channel.assertQueue('q');
  for (let i = 0; i < 10; i++) channel.sendToQueue('q', Buffer.from(`${i}`));
  for (const way of ['channel', 'connection', 'socket']) {
    const other = await amqp.connect(stand.url);
    other.on('error', () => {});
    const reader = await openChannel(other);
    const taken: unknown[] = [];
    await reader.consume('q', (message) => void taken.push(message));
    while (taken.length < 10) await new Promise((resolve) => setImmediate(resolve));
    if (way === 'channel') await reader.close();
    if (way !== 'socket') await other.close();
    else (other.connection as unknown as { stream: { destroy(error: Error): void } }).stream.destroy(new Error('cut'));
    while ((await channel.checkQueue('q')).messageCount < 10) await new Promise((resolve) => setImmediate(resolve));
  }
  const received = await collect(channel, 'q', 10);
  assert.deepEqual(received.map(body), ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  assert.ok(received.every(({ fields }) => fields.redelivered));
});

test('basic.get sees what was published before it and counts what is left', async () => {
  await using stand = await start();
  const { channel } = stand;
  await channel.assertQueue('q');
  assert.equal(await channel.get('q'), false);
  channel.sendToQueue('q', Buffer.from('a'), { persistent: true });
  channel.sendToQueue('q', Buffer.from('b'), { persistent: true });
  const [first, second, third] = await Promise.all([
    channel.get('q'),
    channel.get('q', { noAck: true }),
    channel.get('q'),
  ]);
  assert.deepEqual([body(first), body(second), third], ['a', 'b', false]);
  assert.equal((first as GetMessage).fields.messageCount, 1);
  channel.reject(first as GetMessage, true);
  assert.equal(body(await channel.get('q')), 'a');
});

test('exchanges of all types route; CC and BCC add keys and BCC is not delivered', async () => {
  await using stand = await start();
  const { channel } = stand;
  for (const queue of ['a', 'b', 'c']) await channel.assertQueue(queue);
  await channel.assertExchange('t', 'topic');
  await channel.bindQueue('a', 't', 'x.*');
  await channel.bindQueue('b', 't', '#');
  await channel.assertExchange('h', 'headers');
  await channel.bindQueue('c', 'h', '', { 'x-match': 'all', k: 1 });
  channel.publish('t', 'x.y', Buffer.from('1'));
  channel.publish('h', '', Buffer.from('2'), { headers: { k: 1 } });
  channel.publish('h', '', Buffer.from('3'), { headers: { k: 2 } });
  channel.publish('h', '', Buffer.from('4'), { headers: { k: 1 } });
  channel.publish('', 'a', Buffer.from('5'), { CC: ['b'], BCC: ['c'] });
  assert.deepEqual((await collect(channel, 'a', 2)).map(body), ['1', '5']);
  assert.deepEqual((await collect(channel, 'b', 2)).map(body), ['1', '5']);
  const last = await collect(channel, 'c', 3);
  assert.deepEqual(last.map(body), ['2', '4', '5']);
  assert.deepEqual(last[2]!.properties.headers, { CC: ['b'] });
  assert.equal(last[2]!.fields.routingKey, 'a');
});

test('a mandatory publish that goes nowhere returns before its confirm', async () => {
  await using stand = await start();
  const channel = await stand.connection.createConfirmChannel();
  const events: string[] = [];
  channel.on('return', (message) =>
    events.push(`return ${'replyCode' in message.fields && message.fields.replyCode} ${message.content}`),
  );
  channel.publish('', 'nowhere', Buffer.from('x'), { mandatory: true }, () => events.push('ack'));
  channel.publish('', 'nowhere', Buffer.from('y'), {}, () => events.push('ack'));
  await channel.waitForConfirms();
  assert.deepEqual(events, ['return 312 x', 'ack', 'ack']);
});

test('consumers are told when their queue is deleted; counts and conditions of delete hold', async () => {
  await using stand = await start();
  const { channel, connection } = stand;
  await channel.assertQueue('q');
  channel.sendToQueue('q', Buffer.from('x'));
  await failsWith(
    connection,
    "406 (PRECONDITION-FAILED) with message \"PRECONDITION_FAILED - queue 'q' in vhost '/' not empty\"",
    (other) => other.deleteQueue('q', { ifEmpty: true }),
  );
  const { promise, resolve } = deferred<unknown>();
  await channel.consume('q', (message) => message === null && resolve(message));
  await failsWith(connection, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use", (other) =>
    other.deleteQueue('q', { ifUnused: true }),
  );
  assert.deepEqual(await channel.deleteQueue('q'), { messageCount: 0 });
  await promise;
  assert.deepEqual(await channel.deleteQueue('q'), { messageCount: 0 });
});

test('errors carry RabbitMQ codes and texts and close the channel only', async () => {
  await using stand = await start();
  const { connection } = stand;
  await stand.channel.assertQueue('q');
  await stand.channel.assertExchange('x', 'direct');
  await failsWith(connection, "NOT_FOUND - no queue 'nope' in vhost '/'", (channel) => channel.checkQueue('nope'));
  await failsWith(connection, "NOT_FOUND - no exchange 'nope' in vhost '/'", (channel) =>
    channel.checkExchange('nope'),
  );
  await failsWith(
    connection,
    "NOT_FOUND - no exchange 'nope' in vhost '/'",
    (channel) => void channel.publish('nope', '', Buffer.alloc(0)),
  );
  await failsWith(
    connection,
    "inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
    (channel) => channel.assertQueue('q', { durable: false }),
  );
  await failsWith(
    connection,
    "inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'",
    (channel) => channel.assertExchange('x', 'fanout'),
  );
  await stand.channel.assertQueue('replay', { arguments: { 'x-replay-retention': 1000 } });
  const inequivalent = "inequivalent arg 'x-replay-retention' for queue 'replay' in vhost '/': received";
  const current = "but current is the value '1000' of type 'signedint'";
  for (const [value, received] of [
    [undefined, 'none'],
    [5, "the value '5' of type 'signedint'"],
    [2 ** 40, "the value '1099511627776' of type 'long'"],
  ] as const) {
    await failsWith(connection, `${inequivalent} ${received} ${current}`, (channel) =>
      channel.assertQueue('replay', { arguments: value === undefined ? {} : { 'x-replay-retention': value } }),
    );
  }
  await stand.channel.assertExchange('ae', 'direct', { alternateExchange: 'x' });
  await failsWith(
    connection,
    "inequivalent arg 'alternate-exchange' for exchange 'ae' in vhost '/': received the value 'true' of type 'bool' but current is the value 'x' of type 'longstr'",
    (channel) => channel.assertExchange('ae', 'direct', { arguments: { 'alternate-exchange': true } }),
  );
  await failsWith(
    connection,
    "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'odd' in vhost '/'",
    (channel) => channel.assertExchange('odd', 'direct', { arguments: { 'alternate-exchange': 5 } }),
  );
  await failsWith(connection, "NOT_FOUND - no exchange 'odd'", (channel) => channel.checkExchange('odd'));
  await failsWith(connection, "queue name 'amq.mine' contains reserved prefix 'amq.*'", (channel) =>
    channel.assertQueue('amq.mine'),
  );
  await failsWith(connection, 'operation not permitted on the default exchange', (channel) =>
    channel.bindQueue('q', '', 'k'),
  );
  await failsWith(connection, "unknown exchange type 'odd'", (channel) => channel.assertExchange('y', 'odd'));
  const received = (): void => {};
  for (const [priority, type] of [
    ['1', 'longstr'],
    [true, 'bool'],
    [1.5, 'double'],
  ] as const) {
    await failsWith(
      connection,
      `invalid arg 'x-priority' for queue 'q' in vhost '/': "expected integer, got ${type}"`,
      (channel) => channel.consume('q', received, { arguments: { 'x-priority': priority } }),
    );
  }
  await failsWith(
    connection,
    "invalid arg 'x-consumer-timeout' for a consumer of queue 'q' in vhost '/': not supported by this broker",
    (channel) => channel.consume('q', received, { arguments: { 'x-consumer-timeout': 60_000 } }),
  );
  await failsWith(
    connection,
    "invalid arg 'x-stream-offset' for queue 's' in vhost '/': \"only a subscription has a start: x-topic is missing\"",
    (channel) => channel.assertQueue('s', { arguments: { 'x-stream-offset': 'banana' } }),
  );
  await failsWith(
    connection,
    'PRECONDITION_FAILED - unknown delivery tag 7',
    (channel) => void channel.ack({ fields: { deliveryTag: 7 } } as ConsumeMessage),
  );
  await failsWith(
    connection,
    "invalid expiration 'abc': no_integer",
    (channel) => void channel.sendToQueue('q', Buffer.alloc(0), { expiration: 'abc' }),
  );
  await failsWith(
    connection,
    "user_id property set to 'eve' but authenticated user was 'guest'",
    (channel) => void channel.sendToQueue('q', Buffer.alloc(0), { userId: 'eve' }),
  );
  await failsWith(
    connection,
    'message size 16777217 is larger than configured max size 16777216',
    (channel) => void channel.sendToQueue('q', Buffer.alloc(16_777_217)),
  );
  await failsWith(
    connection,
    "invalid arg 'x-message-ttl' for queue 'z' in vhost '/': not supported by this broker",
    (channel) => channel.assertQueue('z', { messageTtl: 5 }),
  );
  await stand.channel.consume('q', () => {}, { exclusive: true });
  await failsWith(connection, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", (channel) =>
    channel.consume('q', () => {}),
  );
  assert.equal((await stand.channel.checkQueue('q')).messageCount, 0);
});

test('internal exchanges take no publishes but bindings; amq.rabbitmq.trace is one from the start', async () => {
  await using stand = await start();
  const { connection, channel } = stand;
  await channel.assertExchange('inside', 'fanout', { internal: true });
  for (const exchange of ['inside', 'amq.rabbitmq.trace']) {
    await failsWith(
      connection,
      `ACCESS_REFUSED - cannot publish to internal exchange '${exchange}' in vhost '/'`,
      (other) => void other.publish(exchange, '', Buffer.alloc(0)),
    );
  }
  await channel.assertExchange('amq.rabbitmq.trace', 'topic', { internal: true });
  await channel.assertQueue('q');
  await channel.bindQueue('q', 'inside', '');
  await channel.bindExchange('inside', 'amq.fanout', '');
  channel.publish('amq.fanout', '', Buffer.from('through'));
  assert.deepEqual((await collect(channel, 'q', 1)).map(body), ['through']);
});

test('an exclusive queue is locked to others and goes with its connection', async () => {
  await using stand = await start();
  const other = await amqp.connect(stand.url);
  const { queue } = await (await other.createChannel()).assertQueue('', { exclusive: true });
  assert.match(queue, /^amq\.gen-[\w-]{22}$/);
  await failsWith(stand.connection, 'RESOURCE_LOCKED - cannot obtain exclusive access to locked queue', (channel) =>
    channel.checkQueue(queue),
  );
  await other.close();
  await failsWith(stand.connection, 'NOT_FOUND - no queue', (channel) => channel.checkQueue(queue));
});

test('a consumer tag that is in use closes the connection with 530', async () => {
  await using stand = await start();
  const { channel, connection } = stand;
  await channel.assertQueue('q');
  await channel.consume('q', () => {}, { consumerTag: 'same' });
  const closed = once(connection, 'error');
  channel.consume('q', () => {}, { consumerTag: 'same' }).catch(() => {});
  const [error] = (await closed) as [Error];
  assert.match(error.message, /530 \(NOT-ALLOWED\).*attempt to reuse consumer tag 'same'/);
});
