/** Methods of an open channel by class; each file beside this one handles one class. */
import { AmqpError } from './amqp-errors.ts';
import { handleBasicMethod } from './basic-methods.ts';
import type { Channel } from './channel.ts';
import { handleExchangeMethod } from './exchange-methods.ts';
import type { Method } from './generated/methods.ts';
import { handleQueueMethod } from './queue-methods.ts';

/** @throws AmqpError or BrokerError, which close the channel or the connection */
export const handleChannelMethod = (channel: Channel, method: Method): void => {
  switch (method.method) {
    case 'channel.open':
      throw new AmqpError(504, "second 'channel.open' seen");
    case 'channel.close':
      channel.connection.channels.closedByClient(channel);
      return;
    case 'channel.flow':
      if (!method.active) throw new AmqpError(540, 'active=false');
      channel.reply({ method: 'channel.flow-ok', active: true });
      return;
    case 'channel.flow-ok':
      return;
    case 'access.request':
      channel.reply({ method: 'access.request-ok', ticket: 1 });
      return;
    case 'confirm.select':
      channel.confirming = true;
      if (!method.nowait) channel.reply({ method: 'confirm.select-ok' });
      return;
    case 'tx.select':
    case 'tx.commit':
    case 'tx.rollback':
      throw new AmqpError(540, 'transactions (tx) are not supported by this broker: use publisher confirms');
    case 'exchange.declare':
    case 'exchange.delete':
    case 'exchange.bind':
    case 'exchange.unbind':
      handleExchangeMethod(channel, method);
      return;
    case 'queue.declare':
    case 'queue.bind':
    case 'queue.unbind':
    case 'queue.purge':
    case 'queue.delete':
      handleQueueMethod(channel, method);
      return;
    case 'basic.qos':
    case 'basic.consume':
    case 'basic.cancel':
    case 'basic.get':
    case 'basic.ack':
    case 'basic.nack':
    case 'basic.reject':
    case 'basic.recover':
    case 'basic.recover-async':
    case 'basic.cancel-ok':
      handleBasicMethod(channel, method);
      return;
    default:
      throw new AmqpError(503, 'unimplemented method');
  }
};
