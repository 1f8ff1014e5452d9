/** The protocol heads as the server sees them. A head's code is loaded when something listens for it. */
import type { Socket } from 'node:net';
import type { Broker } from '../broker/broker.ts';
import { type AmqpSettings, assertAmqpSettings, defaultAmqpSettings } from '../protocols/amqp/amqp-settings.ts';
import { assertKafkaSettings, type KafkaSettings } from '../protocols/kafka/kafka-settings.ts';
import type { Config } from './config.ts';
import type { HostPort } from './listener.ts';
import type { Logger } from './logger.ts';
import { ConfigError } from './setting.ts';

export const protocols = ['kafka', 'amqp'] as const;
export type Protocol = (typeof protocols)[number];

export interface Head {
  /** @param advertised the address that clients of the socket's listener are told */
  accept(socket: Socket, advertised: HostPort): void;
  /** Says goodbye in the protocol's own words and resolves when all connections are closed. */
  close(reason: string): Promise<void>;
}

export interface HeadSettings {
  readonly kafka: KafkaSettings;
  readonly amqp: AmqpSettings;
}

/** @throws ConfigError when settings contradict each other */
export const headSettings = (config: Config): HeadSettings => {
  const kafka = config.withPrefix('kafka.') as unknown as KafkaSettings;
  const given = config.withPrefix('amqp.');
  const names = Object.keys(defaultAmqpSettings);
  const amqp = Object.fromEntries(names.map((name) => [name, given[name]])) as unknown as AmqpSettings;
  try {
    assertKafkaSettings(kafka);
    assertAmqpSettings(amqp);
  } catch (error) {
    throw new ConfigError((error as Error).message);
  }
  return { kafka, amqp };
};

export interface HeadOptions {
  readonly broker: Broker;
  readonly protocols: ReadonlySet<Protocol>;
  readonly settings: HeadSettings;
  readonly logger: Logger;
}

export const createHeads = async (options: HeadOptions): Promise<ReadonlyMap<Protocol, Head>> => {
  const heads = new Map<Protocol, Head>();
  const wanted = protocols.filter((protocol) => options.protocols.has(protocol));
  const created = await Promise.all(wanted.map((protocol) => creators[protocol](options)));
  wanted.forEach((protocol, index) => {
    heads.set(protocol, created[index]!);
  });
  return heads;
};

const createKafkaHead = async ({ broker, settings, logger }: HeadOptions): Promise<Head> => {
  const { KafkaServer } = await import('../protocols/kafka/kafka-server.ts');
  const server = new KafkaServer({ broker: () => broker, settings: settings.kafka, logger });
  return { accept: (socket, advertised) => server.accept(socket, advertised), close: () => server.close() };
};

const createAmqpHead = async ({ broker, settings, logger }: HeadOptions): Promise<Head> => {
  const { AmqpServer } = await import('../protocols/amqp/amqp-server.ts');
  const server = new AmqpServer({ broker: () => broker, settings: settings.amqp, logger });
  return {
    accept: (socket) => server.accept(socket),
    close: (reason) => server.close(reason),
  };
};

const creators = { kafka: createKafkaHead, amqp: createAmqpHead } satisfies Record<Protocol, unknown>;
