/** The AMQP 0-9-1 head: takes sockets from whoever listens, and serves them. */
import type { Socket } from 'node:net';
import type { Broker } from '../../broker/broker.ts';
import type { Logger } from './amqp-logger.ts';
import { type AmqpSettings, assertAmqpSettings } from './amqp-settings.ts';
import { Connection } from './connection.ts';
import { OutputPieces } from './socket-output.ts';

export interface AmqpServerOptions {
  /** The broker of now; it is another one after storage has failed and was opened again. */
  readonly broker: () => Broker;
  readonly settings: AmqpSettings;
  readonly logger: Logger;
}

export class AmqpServer {
  readonly #options: AmqpServerOptions;
  readonly #connections = new Set<Connection>();
  readonly #pieces = new OutputPieces();
  /** The broker whose room is watched. */
  #watched: Broker | undefined;
  #stopWatching: (() => void) | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: AmqpServerOptions) {
    assertAmqpSettings(options.settings);
    this.#options = options;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  accept(socket: Socket): void {
    const broker = this.#options.broker();
    this.#watch(broker);
    const connection = new Connection({
      socket,
      broker,
      settings: this.#options.settings,
      logger: this.#options.logger,
      pieces: this.#pieces,
      onClosed: (closed) => {
        this.#connections.delete(closed);
        if (this.#connections.size === 0) this.#onEmpty?.();
      },
    });
    this.#connections.add(connection);
  }

  /** Tells every client and resolves when all connections are gone. Who closes the server cuts those that take too long. */
  async close(reason: string): Promise<void> {
    for (const connection of this.#connections) connection.shutDown(reason);
    if (this.#connections.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
    this.#onEmpty = undefined;
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    this.#watched = undefined;
  }

  #watch(broker: Broker): void {
    if (this.#watched === broker) return;
    this.#stopWatching?.();
    this.#watched = broker;
    this.#stopWatching = broker.onRoomChanged((hasRoom) => {
      for (const connection of this.#connections) {
        if (connection.broker === broker) connection.roomChanged(hasRoom);
      }
    });
  }
}
