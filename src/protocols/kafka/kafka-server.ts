/**
 * The Kafka head: takes over accepted sockets. Listeners are the server's matter; the head is told which address the
 * clients of each are to use.
 */
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Broker } from '../../broker/broker.ts';
import { GroupCoordinator } from '../../broker/groups/group-coordinator.ts';
import { Writer } from '../../wire/writer.ts';
import { type ConnectionHost, KafkaConnection } from './kafka-connection.ts';
import { kafkaLimits } from './kafka-limits.ts';
import { assertKafkaSettings, type KafkaSettings } from './kafka-settings.ts';
import { ReceiveBudget } from './receive-budget.ts';
import { FrameCursor } from './received-bytes.ts';
import type { Advertised, KafkaServices } from './request-context.ts';
import { TopicDirectory } from './topic-directory.ts';

export interface KafkaServerOptions {
  /** The broker of now: it is replaced after a failure of storage, when all connections have been cut. */
  readonly broker: () => Broker;
  readonly settings: KafkaSettings;
  readonly logger: Logger;
}

export class KafkaServer implements ConnectionHost {
  readonly logger: Logger;
  readonly writer = new Writer();
  readonly cursor = new FrameCursor();
  unansweredBytes = 0;
  readonly receiveBudget: ReceiveBudget;
  readonly #options: KafkaServerOptions;
  readonly #connections = new Set<KafkaConnection>();
  #services: KafkaServices | undefined;
  #idleCheck: { cancel(): void } | undefined;
  #closing = false;
  #onAllClosed: (() => void) | undefined;

  constructor(options: KafkaServerOptions) {
    assertKafkaSettings(options.settings);
    this.#options = options;
    this.logger = options.logger;
    this.receiveBudget = new ReceiveBudget(options.broker().clock);
    // Groups of before go on at once: their members' session timeouts run whether or not anyone connects.
    this.#servicesOfNow();
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** @param advertised the address that clients of the socket's listener are told; without one, where the socket came in */
  accept(socket: Socket, advertised?: Advertised): void {
    if (this.#closing) {
      socket.destroy();
      return;
    }
    const services = this.#servicesOfNow();
    this.#connections.add(new KafkaConnection(socket, reachableAddress(socket, advertised), services, this));
    this.#checkIdle(services);
  }

  closed(connection: KafkaConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    this.#idleCheck?.cancel();
    this.#idleCheck = undefined;
    this.#onAllClosed?.();
  }

  /**
   * What was received is decided, made durable and answered; then all connections are closed. Kafka's protocol has no
   * goodbye: clients connect again, elsewhere or later. Takes as long as storage and the clients do: the caller cuts those off
   * that take too long.
   */
  async close(): Promise<void> {
    this.#closing = true;
    for (const connection of this.#connections) connection.beginClose();
    if (this.#connections.size > 0) {
      const allClosed = new Promise<void>((resolve) => {
        this.#onAllClosed = resolve;
      });
      const durable = this.#servicesOfNow().broker.gate.durableNow();
      await Promise.race([durable.catch(() => {}), allClosed]);
      for (const connection of this.#connections) connection.endClose();
      await allClosed;
    }
    this.#services?.groups.close();
  }

  #servicesOfNow(): KafkaServices {
    const { settings } = this.#options;
    const broker = this.#options.broker();
    if (this.#services?.broker !== broker) {
      this.#services?.groups.close();
      const topics = new TopicDirectory(broker, settings);
      this.#services = { broker, topics, settings, groups: new GroupCoordinator(broker, groupOptions(settings)) };
    }
    return this.#services;
  }

  #checkIdle(services: KafkaServices): void {
    if (this.#idleCheck !== undefined) return;
    const idleMsMax = this.#options.settings['connections.max.idle.ms'];
    const delayMs = Math.min(kafkaLimits.idleCheckMsMax, Math.ceil(idleMsMax / 2));
    this.#idleCheck = services.broker.clock.after(delayMs, () => {
      this.#idleCheck = undefined;
      const idleBeforeMs = services.broker.clock.now() - idleMsMax;
      for (const connection of this.#connections) {
        if (connection.isIdle && connection.lastRequestMs < idleBeforeMs) connection.destroy();
      }
      if (this.#connections.size > 0) this.#checkIdle(services);
    });
  }
}

const groupOptions = (settings: KafkaSettings) => ({
  initialRebalanceDelayMs: settings['group.initial.rebalance.delay.ms'],
  sessionTimeoutMsMin: settings['group.min.session.timeout.ms'],
  sessionTimeoutMsMax: settings['group.max.session.timeout.ms'],
  membersMax: settings['group.max.size'],
  offsetMetadataBytesMax: settings['offset.metadata.max.bytes'],
  offsetsRetentionMs: settings['offsets.retention.minutes'] * 60_000,
  offsetsRetentionCheckMs: settings['offsets.retention.check.interval.ms'],
  newMemberJoinTimeoutMs: kafkaLimits.newMemberJoinTimeoutMs,
});

const wildcards: ReadonlySet<string> = new Set(['0.0.0.0', '::', '']);

/** Clients cannot connect to a wildcard or to port 0: they get the address that this one reached. */
const reachableAddress = (socket: Socket, advertised: Advertised | undefined): Advertised => {
  const localHost = (socket.localAddress ?? '127.0.0.1').replace(/^::ffff:/, '');
  const localPort = socket.localPort ?? 0;
  if (advertised === undefined) return { host: localHost, port: localPort };
  return {
    host: wildcards.has(advertised.host) ? localHost : advertised.host,
    port: advertised.port === 0 ? localPort : advertised.port,
  };
};
