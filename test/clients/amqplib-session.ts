// amqplib set up the way its users do, with every connection of a test file closed at its end.
import type { Socket } from 'node:net';
import { after } from 'node:test';
import amqplib, {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  type ConsumeMessage,
  type GetMessage,
  type Options,
} from 'amqplib';
import { type BrokerUnderTest, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName, waitFor } from './conditions.ts';

export interface ChannelError extends Error {
  /** The reply code of channel.close or connection.close. */
  readonly code: number;
}

export interface ObservedChannel extends ConfirmChannel {
  /** Resolves with the error that the server closed the channel with. */
  readonly closedByServer: Promise<ChannelError>;
}

/** What a consumer got so far; acknowledging is the test's business. */
export interface Delivered {
  readonly consumerTag: string;
  readonly messages: ConsumeMessage[];
  readonly bodies: () => string[];
  readonly waitForCount: (count: number) => Promise<ConsumeMessage[]>;
  /** True once the server has cancelled the consumer. */
  readonly cancelledByServer: () => boolean;
}

export const closeQuietly = async (closable: { close(): Promise<unknown> }): Promise<void> => {
  try {
    await closable.close();
  } catch {
    // already closed by the server, which is what the test wanted
  }
};

/** Ends the connection with a TCP reset, as the kernel does for a process that was killed. */
export const resetConnection = (connection: ChannelModel): void => {
  const { stream } = connection.connection as unknown as { stream: Socket };
  stream.resetAndDestroy();
  stream.emit('error', new Error('reset')); // a local reset makes no error, and amqplib would wait for one
};

export class AmqplibSession implements AsyncDisposable {
  readonly #url: string;
  readonly #connections: ChannelModel[] = [];
  #shared: Promise<ChannelModel> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  async connect(options: Partial<Options.Connect> = {}): Promise<ChannelModel> {
    const { hostname, port, username, password } = new URL(this.#url);
    const connection = await amqplib.connect({ hostname, port: Number(port), username, password, ...options });
    connection.setMaxListeners(0);
    connection.on('error', () => {});
    this.#connections.push(connection);
    return connection;
  }

  /** A confirm channel, on a connection that the file's tests share unless one is given. */
  async channel(on?: ChannelModel): Promise<ObservedChannel> {
    this.#shared ??= this.connect();
    const connection = on ?? (await this.#shared);
    const channel = await connection.createConfirmChannel();
    const closedByServer = new Promise<ChannelError>((resolve) => {
      channel.on('error', (error: Error) => resolve(error as ChannelError));
      connection.once('error', (error: Error) => resolve(error as ChannelError));
    });
    return Object.assign(channel, { closedByServer });
  }

  /** Closes what is open; the session can be used again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#shared = undefined;
    await Promise.all(this.#connections.splice(0).map(closeQuietly));
  }
}

/** A broker for the tests of a file and a session with it, both ended after the last of them. */
export const startWithAmqplib = async (): Promise<{ broker: BrokerUnderTest; session: AmqplibSession }> => {
  const broker = await startBrokerUnderTest();
  const session = new AmqplibSession(broker.amqp);
  after(async () => {
    await session[Symbol.asyncDispose]();
    await broker.stop();
  });
  return { broker, session };
};

/** A durable queue that nobody has used before; its name. */
export const newDurableQueue = async (channel: Channel, prefix: string): Promise<string> => {
  const { queue } = await channel.assertQueue(uniqueName(prefix), { durable: true });
  return queue;
};

/** Asks on a channel of its own, which a queue that is gone ends. */
export const isGone = async (session: AmqplibSession, queue: string): Promise<boolean> => {
  const channel = await session.channel();
  return await channel.checkQueue(queue).then(
    () => false,
    (error: ChannelError) => error.code === 404,
  );
};

export const collect = async (channel: Channel, queue: string, options: Options.Consume = {}): Promise<Delivered> => {
  const messages: ConsumeMessage[] = [];
  let cancelled = false;
  const { consumerTag } = await channel.consume(
    queue,
    (message) => {
      if (message === null) cancelled = true;
      else messages.push(message);
    },
    options,
  );
  return {
    consumerTag,
    messages,
    bodies: () => messages.map(({ content }) => content.toString()),
    waitForCount: (count) =>
      waitFor(`${count} messages of ${queue}`, () => messages.length >= count && messages, 30_000),
    cancelledByServer: () => cancelled,
  };
};

/** Bodies in order, each with whether it is marked as redelivered. */
export const bodiesAndMarks = (messages: readonly (ConsumeMessage | GetMessage)[]): [string, boolean][] =>
  messages.map(({ content, fields }) => [content.toString(), fields.redelivered]);

/** Publishes to the queue through the default exchange and waits for the confirms. */
export const publishAll = async (
  channel: ConfirmChannel,
  queue: string,
  bodies: readonly (string | Buffer)[],
  options: Options.Publish = { persistent: true },
): Promise<void> => {
  for (const body of bodies) channel.sendToQueue(queue, Buffer.from(body), options);
  await channel.waitForConfirms();
};

/** The message that basic.get finds, which it must. */
export const getOne = async (channel: Channel, queue: string, options: Options.Get = {}): Promise<GetMessage> => {
  const message = await channel.get(queue, options);
  if (message === false) throw new Error(`${queue} is empty`);
  return message;
};

/** Everything ready in the queue, removed. */
export const drain = async (channel: Channel, queue: string): Promise<string[]> => {
  const bodies: string[] = [];
  for (;;) {
    const message = await channel.get(queue, { noAck: true });
    if (message === false) return bodies;
    bodies.push(message.content.toString());
  }
};
