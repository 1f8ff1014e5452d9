/**
 * Serves the command line over the socket in the data directory. Who can open that socket, the owner of the directory, may
 * do everything.
 */
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import type { Broker } from '../../broker/broker.ts';
import { BrokerError } from '../../core/errors.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../logger.ts';
import { version } from '../version.ts';
import { toAdminError } from './admin-error.ts';
import type {
  AdminReply,
  AdminRequest,
  BackupResult,
  ConsumeControl,
  ConsumeRequest,
  ProduceLine,
  StatusResult,
} from './admin-protocol.ts';
import {
  createQueue,
  createTopic,
  defaultVhost,
  deleteQueue,
  deleteTopic,
  describeQueue,
  describeTopic,
  listQueues,
  listTopics,
} from './catalog-operations.ts';
import { ConsumeOutput } from './consume-output.ts';
import { QueueConsumeSession } from './consume-queue.ts';
import { TopicConsumeSession } from './consume-topic.ts';
import { createGroup, deleteGroup, describeGroup, listGroups } from './group-operations.ts';
import { readJsonLines, writeJsonLine } from './json-lines.ts';
import { ProduceSession } from './produce-session.ts';

export interface AdminEndpointOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly startedAt: Date;
  /** Undefined while it is being opened. */
  readonly broker: () => Broker | undefined;
  readonly addresses: { readonly kafka: readonly string[]; readonly amqp: readonly string[] };
}

/** A request that is followed by further lines. */
interface Session {
  line(line: unknown): Promise<void>;
  close(): void;
}

export class AdminEndpoint {
  readonly #options: AdminEndpointOptions;
  readonly #sockets = new Set<Socket>();

  constructor(options: AdminEndpointOptions) {
    this.#options = options;
  }

  accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    void this.#serve(socket);
  }

  /** What clients are doing is based on a broker that is no more. */
  cutConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cutConnections();
  }

  async #serve(socket: Socket): Promise<void> {
    let session: Session | undefined;
    try {
      for await (const line of readJsonLines(socket)) {
        if (session !== undefined) await session.line(line);
        else session = await this.#begin(line as AdminRequest, socket);
      }
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'a command failed');
      if (!socket.destroyed) socket.end(`${JSON.stringify({ error: toAdminError(error) } satisfies AdminReply)}\n`);
    } finally {
      session?.close();
    }
  }

  async #begin(request: AdminRequest, socket: Socket): Promise<Session | undefined> {
    if (request.op === 'produce') return this.#produce(request, socket);
    if (request.op === 'consume') return this.#consume(request, socket);
    if (request.op === 'backup') return this.#backup(socket);
    let reply: AdminReply;
    try {
      reply = { result: await this.#answer(request) };
    } catch (error) {
      reply = { error: toAdminError(error) };
    }
    writeJsonLine(socket, reply);
    return undefined;
  }

  async #answer(request: Exclude<AdminRequest, { op: 'produce' | 'consume' | 'backup' }>): Promise<unknown> {
    if (request.op === 'status') return this.#status();
    const broker = this.#requireBroker();
    const result = this.#operate(broker, request);
    // Nothing is told before it is durable, not even what was only looked at.
    await broker.gate.durableNow();
    return result ?? {};
  }

  #operate(
    broker: Broker,
    request: Exclude<AdminRequest, { op: 'produce' | 'consume' | 'backup' | 'status' }>,
  ): unknown {
    switch (request.op) {
      case 'topic-list':
        return listTopics(broker);
      case 'topic-describe':
        return describeTopic(broker, request.name);
      case 'topic-create':
        createTopic(broker, this.#options.config, request);
        return undefined;
      case 'topic-delete':
        return deleteTopic(broker, request.name);
      case 'queue-list':
        return listQueues(broker);
      case 'queue-describe':
        return describeQueue(broker, request.name);
      case 'queue-create':
        return createQueue(broker, request);
      case 'queue-delete':
        return deleteQueue(broker, request);
      case 'group-list':
        return listGroups(broker);
      case 'group-describe':
        return describeGroup(broker, request.name);
      case 'group-create':
        return createGroup(broker, request);
      case 'group-delete':
        return deleteGroup(broker, request.name);
      default:
        throw new BrokerError('unsupported', `unknown operation '${(request as { op: unknown }).op}'`);
    }
  }

  #status(): StatusResult {
    const { config, startedAt, addresses } = this.#options;
    const broker = this.#options.broker();
    return {
      version,
      pid: process.pid,
      host: hostname(),
      startedAt: startedAt.toISOString(),
      state: broker === undefined ? 'opening' : 'open',
      durability: config.text('durability'),
      kafka: addresses.kafka,
      amqp: addresses.amqp,
      ...(broker === undefined
        ? {}
        : { hasRoom: broker.hasRoom, topics: listTopics(broker).length, queues: listQueues(broker).length }),
    };
  }

  #produce(request: Extract<AdminRequest, { op: 'produce' }>, socket: Socket): Session {
    const producing = new ProduceSession(this.#requireBroker(), this.#options.config, request);
    return {
      line: async (line) => {
        const result = await producing.line(line as ProduceLine);
        if (result !== undefined) writeJsonLine(socket, { result } satisfies AdminReply);
      },
      close: () => {},
    };
  }

  async #backup(socket: Socket): Promise<Session> {
    const { shards, release } = await this.#requireBroker().beginBackup();
    let isReleased = false;
    const end = (): Promise<void> => {
      if (isReleased) return Promise.resolve();
      isReleased = true;
      return release();
    };
    writeJsonLine(socket, { result: { shards } satisfies BackupResult } satisfies AdminReply);
    return {
      line: async () => {
        // The copy is complete, and what it was made of was there to its end.
        writeJsonLine(socket, { result: {} } satisfies AdminReply);
        await end();
      },
      close: () => void end().catch((error: unknown) => this.#options.logger.debug({ err: error }, 'after a backup')),
    };
  }

  #consume(request: ConsumeRequest, socket: Socket): Session {
    const output = new ConsumeOutput(socket);
    const consuming = this.#openConsume(request, output);
    consuming.run().catch((error: unknown) => output.fail(toAdminError(error)));
    return {
      line: async (line) => consuming.control(line as ConsumeControl),
      close: () => consuming.close(),
    };
  }

  #openConsume(request: ConsumeRequest, output: ConsumeOutput): QueueConsumeSession | TopicConsumeSession {
    const broker = this.#requireBroker();
    const vhost = defaultVhost(broker);
    const queue = vhost.queue(request.name);
    const read = { request, output, broker };
    if (queue === undefined) {
      const topic = vhost.topic(request.name);
      if (topic === undefined) throw new BrokerError('not-found', `there is no topic or queue '${request.name}'`);
      if (request.peek === true) {
        throw new BrokerError('invalid-argument', `'${request.name}' is a topic: only from queues is anything taken`);
      }
      return new TopicConsumeSession({ topic, ...read });
    }
    vhost.requireAccess(queue, undefined);
    if (request.peek !== true) {
      if (request.offset === undefined && request.partition === undefined) {
        return new QueueConsumeSession(broker, queue, request, output);
      }
      throw new BrokerError('invalid-argument', `'${request.name}' is a queue: consuming takes its messages in order`);
    }
    if (queue.log !== undefined) return new TopicConsumeSession({ topic: queue.topic, ...read });
    throw new BrokerError(
      'unsupported',
      `queue '${queue.name}' is a subscription: look at topic '${queue.topic.name}'`,
    );
  }

  #requireBroker(): Broker {
    const broker = this.#options.broker();
    if (broker === undefined) throw new BrokerError('storage-failed', 'the broker is being opened; try again');
    return broker;
  }
}
