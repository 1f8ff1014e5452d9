/** Settings of the AMQP head under RabbitMQ's names. */
import { limits } from '../../core/limits.ts';
import { amqpLimits } from './amqp-limits.ts';

export interface AmqpSettings {
  /** Bytes. */
  readonly frame_max: number;
  /** Channels of one connection. */
  readonly channel_max: number;
  /** Seconds; 0 turns heartbeats off unless the client asks for them. */
  readonly heartbeat: number;
  /** Milliseconds from accept to connection.open. */
  readonly handshake_timeout: number;
  /** Bytes of one message body. */
  readonly max_message_size: number;
  /** Shown in connection.start. Clients such as kombu take their RabbitMQ paths by these two. */
  readonly product: string;
  readonly version: string;
  readonly cluster_name: string;
  /** Vhost that publishers and consumers without one get; only shown, clients always name theirs. */
  readonly default_vhost: string;
}

export const defaultAmqpSettings: AmqpSettings = {
  frame_max: 131_072,
  channel_max: 2047,
  heartbeat: 60,
  handshake_timeout: 10_000,
  max_message_size: 16_777_216,
  product: 'RabbitMQ',
  version: '4.3.6',
  cluster_name: 'rosettamq',
  default_vhost: '/',
};

export const assertAmqpSettings = (settings: AmqpSettings): void => {
  const { frame_max, channel_max, heartbeat, max_message_size } = settings;
  if (frame_max < amqpLimits.initialFrameBytesMax) {
    throw new Error(`amqp.frame_max must be at least ${amqpLimits.initialFrameBytesMax}`);
  }
  if (channel_max < 1 || channel_max > 65_535) throw new Error('amqp.channel_max must be between 1 and 65535');
  if (heartbeat < 0 || heartbeat > 65_535) throw new Error('amqp.heartbeat must be between 0 and 65535 seconds');
  if (max_message_size < 1 || max_message_size > limits.messageBytesMax) {
    throw new Error(`amqp.max_message_size must be between 1 and ${limits.messageBytesMax} bytes`);
  }
  if (amqpLimits.outputLowBytes >= amqpLimits.outputHighBytes)
    throw new Error('outputLowBytes must be below outputHighBytes');
};
