// kafkajs set up the way its users do, quiet, with every client of a test file closed at its end.
import { connect, type Socket } from 'node:net';
import { after } from 'node:test';
import kafkajs, { type Admin, type Consumer, type ConsumerConfig, type KafkaMessage, type Producer } from 'kafkajs';
import { type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor, within } from './conditions.ts';
import { registerCodecs } from './kafkajs-codecs.ts';

export interface Received {
  readonly topic: string;
  readonly partition: number;
  readonly message: KafkaMessage;
}

export interface Subscription {
  readonly consumer: Consumer;
  readonly received: Received[];
  /** The topics and partitions assigned by the last rebalance. */
  readonly assigned: () => Record<string, number[]>;
  /** How often this member has joined. */
  readonly joinCount: () => number;
  /** Ends the member as kill -9 would: its sockets are destroyed and none can be opened again. */
  readonly crash: () => Promise<void>;
  readonly waitForCount: (count: number) => Promise<Received[]>;
  /** The values of all messages when so many have come, in the order of their coming. */
  readonly waitForValues: (count: number) => Promise<string[]>;
}

export interface SubscribeOptions extends Partial<ConsumerConfig> {
  readonly fromBeginning?: boolean;
  readonly autoCommit?: boolean;
  readonly onMessage?: (received: Received, consumer: Consumer) => Promise<void> | void;
}

interface Connections {
  /** Collects the client's sockets. */
  readonly sockets?: Set<Socket>;
  /** While true, new connections die at once. */
  readonly refuse?: () => boolean;
}

const closeDeadlineMs = 5_000;

export class KafkajsSession implements AsyncDisposable {
  readonly #address: string;
  readonly #closers: (() => Promise<void>)[] = [];
  readonly #sockets = new Set<Socket>();
  #closed = false;

  constructor(address: string) {
    registerCodecs();
    this.#address = address;
  }

  #kafka(connections: Connections = {}): kafkajs.Kafka {
    const { sockets, refuse } = connections;
    const restartOnFailure = async (): Promise<boolean> => !this.#closed && !refuse?.();
    return new kafkajs.Kafka({
      clientId: 'client-test',
      brokers: [this.#address],
      logLevel: kafkajs.logLevel.NOTHING,
      retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: sockets ? 5 : 12, restartOnFailure },
      socketFactory: ({ host, port, onConnect }) => {
        const socket = connect({ host, port }, onConnect);
        this.#sockets.add(socket);
        sockets?.add(socket);
        if (this.#closed || refuse?.()) socket.destroy(new Error('crashed'));
        return socket;
      },
    });
  }

  async admin(): Promise<Admin> {
    const admin = this.#kafka().admin();
    await admin.connect();
    this.#closers.push(() => admin.disconnect());
    return admin;
  }

  async producer(options: kafkajs.ProducerConfig = {}): Promise<Producer> {
    const producer = this.#kafka().producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner, ...options });
    await producer.connect();
    this.#closers.push(() => producer.disconnect());
    return producer;
  }

  async createTopic(
    options: { prefix?: string; partitions?: number; configs?: Record<string, string> } = {},
  ): Promise<string> {
    const topic = uniqueName(options.prefix ?? 'topic');
    const admin = await this.admin();
    const configEntries = Object.entries(options.configs ?? {}).map(([name, value]) => ({ name, value }));
    await admin.createTopics({
      waitForLeaders: false,
      topics: [{ topic, numPartitions: options.partitions ?? 1, replicationFactor: 1, configEntries }],
    });
    // Kafka spreads metadata before the partitions are up, and kafkajs then writes to those that are up twice.
    await waitFor(`all partitions of ${topic}`, async () => {
      const offsets = await admin.fetchTopicOffsets(topic).catch(() => []);
      return offsets.length > 0;
    });
    return topic;
  }

  /** Consumes into `received`; resolves when the member has its first assignment. */
  async subscribe(topic: string, options: SubscribeOptions = {}): Promise<Subscription> {
    const { fromBeginning = true, autoCommit = true, onMessage, ...config } = options;
    const sockets = new Set<Socket>();
    let crashed = false;
    const consumer = this.#kafka({ sockets, refuse: () => crashed }).consumer({
      groupId: uniqueName('group'),
      maxWaitTimeInMs: 500,
      heartbeatInterval: 500,
      ...config,
      ...(options.retry ? { retry: options.retry } : {}),
    });
    const received: Received[] = [];
    let assigned: Record<string, number[]> = {};
    let joinCount = 0;
    consumer.on('consumer.group_join', ({ payload }) => {
      assigned = payload.memberAssignment;
      joinCount += 1;
    });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning });
    const disconnect = async (): Promise<void> => {
      if (!crashed) await consumer.disconnect();
    };
    this.#closers.push(disconnect);
    await consumer.run({
      autoCommit,
      eachMessage: async ({ topic: from, partition, message }) => {
        const one = { topic: from, partition, message };
        await onMessage?.(one, consumer);
        received.push(one);
      },
    });
    await waitFor('the first assignment', () => joinCount > 0);
    const crash = async (): Promise<void> => {
      crashed = true;
      const closed = [...sockets]
        .filter((socket) => !socket.destroyed)
        .map((socket) => new Promise((resolve) => socket.once('close', resolve)));
      // Without an error kafkajs would not notice, and wait for its answers.
      for (const socket of sockets) socket.destroy(new Error('crashed'));
      await Promise.all(closed);
      // Only ends the client's own loops: nothing reaches the broker any more.
      void consumer.disconnect().catch(() => {});
    };
    const waitForCount = (count: number): Promise<Received[]> =>
      waitFor(`${count} messages of ${topic}`, () => received.length >= count && received, 30_000);
    const waitForValues = async (count: number): Promise<string[]> =>
      (await waitForCount(count)).map(({ message }) => String(message.value));
    return {
      consumer,
      received,
      assigned: () => assigned,
      joinCount: () => joinCount,
      crash,
      waitForCount,
      waitForValues,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = Promise.allSettled(this.#closers.splice(0).map((close) => close()));
    // kafkajs waits for answers that a killed broker took with it: end the connections under what has not closed.
    await within('kafkajs to close', closed, closeDeadlineMs).catch(() => {});
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy(new Error('closed'));
    this.#sockets.clear();
  }
}

/** A broker for the tests of a file and a session with it, both ended after the last of them. */
export const startWithKafkajs = async (): Promise<{ broker: BrokerUnderTest; session: KafkajsSession }> => {
  const broker = await startBrokerUnderTest();
  const session = new KafkajsSession(broker.kafka);
  after(async () => {
    await session[Symbol.asyncDispose]();
    await broker.stop();
  });
  return { broker, session };
};
