// One well-behaved user of each protocol. It sends a message, waits until it has come back to it, and sends the next, all
// on the connections of its start; a message that is lost, doubled or out of order, or a lost connection, is a failure.
import assert from 'node:assert/strict';
import amqplib from 'amqplib';
import { Kafka, logLevel } from 'kafkajs';
import { within } from '../clients/conditions.ts';

export interface Journey {
  readonly roundTrips: number;
  readonly slowestMs: number;
}

export interface Bystander {
  /** Ends after the round trip under way. @throws what went wrong */
  stop(): Promise<Journey>;
}

const roundTripDeadlineMs = 10_000;

/** Calls `send` with ever new texts; `arrived` is to be called with each text that came back. */
class RoundTrips {
  #expected = '';
  #resolve: () => void = () => {};
  #failed: Error | undefined;
  #isStopped = false;

  readonly arrived = (text: string): void => {
    if (text === this.#expected) this.#resolve();
    else this.fail(new Error(`expected '${this.#expected}', received '${text}'`));
  };

  readonly fail = (error: Error): void => {
    this.#failed ??= error;
    this.#resolve();
  };

  stop(): void {
    this.#isStopped = true;
  }

  async run(name: string, send: (text: string) => Promise<unknown>): Promise<Journey> {
    let slowestMs = 0;
    let roundTrips = 0;
    while (!this.#isStopped) {
      const startedMs = performance.now();
      const text = `${name} ${roundTrips++}`;
      this.#expected = text;
      const back = new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
      await within(text, Promise.all([send(text), back]), roundTripDeadlineMs);
      if (this.#failed !== undefined) throw this.#failed;
      slowestMs = Math.max(slowestMs, performance.now() - startedMs);
    }
    return { roundTrips, slowestMs };
  }
}

const bystander = (trips: RoundTrips, running: Promise<Journey>, close: () => Promise<void>): Bystander => {
  // Looked at when it is stopped.
  running.catch(() => {});
  return {
    stop: async () => {
      trips.stop();
      const journey = await running;
      await close();
      return journey;
    },
  };
};

export const amqpBystander = async (address: string): Promise<Bystander> => {
  const connection = await amqplib.connect(`amqp://guest:guest@${address}`, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const trips = new RoundTrips();
  connection.on('error', trips.fail);
  channel.on('error', trips.fail);
  await channel.assertQueue('bystander.queue', { durable: true });
  await channel.consume('bystander.queue', (message) => {
    if (message === null) return trips.fail(new Error('the consumer was cancelled'));
    channel.ack(message);
    trips.arrived(String(message.content));
  });
  const send = (text: string): Promise<void> => {
    channel.sendToQueue('bystander.queue', Buffer.from(text), { persistent: true });
    return channel.waitForConfirms();
  };
  return bystander(trips, trips.run('by AMQP', send), () => connection.close());
};

export const kafkaBystander = async (address: string): Promise<Bystander> => {
  const topic = 'bystander.topic';
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: false });
  await admin.disconnect();
  const producer = kafka.producer();
  const consumer = kafka.consumer({ groupId: 'bystander.group', maxWaitTimeInMs: 500, minBytes: 1 });
  const trips = new RoundTrips();
  let isClosing = false;
  for (const event of ['consumer.disconnect', 'consumer.crash'] as const) {
    consumer.on(event, () => {
      if (!isClosing) trips.fail(new Error(event));
    });
  }
  await Promise.all([producer.connect(), consumer.connect()]);
  await consumer.subscribe({ topic, fromBeginning: true });
  const joined = new Promise((resolve) => consumer.on('consumer.group_join', resolve));
  await consumer.run({ eachMessage: async ({ message }) => trips.arrived(String(message.value)) });
  await joined;
  const send = async (text: string): Promise<void> => {
    const [answer] = await producer.send({ topic, acks: -1, messages: [{ value: text }] });
    assert.equal(answer?.errorCode, 0);
  };
  return bystander(trips, trips.run('by Kafka', send), async () => {
    isClosing = true;
    await Promise.all([producer.disconnect(), consumer.disconnect()]);
  });
};
