/**
 * Keeps one broker open over one storage. When its storage fails, nothing that was not durable may be told any more: all
 * connections are cut, the broker is thrown away and opened again from what is durable, with growing pauses until it
 * succeeds. Connections that arrive meanwhile are closed at once.
 */
import type { Socket } from 'node:net';
import { type Broker, openBroker } from '../broker/broker.ts';
import type { BrokerOptions } from '../broker/broker-options.ts';
import { isDamage } from '../core/errors.ts';
import type { Head, Protocol } from './heads.ts';
import type { HostPort } from './listener.ts';
import type { Logger } from './logger.ts';

const reopenDelayMsMin = 100;
const reopenDelayMsMax = 5000;

export interface SupervisorOptions {
  readonly broker: Omit<BrokerOptions, 'onFailed' | 'onLoss'>;
  /** Open over damage, and log what is lost. */
  readonly acceptsDamage?: boolean;
  readonly createHeads: (broker: Broker) => Promise<ReadonlyMap<Protocol, Head>>;
  readonly logger: Logger;
  /** Destroys all client connections at once. */
  readonly cutConnections: () => void;
  /** Opening again makes no sense. */
  readonly onFatal: (error: Error) => void;
}

/** A broker from its opening to its failure or close. */
interface Incarnation {
  readonly broker: Broker;
  readonly heads: ReadonlyMap<Protocol, Head>;
}

export class BrokerSupervisor {
  readonly #options: SupervisorOptions;
  /** Undefined while the broker is being opened, and after close(). */
  #current: Incarnation | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};
  #closing = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Undefined while it is being opened again. */
  get broker(): Broker | undefined {
    return this.#current?.broker;
  }

  /** @throws BrokerError 'corrupt', or the error of the storage */
  async start(): Promise<void> {
    this.#current = await this.#open();
  }

  accept(protocol: Protocol, socket: Socket, advertised: HostPort): void {
    const head = this.#current?.heads.get(protocol);
    if (head === undefined) socket.destroy();
    else head.accept(socket, advertised);
  }

  /** Connections are closed in order; everything that was committed is durable. Waits for them as long as `waitFor` does. */
  async close(reason: string, waitForClients: (closed: Promise<unknown>) => Promise<void>): Promise<void> {
    this.#closing = true;
    this.#wake();
    await this.#reopening;
    const current = this.#current;
    if (current === undefined) return;
    await waitForClients(Promise.all([...current.heads.values()].map((head) => head.close(reason))));
    this.#current = undefined;
    await current.broker.close();
  }

  async #open(): Promise<Incarnation> {
    let failedEarly: Error | undefined;
    let opened: Incarnation | undefined;
    const broker = await openBroker({
      ...this.#options.broker,
      onFailed: (error) => {
        if (opened === undefined) failedEarly = error;
        else this.#onFailed(opened, error);
      },
      onLoss: this.#options.acceptsDamage
        ? (what) => this.#options.logger.error({ lost: what }, 'data is damaged: this is lost, as accepted')
        : undefined,
      onFoldFailed: (error) =>
        this.#options.logger.error({ err: error }, 'messages cannot be moved out of the write-ahead log'),
      onRewriteFailed: (error) =>
        this.#options.logger.error(
          { err: error },
          'space of deleted messages does not come back: a segment cannot be written anew',
        ),
      onDamaged: ({ topic, partition, error }) =>
        this.#options.logger.error(
          { topic, partition, err: error },
          error.kind === 'storage-failed'
            ? 'stored messages cannot be read now: it is tried again'
            : 'stored messages are damaged or cannot be read: they are not served',
        ),
      onUnreadable: (batch) =>
        this.#options.logger.warn(batch, 'a batch cannot be opened: readers of other protocols pass over it'),
    });
    const heads = await this.#options.createHeads(broker).catch(async (error: unknown) => {
      await closeQuietly(broker);
      throw error;
    });
    if (failedEarly !== undefined) {
      await closeQuietly(broker);
      throw failedEarly;
    }
    opened = { broker, heads };
    return opened;
  }

  #onFailed(failed: Incarnation, error: Error): void {
    if (this.#current !== failed || this.#closing) return;
    this.#options.logger.error({ err: error }, 'storage failed: closing all connections and opening it again');
    this.#current = undefined;
    this.#reopening = this.#reopen(failed);
  }

  async #reopen(failed: Incarnation): Promise<void> {
    const { logger, cutConnections, onFatal } = this.#options;
    cutConnections();
    await Promise.allSettled([...failed.heads.values()].map((head) => head.close('storage failed')));
    await closeQuietly(failed.broker);
    let delayMs = reopenDelayMsMin;
    while (!this.#closing) {
      await this.#pause(delayMs);
      if (this.#closing) return;
      try {
        this.#current = await this.#open();
        logger.warn('storage is open again');
        return;
      } catch (error) {
        if (isDamage(error)) {
          onFatal(error as Error);
          return;
        }
        delayMs = Math.min(delayMs * 2, reopenDelayMsMax);
        logger.error({ err: error, retryInMs: delayMs }, 'storage cannot be opened');
      }
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** After a failure: what could not be written is lost anyway. */
const closeQuietly = async (broker: Broker): Promise<void> => {
  try {
    await broker.close();
  } catch {
    // The log has reported its failure already.
  }
};
