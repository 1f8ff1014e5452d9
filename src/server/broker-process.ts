/**
 * A broker inside this process: `import { startBroker } from 'rosettamq'`. Several may run at once. The command line is a
 * thin layer over it.
 */
import type { Socket } from 'node:net';
import type { StartProgress } from '../broker/broker-options.ts';
import { amqpForm } from '../protocols/amqp/amqp-form.ts';
import { retentionPolicy } from '../protocols/kafka/topic-config.ts';
import { DiskStorage } from '../storage/disk-storage.ts';
import { MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { AdminEndpoint } from './admin/admin-endpoint.ts';
import { BrokerSupervisor } from './broker-supervisor.ts';
import { type Config, ConfigError, resolveConfig } from './config.ts';
import { checkDataDirectory, createDataDirectory } from './data-directory.ts';
import { createHeads, headSettings, type Protocol, protocols } from './heads.ts';
import { formatHostPort, type HostPort, isLoopback, Listener, parseHostPort } from './listener.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { createLogger, type Logger } from './logger.ts';
import { type StartBrokerOptions, settingsOf } from './start-options.ts';

export type { KafkaListenerOptions, ListenerOptions, StartBrokerOptions } from './start-options.ts';

export interface RunningBroker {
  /** HOST:PORT of each listener, as listened on. */
  readonly addresses: Readonly<Record<Protocol, readonly string[]>>;
  /** Connections are closed in order, everything committed is durable, files and ports are given back. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** @throws Error that says what to change when the options, the directory or the addresses cannot be used */
export const startBroker = async (options: StartBrokerOptions = {}): Promise<RunningBroker> => {
  const config = resolveConfig({ options: settingsOf(options) });
  if (!config.boolean('memory') && !config.has('data')) {
    throw new ConfigError('startBroker: memory: false needs data, the path of a directory');
  }
  const { logger, onFatal } = options;
  return startBrokerProcess(config, {
    ...(logger === undefined ? {} : { logger }),
    ...(onFatal === undefined ? {} : { onFatal }),
  });
};

export interface BrokerProcessOptions {
  readonly logger?: Logger;
  readonly onFatal?: (error: Error) => void;
  /** The data is being opened: called often. */
  readonly onProgress?: (progress: StartProgress) => void;
}

/** Starts with a configuration that is resolved already. */
export const startBrokerProcess = async (
  config: Config,
  {
    logger = createLogger(config.text('log.level')),
    onFatal = () => {},
    onProgress = () => {},
  }: BrokerProcessOptions = {},
): Promise<RunningBroker> => {
  const broker = new BrokerProcess(config, { logger, onFatal, onProgress });
  try {
    await broker.start();
  } catch (error) {
    await broker.close();
    throw error;
  }
  return broker;
};

interface ListenerPlan {
  readonly protocol: Protocol;
  readonly address: HostPort;
  readonly advertised: HostPort | undefined;
}

const planListeners = (config: Config): ListenerPlan[] => {
  const plans: ListenerPlan[] = [];
  for (const protocol of protocols) {
    const name = `listeners.${protocol}`;
    const advertised = protocol === 'kafka' ? config.list('listeners.kafka.advertised') : [];
    const addresses = config.list(name);
    if (advertised.length > addresses.length) {
      throw new ConfigError(
        `listeners.kafka.advertised names ${advertised.length} addresses for ${addresses.length} listeners`,
      );
    }
    addresses.forEach((address, index) => {
      const told = advertised[index];
      plans.push({
        protocol,
        address: parseHostPort(address, name),
        advertised: told === undefined ? undefined : parseHostPort(told, 'listeners.kafka.advertised'),
      });
    });
  }
  return plans;
};

/** How messages are stored that were not received as Kafka batches. */
const forms = [amqpForm];

/** Closing a connection over the limit is logged so often at most. */
const limitLogIntervalMs = 1000;

class BrokerProcess implements RunningBroker {
  readonly addresses: Record<Protocol, string[]> = { kafka: [], amqp: [] };
  readonly #config: Config;
  readonly #logger: Logger;
  readonly #onFatal: (error: Error) => void;
  readonly #onProgress: (progress: StartProgress) => void;
  readonly #startedAt = new Date();
  readonly #listeners: Listener[] = [];
  readonly #connections = new Set<Socket>();
  #lock: DirectoryLock | undefined;
  #supervisor: BrokerSupervisor | undefined;
  #admin: AdminEndpoint | undefined;
  #limitLoggedMs = 0;
  #closed: Promise<void> | undefined;

  constructor(config: Config, { logger, onFatal, onProgress }: Required<BrokerProcessOptions>) {
    this.#config = config;
    this.#logger = logger;
    this.#onFatal = onFatal;
    this.#onProgress = onProgress;
  }

  async start(): Promise<void> {
    const plans = planListeners(this.#config);
    this.#warnOfOpenPorts(plans);
    const storage = await this.#openStorage();
    const supervisor = this.#superviseOver(storage, new Set(plans.map(({ protocol }) => protocol)));
    this.#supervisor = supervisor;
    await supervisor.start();
    for (const plan of plans) await this.#listen(plan, supervisor);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #openStorage(): Promise<Storage> {
    const config = this.#config;
    if (config.boolean('memory')) {
      if (config.has('data')) throw new ConfigError('either a data directory or memory, not both');
      return new MemoryStorage();
    }
    const path = await createDataDirectory(config.text('data'));
    this.#admin = new AdminEndpoint({
      config,
      logger: this.#logger,
      startedAt: this.#startedAt,
      broker: () => this.#supervisor?.broker,
      addresses: this.addresses,
    });
    this.#lock = await lockDirectory(path, (socket) => this.#admin!.accept(socket));
    await checkDataDirectory(path, config.integer('shards'));
    return DiskStorage.at(path);
  }

  #superviseOver(storage: Storage, used: ReadonlySet<Protocol>): BrokerSupervisor {
    const config = this.#config;
    const logger = this.#logger;
    const settings = headSettings(config);
    return new BrokerSupervisor({
      broker: {
        storage,
        durability: config.text('durability') === 'os' ? 'os' : 'sync',
        shardCount: config.integer('shards'),
        walBytesMax: config.integer('storage.wal.bytes.max'),
        forms,
        onProgress: this.#onProgress,
        retention: {
          policyOf: (topic) => retentionPolicy(topic, settings.kafka),
          checkIntervalMs: settings.kafka['log.retention.check.interval.ms'],
        },
        users: new Map([[config.text('amqp.default_user'), config.text('amqp.default_pass')]]),
        loopbackUsers: new Set(config.list('amqp.loopback_users')),
      },
      acceptsDamage: config.boolean('storage.accept.damage'),
      createHeads: (broker) => createHeads({ broker, protocols: used, settings, logger }),
      logger,
      cutConnections: () => this.#cutConnections(),
      onFatal: (error) => {
        logger.fatal({ err: error }, 'the data cannot be opened');
        this.#onFatal(error);
      },
    });
  }

  async #listen({ protocol, address, advertised }: ListenerPlan, supervisor: BrokerSupervisor): Promise<void> {
    let told: HostPort = address;
    const listener = await Listener.bind(address, (socket) => {
      if (this.#admit(socket)) supervisor.accept(protocol, socket, told);
    });
    const { port } = listener.address;
    told = advertised === undefined ? listener.address : { ...advertised, port: advertised.port || port };
    this.#listeners.push(listener);
    this.addresses[protocol].push(formatHostPort(listener.address));
  }

  #admit(socket: Socket): boolean {
    const connectionsMax = this.#config.integer('connections.max');
    if (this.#connections.size >= connectionsMax) {
      socket.destroy();
      if (Date.now() - this.#limitLoggedMs > limitLogIntervalMs) {
        this.#limitLoggedMs = Date.now();
        this.#logger.warn({ connectionsMax }, 'connections.max is reached: new connections are closed');
      }
      return false;
    }
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    return true;
  }

  #warnOfOpenPorts(plans: readonly ListenerPlan[]): void {
    for (const { protocol, address } of plans) {
      if (isLoopback(address.host)) continue;
      this.#logger.warn(
        { protocol, address: formatHostPort(address) },
        'listening beyond this machine, without encryption',
      );
    }
  }

  async #close(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    await this.#supervisor?.close('broker is shutting down', (closed) => this.#waitForClients(closed));
    this.#cutConnections();
    await this.#admin?.[Symbol.asyncDispose]();
    await this.#lock?.release();
  }

  #cutConnections(): void {
    for (const socket of this.#connections) socket.destroy();
    this.#admin?.cutConnections();
  }

  /** Those that do not leave in time are cut off. */
  async #waitForClients(closed: Promise<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#logger.warn({ connections: this.#connections.size }, 'clients did not leave in time: cutting them off');
        this.#cutConnections();
        resolve();
      }, this.#config.integer('shutdown.timeout.ms'));
    });
    await Promise.race([closed, late]);
    clearTimeout(timer);
  }
}
