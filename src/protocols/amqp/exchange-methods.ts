/** Class exchange. */
import { fieldTypeName } from '../../broker/field-type-name.ts';
import type { HeaderValue } from '../../broker/message.ts';
import { type ExchangeType, exchangeTypes } from '../../broker/routing/exchange.ts';
import { AmqpError } from './amqp-errors.ts';
import type { Channel } from './channel.ts';
import type { Method } from './generated/methods.ts';
import { authorize, cleanName, requireNotDefaultExchange, requireUnreserved } from './resources.ts';

type ExchangeMethod = Extract<
  Method,
  { method: 'exchange.declare' | 'exchange.delete' | 'exchange.bind' | 'exchange.unbind' }
>;
type Declare = Extract<Method, { method: 'exchange.declare' }>;
type Bind = Extract<Method, { method: 'exchange.bind' | 'exchange.unbind' }>;

export const handleExchangeMethod = (channel: Channel, method: ExchangeMethod): void => {
  switch (method.method) {
    case 'exchange.declare':
      declare(channel, method);
      return;
    case 'exchange.delete': {
      const { vhost } = channel.connection;
      const name = cleanName(method.exchange);
      requireNotDefaultExchange(name);
      if (name.startsWith('amq.')) {
        throw new AmqpError(403, `deletion of system exchange '${name}' in vhost '${vhost.name}' not allowed`);
      }
      authorize(channel, 'configure', 'exchange', name);
      vhost.deleteExchange(name, { ifUnused: method.ifUnused });
      if (!method.nowait) channel.reply({ method: 'exchange.delete-ok' });
      return;
    }
    case 'exchange.bind':
    case 'exchange.unbind':
      bindOrUnbind(channel, method);
  }
};

const isExchangeType = (type: string): type is ExchangeType => (exchangeTypes as readonly string[]).includes(type);

const declare = (channel: Channel, method: Declare): void => {
  const { vhost } = channel.connection;
  const name = cleanName(method.exchange);
  if (method.passive) {
    requireNotDefaultExchange(name);
    if (vhost.exchange(name) === undefined) throw new AmqpError(404, `no exchange '${name}' in vhost '${vhost.name}'`);
  } else {
    const { type, durable, autoDelete, internal, arguments: args } = method;
    if (!isExchangeType(type)) throw new AmqpError(406, `unknown exchange type '${type}'`);
    requireNotDefaultExchange(name);
    authorize(channel, 'configure', 'exchange', name);
    if (vhost.exchange(name) === undefined) {
      requireUnreserved('exchange', name);
      requireAlternateExchangeName(`exchange '${name}' in vhost '${vhost.name}'`, args.get(alternateExchange));
    }
    vhost.declareExchange(name, { type, durable, autoDelete, internal, arguments: args });
  }
  if (!method.nowait) channel.reply({ method: 'exchange.declare-ok' });
};

const alternateExchange = 'alternate-exchange';

const requireAlternateExchangeName = (what: string, value: HeaderValue | undefined): void => {
  if (value === undefined || typeof value === 'string') return;
  throw new AmqpError(406, `invalid type '${fieldTypeName(value)}' for arg '${alternateExchange}' in ${what}`);
};

const bindOrUnbind = (channel: Channel, method: Bind): void => {
  const { vhost } = channel.connection;
  const source = cleanName(method.source);
  const destination = cleanName(method.destination);
  authorize(channel, 'write', 'exchange', destination);
  requireNotDefaultExchange(destination);
  requireNotDefaultExchange(source);
  authorize(channel, 'read', 'exchange', source);
  if (method.method === 'exchange.bind') {
    vhost.bindExchange(destination, source, method.routingKey, method.arguments);
    if (!method.nowait) channel.reply({ method: 'exchange.bind-ok' });
  } else {
    vhost.unbindExchange(destination, source, method.routingKey, method.arguments);
    if (!method.nowait) channel.reply({ method: 'exchange.unbind-ok' });
  }
};
