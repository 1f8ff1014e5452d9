/** Looking up what methods name, and whether the user may: with RabbitMQ's texts. */
import type { Action } from '../../broker/access.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import { AmqpError } from './amqp-errors.ts';
import type { Channel } from './channel.ts';

/** RabbitMQ drops line ends from names. */
export const cleanName = (name: string): string => name.replace(/[\r\n]/g, '');

export const vhostOf = (channel: Channel): string => channel.connection.vhost.name;

export const authorize = (channel: Channel, action: Action, kind: 'queue' | 'exchange', name: string): void => {
  const { broker, principal, vhost } = channel.connection;
  const shown = kind === 'exchange' && name === '' ? 'amq.default' : name;
  if (broker.access.authorize(principal, action, { vhost: vhost.name, kind, name: shown })) return;
  throw new AmqpError(
    403,
    `${action} access to ${kind} '${shown}' in vhost '${vhost.name}' refused for user '${principal.user}'`,
  );
};

/** The name given, or that of the queue last declared on the channel. */
export const queueNameOf = (channel: Channel, given: string): string => {
  const name = cleanName(given);
  if (name !== '') return name;
  if (channel.lastDeclaredQueue === '') throw new AmqpError(404, 'no previously declared queue');
  return channel.lastDeclaredQueue;
};

/** A queue that this connection may use. */
export const requireQueue = (channel: Channel, name: string): Queue => {
  const { vhost } = channel.connection;
  const queue = vhost.queue(name);
  if (queue === undefined) throw noQueue(channel, name);
  vhost.requireAccess(queue, channel.connection);
  return queue;
};

export const noQueue = (channel: Channel, name: string): AmqpError => {
  const { vhost } = channel.connection;
  if (vhost.topic(name) !== undefined) {
    return new AmqpError(
      406,
      `'${name}' in vhost '${vhost.name}' is a topic: declare a queue with the argument x-topic to subscribe it`,
    );
  }
  return new AmqpError(404, `no queue '${name}' in vhost '${vhost.name}'`);
};

export const requireNotDefaultExchange = (name: string): void => {
  if (name === '') throw new AmqpError(403, 'operation not permitted on the default exchange');
};

/** Names that only the broker may give. */
export const requireUnreserved = (kind: 'queue' | 'exchange', name: string): void => {
  if (name.startsWith('amq.')) throw new AmqpError(403, `${kind} name '${name}' contains reserved prefix 'amq.*'`);
};

/** Also when the queue is declared as exclusive or not, unlike before. */
export const lockedQueue = (channel: Channel, name: string): AmqpError =>
  new AmqpError(
    405,
    `cannot obtain exclusive access to locked queue '${name}' in vhost '${vhostOf(channel)}'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.`,
  );
