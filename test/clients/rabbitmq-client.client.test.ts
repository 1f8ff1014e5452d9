// rabbitmq-client's own ways: publishers that retry, consumers that declare what they need, refusals by name.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { type AsyncMessage, Connection, type Consumer, ConsumerStatus, type ReturnedMessage } from 'rabbitmq-client';
import { type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

let broker: BrokerUnderTest;
let connection: Connection;

const connect = (options: { password?: string } = {}): Connection => {
  const { hostname, port, username, password } = new URL(broker.amqp);
  const one = new Connection({ hostname, port, username, password, retryLow: 100, retryHigh: 500, ...options });
  one.on('error', () => {});
  return one;
};

before(async () => {
  broker = await startBrokerUnderTest();
  connection = connect();
});

after(async () => {
  // A test that failed may have left a consumer, for which close() waits for ever.
  await within('the connection to close', connection.close(), 5_000).catch(() => connection.unsafeDestroy());
  await broker?.stop();
});

const isRefused =
  (code: string, text: string) =>
  (error: unknown): boolean => {
    assert.equal((error as { code?: string }).code, code);
    assert.ok((error as Error).message.includes(text), (error as Error).message);
    return true;
  };

const withQueue = async (use: (queue: string) => Promise<void>): Promise<void> => {
  const queue = uniqueName('rabbitmq-client');
  await connection.queueDeclare({ queue, durable: true });
  try {
    await use(queue);
  } finally {
    await connection.queueDelete(queue);
  }
};

const consume = async (
  queue: string,
  handle: (message: AsyncMessage) => ConsumerStatus | undefined = () => undefined,
  prefetchCount = 10,
): Promise<{ consumer: Consumer; bodies: string[] }> => {
  const bodies: string[] = [];
  const consumer = connection.createConsumer(
    { queue, queueOptions: { durable: true }, qos: { prefetchCount } },
    async (message) => {
      bodies.push(String(message.body));
      return handle(message);
    },
  );
  consumer.on('error', () => {});
  await within('the consumer to be ready', new Promise<void>((resolve) => consumer.on('ready', resolve)));
  return { consumer, bodies };
};

test('confirmed messages of every body type reach a consumer in order', async () => {
  await withQueue(async (queue) => {
    const publisher = connection.createPublisher({ confirm: true });
    const binary = randomBytes(100_000);
    const sent = ['text', binary, { json: [1, 'two'] }, ''];
    for (const body of sent) await publisher.send({ routingKey: queue, durable: true, messageId: 'id' }, body);
    const received: AsyncMessage[] = [];
    const { consumer } = await consume(queue, (message) => {
      received.push(message);
      return ConsumerStatus.ACK;
    });
    await waitFor('all', () => received.length === sent.length);
    assert.deepEqual(
      received.map(({ body }) => body),
      sent,
    );
    assert.ok(received.every(({ messageId, durable, redelivered }) => messageId === 'id' && durable && !redelivered));
    await consumer.close();
    await publisher.close();
    assert.equal((await connection.queueDeclare({ queue, passive: true })).messageCount, 0);
  });
});

test('500 confirms in flight at once all arrive', async () => {
  await withQueue(async (queue) => {
    const publisher = connection.createPublisher({ confirm: true });
    const sends = Array.from({ length: 500 }, (_, index) =>
      publisher.send({ routingKey: queue, durable: true }, String(index)),
    );
    await Promise.all(sends);
    assert.equal((await connection.queueDeclare({ queue, passive: true })).messageCount, 500);
    await publisher.close();
  });
});

test('a mandatory message without a queue is returned and confirmed', async () => {
  const returned: ReturnedMessage[] = [];
  const publisher = connection.createPublisher({ confirm: true });
  publisher.on('basic.return', (message) => returned.push(message));
  await publisher.send({ exchange: 'amq.topic', routingKey: 'nobody.here', mandatory: true }, 'back');
  await waitFor('the return', () => returned.length > 0);
  assert.deepEqual(
    returned.map(({ replyCode, replyText, exchange, routingKey, body }) => [
      replyCode,
      replyText,
      exchange,
      routingKey,
      body,
    ]),
    [[312, 'NO_ROUTE', 'amq.topic', 'nobody.here', 'back']],
  );
  await publisher.close();
});

test('a handler that asks for a requeue gets the message again, redelivered; a drop is final', async () => {
  await withQueue(async (queue) => {
    const flags: boolean[] = [];
    const { consumer } = await consume(queue, ({ redelivered }) => {
      flags.push(redelivered);
      return flags.length < 3 ? ConsumerStatus.REQUEUE : ConsumerStatus.DROP;
    });
    await connection.createPublisher({ confirm: true }).send(queue, 'again');
    await waitFor('three rounds', () => flags.length === 3);
    await consumer.close();
    assert.deepEqual(flags, [false, true, true]);
    assert.equal((await connection.queueDeclare({ queue, passive: true })).messageCount, 0);
  });
});

test('a topology given to the consumer is declared, and topic keys select', async () => {
  const [exchange, queue] = [uniqueName('exchange'), uniqueName('queue')];
  const bodies: string[] = [];
  const consumer = connection.createConsumer(
    {
      queueOptions: { queue, exclusive: true },
      exchanges: [{ exchange, type: 'topic', autoDelete: true }],
      queueBindings: [{ exchange, routingKey: 'users.*' }],
    },
    async ({ body }) => {
      bodies.push(body as string);
    },
  );
  await within('the consumer', new Promise<void>((resolve) => consumer.on('ready', resolve)));
  const publisher = connection.createPublisher({ confirm: true });
  for (const routingKey of ['users.visit', 'orders.new', 'users.leave']) {
    await publisher.send({ exchange, routingKey }, routingKey);
  }
  await waitFor('two', () => bodies.length === 2);
  assert.deepEqual(bodies, ['users.visit', 'users.leave']);
  await consumer.close();
  await publisher.close();
});

test('basicGet takes one, or nothing', async () => {
  await withQueue(async (queue) => {
    assert.equal(await connection.basicGet({ queue, noAck: true }), undefined);
    await connection.createPublisher({ confirm: true }).send(queue, 'one');
    assert.equal((await connection.basicGet({ queue, noAck: true }))?.body, 'one');
  });
});

test('refusals carry the reply code by name and RabbitMQ’s text', async () => {
  await withQueue(async (queue) => {
    const none = uniqueName('none');
    await assert.rejects(
      connection.queueDeclare({ queue: none, passive: true }),
      isRefused('NOT_FOUND', `NOT_FOUND - no queue '${none}' in vhost '/'`),
    );
    await assert.rejects(
      connection.queueDeclare({ queue, durable: false }),
      isRefused(
        'PRECONDITION_FAILED',
        `PRECONDITION_FAILED - inequivalent arg 'durable' for queue '${queue}' in vhost '/': received 'false' but current is 'true'`,
      ),
    );
    await assert.rejects(
      connection.exchangeDeclare({ exchange: 'amq.x' }),
      isRefused('ACCESS_REFUSED', 'reserved prefix'),
    );
    // The connection's own channel was closed by these and must come back by itself.
    assert.equal((await connection.queueDeclare({ queue, passive: true })).queue, queue);
  });
});

test('a wrong password is refused for good', async () => {
  const refused = connect({ password: 'wrong' });
  const error = await within('the refusal', new Promise<Error>((resolve) => refused.on('error', resolve)));
  assert.match(error.message, /ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
  refused.unsafeDestroy();
});
