// Exchanges, queues and bindings as amqplib declares them: where messages go, and RabbitMQ's answers, to the letter,
// to everything that does not fit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Options } from 'amqplib';
import {
  type ChannelError,
  collect,
  drain,
  isGone,
  newDurableQueue,
  type ObservedChannel,
  publishAll,
  startWithAmqplib,
} from './amqplib-session.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

const { session } = await startWithAmqplib();

const rejectsWith = async (promise: Promise<unknown>, code: number, text: string): Promise<void> => {
  await assert.rejects(within(text, promise), (error: unknown) => {
    assert.equal((error as ChannelError).code, code);
    assert.ok((error as ChannelError).message.includes(`"${text}"`), (error as ChannelError).message);
    return true;
  });
};

const exclusiveQueue: Options.AssertQueue = { exclusive: true };

interface Routing {
  readonly bindings: Record<string, readonly string[]>;
  /** Routing key -> the queues (by their place in `bindings`) that get the message. */
  readonly expected: Record<string, readonly string[]>;
}

const routings: Record<'direct' | 'fanout' | 'topic', Routing> = {
  direct: {
    bindings: { one: ['a'], two: ['a', 'b'], three: ['c'] },
    expected: { a: ['one', 'two'], b: ['two'], c: ['three'], 'a.b': [], '': [] },
  },
  fanout: {
    bindings: { one: [''], two: ['ignored'], three: ['a', 'b'] },
    expected: { '': ['one', 'two', 'three'], anything: ['one', 'two', 'three'] },
  },
  topic: {
    bindings: { all: ['#'], errors: ['*.error'], app: ['app.#', 'app.*.x'], middle: ['a.*.c'], empty: [''] },
    expected: {
      '': ['all', 'empty'],
      'db.error': ['all', 'errors'],
      'app.error': ['all', 'errors', 'app'],
      app: ['all', 'app'],
      'app.one.x': ['all', 'app'],
      'app.one.two.three': ['all', 'app'],
      'a.b.c': ['all', 'middle'],
      'a..c': ['all', 'middle'],
      'a.c': ['all'],
      'a.b.b.c': ['all'],
    },
  },
};

for (const [type, { bindings, expected }] of Object.entries(routings)) {
  test(`a ${type} exchange routes to the queues whose bindings match, once each`, async () => {
    const channel = await session.channel();
    const exchange = uniqueName(type);
    await channel.assertExchange(exchange, type, { durable: false });
    const queues: Record<string, string> = {};
    for (const [name, keys] of Object.entries(bindings)) {
      const { queue } = await channel.assertQueue('', exclusiveQueue);
      queues[name] = queue;
      for (const key of keys) await channel.bindQueue(queue, exchange, key);
    }
    for (const key of Object.keys(expected)) channel.publish(exchange, key, Buffer.from(`<${key}>`));
    await channel.waitForConfirms();
    for (const [name, queue] of Object.entries(queues)) {
      const wanted = Object.keys(expected).filter((key) => expected[key]?.includes(name));
      assert.deepEqual(
        await drain(channel, queue),
        wanted.map((key) => `<${key}>`),
        `queue ${name}`,
      );
    }
    await channel.deleteExchange(exchange);
  });
}

test('the default exchange routes to the queue of that name; unbound keys are dropped', async () => {
  const channel = await session.channel();
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  channel.publish('', queue, Buffer.from('hit'));
  channel.publish('', uniqueName('nobody'), Buffer.from('miss'));
  await channel.waitForConfirms();
  assert.deepEqual(await drain(channel, queue), ['hit']);
});

test('the predeclared exchanges are there', async () => {
  const channel = await session.channel();
  for (const name of ['amq.direct', 'amq.fanout', 'amq.topic', 'amq.headers', 'amq.match']) {
    await channel.checkExchange(name);
  }
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  await channel.bindQueue(queue, 'amq.topic', 'x.*');
  channel.publish('amq.topic', 'x.y', Buffer.from('predeclared'));
  await channel.waitForConfirms();
  assert.deepEqual(await drain(channel, queue), ['predeclared']);
});

test('unbinding stops the flow; unbinding what is not bound is fine', async () => {
  const channel = await session.channel();
  const exchange = uniqueName('unbind');
  await channel.assertExchange(exchange, 'direct', { durable: false });
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  await channel.bindQueue(queue, exchange, 'k');
  await channel.unbindQueue(queue, exchange, 'other');
  channel.publish(exchange, 'k', Buffer.from('bound'));
  await channel.unbindQueue(queue, exchange, 'k');
  channel.publish(exchange, 'k', Buffer.from('unbound'));
  await channel.waitForConfirms();
  assert.deepEqual(await drain(channel, queue), ['bound']);
  await channel.deleteExchange(exchange);
});

test('an exchange bound to an exchange passes messages on, one copy for each queue', async () => {
  const channel = await session.channel();
  const [source, target] = [uniqueName('source'), uniqueName('target')];
  await channel.assertExchange(source, 'topic', { durable: false });
  await channel.assertExchange(target, 'fanout', { durable: false });
  await channel.bindExchange(target, source, 'go.#');
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  await channel.bindQueue(queue, target, '');
  await channel.bindQueue(queue, source, '#');
  channel.publish(source, 'go.on', Buffer.from('both ways'));
  channel.publish(source, 'stay', Buffer.from('direct'));
  await channel.waitForConfirms();
  assert.deepEqual(await drain(channel, queue), ['both ways', 'direct']);
  await channel.unbindExchange(target, source, 'go.#');
  await channel.deleteExchange(source);
  await channel.deleteExchange(target);
});

test('declare-ok counts ready messages and consumers', async () => {
  const channel = await session.channel();
  const { queue, messageCount, consumerCount } = await channel.assertQueue(uniqueName('counted'), exclusiveQueue);
  assert.deepEqual([messageCount, consumerCount], [0, 0]);
  await publishAll(channel, queue, ['a', 'b', 'c']);
  await channel.prefetch(1);
  await collect(channel, queue);
  await waitFor('one unacknowledged', async () => (await channel.checkQueue(queue)).messageCount === 2);
  assert.equal((await channel.checkQueue(queue)).consumerCount, 1);
});

test('an empty name makes a server-named queue, and then means that queue', async () => {
  const channel = await session.channel();
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  assert.match(queue, /^amq\.gen-[A-Za-z0-9_-]{22}$/);
  await channel.bindQueue('', 'amq.direct', 'last declared');
  channel.publish('amq.direct', 'last declared', Buffer.from('found'));
  await channel.waitForConfirms();
  assert.deepEqual(await drain(channel, queue), ['found']);
});

test('purge removes what is ready and says how many, delete too', async () => {
  const channel = await session.channel();
  const queue = await newDurableQueue(channel, 'purged');
  await publishAll(channel, queue, ['a', 'b', 'c']);
  await channel.get(queue); // unacknowledged: stays
  assert.deepEqual(await channel.purgeQueue(queue), { messageCount: 2 });
  assert.deepEqual(await channel.purgeQueue(queue), { messageCount: 0 });
  await publishAll(channel, queue, ['d']);
  assert.deepEqual(await channel.deleteQueue(queue), { messageCount: 1 });
  assert.deepEqual(await channel.deleteQueue(queue), { messageCount: 0 }, 'deleting what is gone is fine');
  await channel.deleteExchange(uniqueName('never there'));
});

test('an auto-delete queue goes with its last consumer', async () => {
  const channel = await session.channel();
  const queue = uniqueName('auto-delete');
  await channel.assertQueue(queue, { durable: false, autoDelete: true });
  await channel.checkQueue(queue);
  const first = await collect(channel, queue);
  const second = await collect(channel, queue);
  await channel.cancel(first.consumerTag);
  await channel.checkQueue(queue);
  await channel.cancel(second.consumerTag);
  await rejectsWith(channel.checkQueue(queue), 404, `NOT_FOUND - no queue '${queue}' in vhost '/'`);
});

test('an auto-delete exchange goes with its last binding', async () => {
  const channel = await session.channel();
  const exchange = uniqueName('auto-delete');
  await channel.assertExchange(exchange, 'fanout', { durable: false, autoDelete: true });
  const { queue } = await channel.assertQueue('', exclusiveQueue);
  await channel.bindQueue(queue, exchange, '');
  await channel.checkExchange(exchange);
  await channel.unbindQueue(queue, exchange, '');
  await rejectsWith(channel.checkExchange(exchange), 404, `NOT_FOUND - no exchange '${exchange}' in vhost '/'`);
});

test('an exclusive queue is closed to other connections and goes with its own', async () => {
  const owner = await session.connect();
  const ownerChannel = await session.channel(owner);
  const queue = uniqueName('exclusive');
  await ownerChannel.assertQueue(queue, { exclusive: true, durable: false });
  const text =
    `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${queue}' in vhost '/'. It could be originally ` +
    'declared on another connection or the exclusive property value does not match that of the original declaration.';
  for (const attempt of [
    async () => (await session.channel()).assertQueue(queue, { exclusive: true, durable: false }),
    async () => (await session.channel()).checkQueue(queue),
    async () => (await session.channel()).consume(queue, () => {}),
    async () => (await session.channel()).get(queue),
    async () => (await session.channel()).purgeQueue(queue),
    async () => (await session.channel()).deleteQueue(queue),
    async () => (await session.channel()).bindQueue(queue, 'amq.direct', 'k'),
  ]) {
    await rejectsWith(attempt(), 405, text);
  }
  await owner.close();
  await waitFor('the queue to go', () => isGone(session, queue));
});

// Each of these closes its channel with the code and exactly this text. `q` and `x` are a fresh durable queue and
// direct exchange; `none` is a name that nothing has.
interface Refusal {
  readonly what: string;
  readonly attempt: (channel: ObservedChannel, names: Names) => Promise<unknown>;
  readonly code: number;
  readonly text: (names: Names) => string;
}
interface Names {
  readonly q: string;
  readonly x: string;
  readonly none: string;
}

const noQueue = ({ none }: Names): string => `NOT_FOUND - no queue '${none}' in vhost '/'`;
const noExchange = ({ none }: Names): string => `NOT_FOUND - no exchange '${none}' in vhost '/'`;
const inequivalent = (arg: string, kind: string, name: string, received: string, current: string): string =>
  `PRECONDITION_FAILED - inequivalent arg '${arg}' for ${kind} '${name}' in vhost '/': received ${received} but current is ${current}`;

const invalidArgument = (arg: string, queue: string, reason: string): string =>
  `PRECONDITION_FAILED - invalid arg '${arg}' for queue '${queue}' in vhost '/': ${reason}`;

const refusals: readonly Refusal[] = [
  { what: 'passive declare of no queue', code: 404, text: noQueue, attempt: (c, { none }) => c.checkQueue(none) },
  {
    what: 'passive declare of no exchange',
    code: 404,
    text: noExchange,
    attempt: (c, { none }) => c.checkExchange(none),
  },
  { what: 'consume from no queue', code: 404, text: noQueue, attempt: (c, { none }) => c.consume(none, () => {}) },
  { what: 'get from no queue', code: 404, text: noQueue, attempt: (c, { none }) => c.get(none) },
  { what: 'purge of no queue', code: 404, text: noQueue, attempt: (c, { none }) => c.purgeQueue(none) },
  { what: 'bind of no queue', code: 404, text: noQueue, attempt: (c, { none, x }) => c.bindQueue(none, x, 'k') },
  { what: 'bind to no exchange', code: 404, text: noExchange, attempt: (c, { none, q }) => c.bindQueue(q, none, 'k') },
  {
    what: 'exchange bind of no exchange',
    code: 404,
    text: noExchange,
    attempt: (c, { none, x }) => c.bindExchange(none, x, ''),
  },
  {
    what: 'publish to no exchange',
    code: 404,
    text: noExchange,
    attempt: async (c, { none }) => {
      c.publish(none, 'k', Buffer.from('lost'));
      throw await c.closedByServer;
    },
  },
  {
    what: 'queue declared transient that is durable',
    code: 406,
    text: ({ q }) => inequivalent('durable', 'queue', q, "'false'", "'true'"),
    attempt: (c, { q }) => c.assertQueue(q, { durable: false }),
  },
  {
    what: 'queue declared auto-delete that is not',
    code: 406,
    text: ({ q }) => inequivalent('auto_delete', 'queue', q, "'true'", "'false'"),
    attempt: (c, { q }) => c.assertQueue(q, { durable: true, autoDelete: true }),
  },
  {
    what: 'queue declared with an argument that it has not',
    code: 406,
    text: ({ q }) => inequivalent('x-topic', 'queue', q, "the value 'orders' of type 'longstr'", 'none'),
    attempt: (c, { q }) => c.assertQueue(q, { durable: true, arguments: { 'x-topic': 'orders' } }),
  },
  {
    what: 'exchange declared with another type',
    code: 406,
    text: ({ x }) => inequivalent('type', 'exchange', x, "'fanout'", "'direct'"),
    attempt: (c, { x }) => c.assertExchange(x, 'fanout', { durable: true }),
  },
  {
    what: 'exchange declared transient that is durable',
    code: 406,
    text: ({ x }) => inequivalent('durable', 'exchange', x, "'false'", "'true'"),
    attempt: (c, { x }) => c.assertExchange(x, 'direct', { durable: false }),
  },
  {
    what: 'exchange of an unknown type',
    code: 406,
    text: () => "PRECONDITION_FAILED - unknown exchange type 'no-such-type'",
    attempt: (c, { none }) => c.assertExchange(none, 'no-such-type'),
  },
  {
    what: 'exchange with a reserved name',
    code: 403,
    text: () => "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    attempt: (c) => c.assertExchange('amq.mine', 'direct'),
  },
  {
    what: 'queue with a reserved name',
    code: 403,
    text: () => "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    attempt: (c) => c.assertQueue('amq.mine'),
  },
  {
    what: 'delete of a predeclared exchange',
    code: 403,
    text: () => "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    attempt: (c) => c.deleteExchange('amq.direct'),
  },
  {
    what: 'bind on the default exchange',
    code: 403,
    text: () => 'ACCESS_REFUSED - operation not permitted on the default exchange',
    attempt: (c, { q }) => c.bindQueue(q, '', 'k'),
  },
  {
    what: 'delete if empty of a queue with a message',
    code: 406,
    text: ({ q }) => `PRECONDITION_FAILED - queue '${q}' in vhost '/' not empty`,
    attempt: async (c, { q }) => {
      await publishAll(c, q, ['here']);
      return await c.deleteQueue(q, { ifEmpty: true });
    },
  },
  {
    what: 'delete if unused of a queue with a consumer',
    code: 406,
    text: ({ q }) => `PRECONDITION_FAILED - queue '${q}' in vhost '/' in use`,
    attempt: async (c, { q }) => {
      await c.consume(q, () => {});
      return await c.deleteQueue(q, { ifUnused: true });
    },
  },
  {
    what: 'delete if unused of an exchange with a binding',
    code: 406,
    text: ({ x }) => `PRECONDITION_FAILED - exchange '${x}' in vhost '/' in use`,
    attempt: async (c, { x, q }) => {
      await c.bindQueue(q, x, 'k');
      return await c.deleteExchange(x, { ifUnused: true });
    },
  },
  {
    what: 'queue with an argument that this broker knows and does not implement',
    code: 406,
    text: ({ none }) => invalidArgument('x-message-ttl', none, 'not supported by this broker'),
    attempt: (c, { none }) => c.assertQueue(none, { durable: true, messageTtl: 60_000 }),
  },
  {
    what: 'quorum queue',
    code: 406,
    text: ({ none }) => invalidArgument('x-queue-type', none, 'quorum queues are not supported by this broker'),
    attempt: (c, { none }) => c.assertQueue(none, { durable: true, arguments: { 'x-queue-type': 'quorum' } }),
  },
  {
    what: 'queue of an unknown type',
    code: 406,
    text: ({ none }) => invalidArgument('x-queue-type', none, `"unsupported queue type 'heap'"`),
    attempt: (c, { none }) => c.assertQueue(none, { durable: true, arguments: { 'x-queue-type': 'heap' } }),
  },
  {
    what: 'subscription on no topic',
    code: 404,
    text: ({ x }) => `NOT_FOUND - no topic '${x}' in vhost '/'`,
    attempt: (c, { none, x }) => c.assertQueue(none, { durable: true, arguments: { 'x-topic': x } }),
  },
];

for (const { what, attempt, code, text } of refusals) {
  test(`${code}: ${what}`, async () => {
    const names: Names = { q: uniqueName('q'), x: uniqueName('x'), none: uniqueName('none') };
    const setup = await session.channel();
    await setup.assertQueue(names.q, { durable: true });
    await setup.assertExchange(names.x, 'direct', { durable: true });
    try {
      await rejectsWith(attempt(await session.channel(), names), code, text(names));
    } finally {
      await setup.deleteQueue(names.q);
      await setup.deleteExchange(names.x);
    }
  });
}

test('declaring what is there with the same properties, or with unknown arguments, is fine', async () => {
  const channel = await session.channel();
  const [queue, exchange] = [uniqueName('same'), uniqueName('same')];
  for (const args of [{}, { 'x-unknown-to-all': 1 }, {}]) {
    await channel.assertQueue(queue, { durable: true, arguments: args });
    await channel.assertExchange(exchange, 'topic', { durable: true, arguments: args });
  }
  await channel.deleteQueue(queue);
  await channel.deleteExchange(exchange);
});
