/** Class basic, but for publish (publish-session.ts) and deliver (stored-content.ts). */
import { randomBytes } from 'node:crypto';
import { fieldTypeName } from '../../broker/field-type-name.ts';
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import { BrokerError } from '../../core/errors.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import type { Channel } from './channel.ts';
import { Consumer } from './consumer.ts';
import type { Method } from './generated/methods.ts';
import { encodeMethodFrame } from './method-frames.ts';
import { authorize, queueNameOf, requireQueue, vhostOf } from './resources.ts';
import { copyContent } from './stored-content.ts';

type BasicMethod = Extract<
  Method,
  {
    method:
      | 'basic.qos'
      | 'basic.consume'
      | 'basic.cancel'
      | 'basic.get'
      | 'basic.ack'
      | 'basic.nack'
      | 'basic.reject'
      | 'basic.recover'
      | 'basic.recover-async'
      | 'basic.cancel-ok';
  }
>;
type Consume = Extract<Method, { method: 'basic.consume' }>;
type Get = Extract<Method, { method: 'basic.get' }>;

export const handleBasicMethod = (channel: Channel, method: BasicMethod): void => {
  switch (method.method) {
    case 'basic.qos':
      if (method.prefetchSize !== 0) throw new AmqpError(540, `prefetch_size!=0 (${method.prefetchSize})`);
      // global=true is per consumer as well, as in RabbitMQ 4.3.
      channel.prefetchCount = method.prefetchCount;
      channel.reply({ method: 'basic.qos-ok' });
      return;
    case 'basic.consume':
      consume(channel, method);
      return;
    case 'basic.cancel':
      channel.consumers.get(method.consumerTag)?.stop();
      channel.consumers.delete(method.consumerTag);
      if (!method.nowait) channel.reply({ method: 'basic.cancel-ok', consumerTag: method.consumerTag });
      return;
    case 'basic.cancel-ok':
      return;
    case 'basic.get':
      get(channel, method);
      return;
    case 'basic.ack':
      channel.settle(method.deliveryTag, method.multiple, 'ack');
      return;
    case 'basic.nack':
      channel.settle(method.deliveryTag, method.multiple, method.requeue ? 'requeue' : 'discard');
      return;
    case 'basic.reject':
      channel.settle(method.deliveryTag, false, method.requeue ? 'requeue' : 'discard');
      return;
    case 'basic.recover':
    case 'basic.recover-async':
      if (!method.requeue) throw new AmqpError(540, 'requeue=false');
      channel.settle(0, true, 'requeue');
      if (method.method === 'basic.recover') channel.reply({ method: 'basic.recover-ok' });
  }
};

const directReplyTo = 'amq.rabbitmq.reply-to';
/** Arguments of basic.consume that would change what is delivered, or when it comes back. */
const unsupportedConsumeArguments = [
  'x-stream-offset',
  'x-stream-filter',
  'x-stream-match-unfiltered',
  'x-consumer-timeout',
] as const;

const consume = (channel: Channel, method: Consume): void => {
  const { connection } = channel;
  if (channel.consumers.size >= amqpLimits.consumersPerChannelMax) {
    throw new AmqpError(530, `reached maximum (${amqpLimits.consumersPerChannelMax}) of consumers per channel`);
  }
  if (channel.consumers.has(method.consumerTag)) {
    throw new AmqpError(530, `attempt to reuse consumer tag '${method.consumerTag}'`);
  }
  const name = queueNameOf(channel, method.queue);
  if (name === directReplyTo) throw new AmqpError(406, 'direct reply-to is not supported by this broker');
  authorize(channel, 'read', 'queue', name);
  const queue = requireQueue(channel, name);
  const what = `queue '${name}' in vhost '${vhostOf(channel)}'`;
  for (const argument of unsupportedConsumeArguments) {
    if (method.arguments.has(argument)) {
      throw new AmqpError(406, `invalid arg '${argument}' for a consumer of ${what}: not supported by this broker`);
    }
  }
  const priority = method.arguments.get('x-priority') ?? 0;
  if (typeof priority !== 'number' || !Number.isInteger(priority)) {
    const reason = `expected integer, got ${fieldTypeName(priority)}`;
    throw new AmqpError(406, `invalid arg 'x-priority' for ${what}: "${reason}"`);
  }
  const tag = method.consumerTag === '' ? `amq.ctag-${randomBytes(16).toString('base64url')}` : method.consumerTag;
  const { noAck, exclusive } = method;
  const { prefetchCount } = channel;
  const consumer = new Consumer({ channel, queue, tag, noAck, exclusive, priority, prefetchCount });
  try {
    queue.subscription.attach(consumer);
  } catch (error) {
    if (error instanceof BrokerError && error.kind === 'locked') throw new AmqpError(403, `${what} in exclusive use`);
    throw error;
  }
  channel.consumers.set(tag, consumer);
  if (!method.nowait) channel.reply({ method: 'basic.consume-ok', consumerTag: tag });
  // Deliveries do not pass the outbox, so they must not begin before consume-ok has.
  connection.outbox.afterReplies(() => consumer.start());
};

const get = (channel: Channel, method: Get): void => {
  const { connection } = channel;
  const name = queueNameOf(channel, method.queue);
  authorize(channel, 'read', 'queue', name);
  const queue = requireQueue(channel, name);
  // Replies of a channel come in order, so nothing more is read until this one is decided.
  connection.input.pause('get');
  queue.subscription.get(method.noAck, (delivery, damage) => {
    if (damage !== undefined) channel.queueDamaged(queue.name, damage);
    else if (channel.state === 'open') answerGet(channel, queue, method.noAck, delivery);
    else if (delivery !== undefined && !method.noAck) connection.broker.requeue(delivery.part, delivery.offset);
    connection.input.unpause('get');
  });
};

const answerGet = (channel: Channel, queue: Queue, noAck: boolean, delivery: Delivery | undefined): void => {
  const { connection } = channel;
  if (delivery === undefined) {
    channel.reply({ method: 'basic.get-empty', clusterId: '' });
    return;
  }
  const deliveryTag = channel.nextDeliveryTag++;
  if (!noAck) channel.unacked.add(deliveryTag, delivery.part, delivery.offset, undefined);
  const to = { channel: channel.number, frameBytesMax: channel.frameBytesMax, topic: queue.topic };
  const { names, content } = copyContent(delivery, to);
  const exchangeBytes = names[0]!;
  const ok = encodeMethodFrame(channel.number, {
    method: 'basic.get-ok',
    deliveryTag,
    redelivered: delivery.redelivered,
    exchange: names.toString('utf8', 1, 1 + exchangeBytes),
    routingKey: names.toString('utf8', 2 + exchangeBytes),
    messageCount: queue.messageCount,
  });
  connection.broker.flushAcks();
  connection.outbox.replyOwned(Buffer.concat([ok, content]));
};
