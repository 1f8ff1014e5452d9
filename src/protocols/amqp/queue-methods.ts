/** Class queue. */
import { randomBytes } from 'node:crypto';
import { AmqpError } from './amqp-errors.ts';
import type { Channel } from './channel.ts';
import type { Method } from './generated/methods.ts';
import { validateQueueArguments } from './queue-arguments.ts';
import {
  authorize,
  cleanName,
  lockedQueue,
  noQueue,
  queueNameOf,
  requireNotDefaultExchange,
  requireQueue,
  requireUnreserved,
  vhostOf,
} from './resources.ts';

type QueueMethod = Extract<
  Method,
  { method: 'queue.declare' | 'queue.bind' | 'queue.unbind' | 'queue.purge' | 'queue.delete' }
>;
type Declare = Extract<Method, { method: 'queue.declare' }>;
type Bind = Extract<Method, { method: 'queue.bind' | 'queue.unbind' }>;

export const handleQueueMethod = (channel: Channel, method: QueueMethod): void => {
  switch (method.method) {
    case 'queue.declare':
      if (method.passive) declarePassively(channel, method);
      else declare(channel, method);
      return;
    case 'queue.bind':
    case 'queue.unbind':
      bindOrUnbind(channel, method);
      return;
    case 'queue.purge': {
      const name = queueNameOf(channel, method.queue);
      authorize(channel, 'read', 'queue', name);
      const messageCount = channel.connection.vhost.purgeQueue(requireQueue(channel, name));
      if (!method.nowait) channel.reply({ method: 'queue.purge-ok', messageCount });
      return;
    }
    case 'queue.delete': {
      const name = queueNameOf(channel, method.queue);
      authorize(channel, 'configure', 'queue', name);
      const { vhost } = channel.connection;
      if (vhost.queue(name) === undefined && vhost.topic(name) !== undefined) throw noQueue(channel, name);
      const { ifUnused, ifEmpty } = method;
      const messageCount = vhost.deleteQueue(name, { ifUnused, ifEmpty }, channel.connection);
      if (!method.nowait) channel.reply({ method: 'queue.delete-ok', messageCount });
    }
  }
};

const declareOk = (channel: Channel, method: Declare, queue: string, counts: [number, number]): void => {
  channel.lastDeclaredQueue = queue;
  if (method.nowait) return;
  channel.reply({ method: 'queue.declare-ok', queue, messageCount: counts[0], consumerCount: counts[1] });
};

const declare = (channel: Channel, method: Declare): void => {
  const { connection } = channel;
  let name = cleanName(method.queue);
  requireUnreserved('queue', name);
  if (name === '') name = `amq.gen-${randomBytes(16).toString('base64url')}`;
  authorize(channel, 'configure', 'queue', name);
  validateQueueArguments(name, vhostOf(channel), method.arguments);
  const { durable, exclusive, autoDelete, arguments: args } = method;
  const existing = connection.vhost.queue(name);
  if (existing !== undefined && existing.properties.exclusive !== exclusive) throw lockedQueue(channel, name);
  const queue = connection.vhost.declareQueue(
    name,
    { durable: durable && !exclusive, exclusive, autoDelete, arguments: args },
    exclusive ? connection : undefined,
  );
  declareOk(channel, method, name, [queue.messageCount, queue.subscription.consumerCount]);
};

const declarePassively = (channel: Channel, method: Declare): void => {
  const name = queueNameOf(channel, method.queue);
  const { vhost } = channel.connection;
  const topic = vhost.queue(name) === undefined ? vhost.topic(name) : undefined;
  if (topic !== undefined) {
    const messages = topic.partitions.reduce((sum, log) => sum + log.durableEnd - log.startOffset, 0);
    declareOk(channel, method, name, [messages, 0]);
    return;
  }
  const queue = requireQueue(channel, name);
  declareOk(channel, method, name, [queue.messageCount, queue.subscription.consumerCount]);
};

const bindOrUnbind = (channel: Channel, method: Bind): void => {
  const { vhost } = channel.connection;
  const exchange = cleanName(method.exchange);
  const name = queueNameOf(channel, method.queue);
  const key = method.queue === '' && method.routingKey === '' ? channel.lastDeclaredQueue : method.routingKey;
  authorize(channel, 'write', 'queue', name);
  requireNotDefaultExchange(exchange);
  authorize(channel, 'read', 'exchange', exchange);
  if (vhost.exchange(exchange) === undefined) {
    throw new AmqpError(404, `no exchange '${exchange}' in vhost '${vhost.name}'`);
  }
  const queue = vhost.queue(name);
  const topic = vhost.topic(name);
  if (queue !== undefined) {
    vhost.requireAccess(queue, channel.connection);
    if (method.method === 'queue.bind') vhost.bindQueue(queue, exchange, key, method.arguments);
    else vhost.unbindQueue(queue, exchange, key, method.arguments);
  } else if (topic !== undefined) {
    if (method.method === 'queue.bind') vhost.bindTopic(topic, exchange, key, method.arguments);
    else vhost.unbindTopic(topic, exchange, key, method.arguments);
  } else {
    throw noQueue(channel, name);
  }
  if (method.method === 'queue.unbind') channel.reply({ method: 'queue.unbind-ok' });
  else if (!method.nowait) channel.reply({ method: 'queue.bind-ok' });
};
