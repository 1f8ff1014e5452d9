/**
 * Arguments of queue.declare. Those that this broker does not know are accepted and kept, as RabbitMQ does; those that it
 * knows would change what happens to messages, and does not implement, are refused. So are those that RabbitMQ takes for
 * quorum queues and streams only.
 */
import { fieldTypeName } from '../../broker/field-type-name.ts';
import type { HeaderValue } from '../../broker/message.ts';
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import { AmqpError } from './amqp-errors.ts';

const unsupported: ReadonlySet<string> = new Set([
  'x-message-ttl',
  'x-expires',
  'x-max-length',
  'x-max-length-bytes',
  'x-overflow',
  'x-dead-letter-exchange',
  'x-dead-letter-routing-key',
  'x-dead-letter-strategy',
  'x-max-priority',
  'x-single-active-consumer',
  'x-delivery-limit',
  'x-max-age',
  'x-consumer-timeout',
  'x-delayed-retry-type',
  'x-delayed-retry-min',
  'x-delayed-retry-max',
  'x-consumer-disconnected-timeout',
  'x-max-in-memory-length',
  'x-max-in-memory-bytes',
  'x-quorum-initial-group-size',
  'x-initial-cluster-size',
  'x-stream-max-segment-size-bytes',
  'x-stream-filter-size-bytes',
]);

/** Undefined: fine. */
const reasonAgainst = (name: string, value: HeaderValue): string | undefined => {
  if (unsupported.has(name)) return 'not supported by this broker';
  if (name === 'x-queue-type') {
    if (typeof value !== 'string') return `"expected longstr, got ${fieldTypeName(value)}"`;
    if (value === 'quorum' || value === 'stream') return `${value} queues are not supported by this broker`;
    return value === 'classic' ? undefined : `"unsupported queue type '${value}'"`;
  }
  if (name === 'x-queue-version' && value !== 2) return `"unsupported queue version '${String(value)}'"`;
  if (name === 'x-queue-mode' && value !== 'lazy' && value !== 'default') return 'invalid_queue_mode';
  return undefined;
};

/** @throws AmqpError 406 for the first argument that cannot be accepted */
export const validateQueueArguments = (queue: string, vhost: string, args: ArgumentTable): void => {
  for (const [name, value] of args) {
    const reason = reasonAgainst(name, value);
    if (reason !== undefined) {
      throw new AmqpError(406, `invalid arg '${name}' for queue '${queue}' in vhost '${vhost}': ${reason}`);
    }
  }
};
