// Fills the disk of a broker over and over: one topic after the other that stays, and a queue that is drained when nothing
// more goes in. Clients do what theirs do: the publisher waits while it is blocked, the producer tries again.
import assert from 'node:assert/strict';
import type { Channel } from 'amqplib';
import kafkajs, { type Admin, type Producer } from 'kafkajs';
import { AmqplibSession } from '../clients/amqplib-session.ts';
import { uniqueName, waitFor, within } from '../clients/conditions.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';

export interface LoadOptions {
  /** `host:port`. */
  readonly kafka: string;
  readonly amqp: string;
  readonly recordBytes: number;
  readonly messageBytes: number;
  readonly recordsPerTopic: number;
  /** How many topics make room; they must take more than a file of the write-ahead log together. */
  readonly topicsDeleted: number;
}

interface FilledTopic {
  readonly name: string;
  acknowledgedCount: number;
}

/** The alarm must come, and go, within this time. */
const alarmDeadlineMs = 60_000;

/** Bytes that say which one they are, at both ends. */
const numbered = (index: number, lengthBytes: number): Buffer => {
  const bytes = Buffer.alloc(lengthBytes, index & 0xff);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(index, lengthBytes - 4);
  return bytes;
};

export class FullDiskLoad implements AsyncDisposable {
  readonly #options: LoadOptions;
  readonly #kafkajs: KafkajsSession;
  readonly #amqplib: AmqplibSession;
  #admin!: Admin;
  #producer!: Producer;
  /** Does not try again. */
  #probe!: Producer;
  #probeTopic = '';
  #publishing!: Awaited<ReturnType<AmqplibSession['channel']>>;
  #consuming!: Channel;
  readonly #queue = uniqueName('work');
  #publishedCount = 0;
  #consumedCount = 0;
  /** In the order of their making; the oldest are deleted first. */
  readonly #topics: FilledTopic[] = [];
  #isBlocked = false;
  /** Records and messages that the broker promised to keep. */
  acknowledgedCount = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#kafkajs = new KafkajsSession(options.kafka);
    this.#amqplib = new AmqplibSession(options.amqp);
  }

  async start(): Promise<void> {
    this.#admin = await this.#kafkajs.admin();
    const retry = { retries: Number.MAX_SAFE_INTEGER, initialRetryTime: 20, maxRetryTime: 200 };
    this.#producer = await this.#kafkajs.producer({ idempotent: true, retry });
    this.#probe = await this.#kafkajs.producer({ retry: { retries: 0 } });
    this.#probeTopic = await this.#kafkajs.createTopic({ prefix: 'probe' });
    const connection = await this.#amqplib.connect();
    connection.on('blocked', () => {
      this.#isBlocked = true;
    });
    connection.on('unblocked', () => {
      this.#isBlocked = false;
    });
    this.#publishing = await this.#amqplib.channel(connection);
    this.#consuming = await this.#amqplib.channel(await this.#amqplib.connect());
    await this.#publishing.assertQueue(this.#queue, { durable: true });
  }

  /** Publishes and produces until nothing more goes in, makes room, and sees that what waited goes in by itself. */
  async fillAndFree(): Promise<void> {
    let isStopping = false;
    const filling = Promise.all([this.#produceAll(() => isStopping), this.#publishAll(() => isStopping)]);
    const blocked = waitFor('connection.blocked', () => this.#isBlocked, alarmDeadlineMs);
    await Promise.race([filling, blocked]);
    isStopping = true;
    await this.#seeRefusal();
    await this.#drain(this.#consuming);
    await this.#deleteOldest();
    await waitFor('connection.unblocked', () => !this.#isBlocked, alarmDeadlineMs);
    await within('what waited for room', filling, alarmDeadlineMs);
  }

  /** One topic after the other, one record at a time. */
  async #produceAll(isStopping: () => boolean): Promise<void> {
    while (!isStopping()) {
      let topic = this.#topics.at(-1);
      if (topic === undefined || topic.acknowledgedCount >= this.#options.recordsPerTopic) {
        topic = { name: await this.#newTopic(), acknowledgedCount: 0 };
        this.#topics.push(topic);
      }
      const value = numbered(topic.acknowledgedCount, this.#options.recordBytes);
      await this.#producer.send({ topic: topic.name, acks: -1, messages: [{ value }] });
      topic.acknowledgedCount++;
      this.acknowledgedCount++;
    }
  }

  /** A full broker refuses new topics as well, with an error that kafkajs does not try again for. */
  async #newTopic(): Promise<string> {
    const topic = uniqueName('kept');
    await waitFor(
      `topic ${topic}`,
      () =>
        this.#admin
          .createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: 1 }] })
          .catch(isStorageError),
      alarmDeadlineMs,
    );
    return topic;
  }

  /** One message at a time. */
  async #publishAll(isStopping: () => boolean): Promise<void> {
    while (!isStopping()) {
      const message = numbered(this.#publishedCount, this.#options.messageBytes);
      this.#publishing.sendToQueue(this.#queue, message, { persistent: true });
      this.#publishedCount++;
      await this.#publishing.waitForConfirms();
      this.acknowledgedCount++;
    }
  }

  /** A producer that does not try again is told why it should. */
  async #seeRefusal(): Promise<void> {
    const refused = this.#probe.send({ topic: this.#probeTopic, acks: -1, messages: [{ value: 'x' }] });
    await assert.rejects(refused, (error: Error) => {
      assert.equal(storageErrorOf(error)?.retriable, true, String(error));
      return true;
    });
  }

  /** Takes what is in the queue, which must be what was published, once and in order. */
  async #drain(channel: Channel): Promise<void> {
    const { messageCount } = await channel.checkQueue(this.#queue);
    const endCount = this.#consumedCount + messageCount;
    const { consumerTag } = await channel.consume(this.#queue, (message) => {
      assert.ok(message !== null);
      const expected = numbered(this.#consumedCount, this.#options.messageBytes);
      assert.ok(message.content.equals(expected), `message ${this.#consumedCount}`);
      assert.equal(message.fields.redelivered, false);
      this.#consumedCount++;
      channel.ack(message);
    });
    await waitFor(`${messageCount} messages`, () => this.#consumedCount >= endCount, alarmDeadlineMs);
    await channel.cancel(consumerTag);
  }

  /** Deletes some topics, the first of which is read before. */
  async #deleteOldest(): Promise<void> {
    const oldest = this.#topics.splice(0, this.#options.topicsDeleted);
    assert.equal(oldest.length, this.#options.topicsDeleted, 'there is something to delete');
    await this.#verify(oldest[0]!);
    await this.#admin.deleteTopics({ topics: oldest.map(({ name }) => name) });
  }

  /** The topic holds what was acknowledged, once and in order. */
  async #verify({ name, acknowledgedCount }: FilledTopic): Promise<void> {
    await using session = new KafkajsSession(this.#options.kafka);
    let next = 0;
    const reader = await session.subscribe(name, {
      onMessage: ({ message }) => {
        assert.equal(Number(message.offset), next);
        assert.ok(message.value!.equals(numbered(next, this.#options.recordBytes)), `record ${next}`);
        message.value = null;
        next++;
      },
    });
    await reader.waitForCount(acknowledgedCount);
  }

  /** Everything that was acknowledged and not deleted is there, once. The clients of the load may be gone by now. */
  async verifyAll(): Promise<void> {
    await using session = new KafkajsSession(this.#options.kafka);
    const admin = await session.admin();
    const verify = async (topic: FilledTopic): Promise<void> => {
      const [partition] = await admin.fetchTopicOffsets(topic.name);
      assert.equal(Number(partition!.high), topic.acknowledgedCount, topic.name);
      await this.#verify(topic);
    };
    await Promise.all(this.#topics.map(verify));
    await using amqplib = new AmqplibSession(this.#options.amqp);
    await this.#drain(await amqplib.channel());
    assert.equal(this.#consumedCount, this.#publishedCount);
  }

  /** Ends the clients; what was promised can still be verified. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kafkajs[Symbol.asyncDispose]();
    await this.#amqplib[Symbol.asyncDispose]();
  }
}

/** The error of the protocol in what kafkajs throws, if it says that the broker is full. */
const storageErrorOf = (error: Error): kafkajs.KafkaJSProtocolError | undefined => {
  const { cause, errors } = error as { cause?: Error; errors?: Error[] };
  const found = [error, cause, ...(errors ?? [])].find((each) => each instanceof kafkajs.KafkaJSProtocolError);
  return found?.type === 'KAFKA_STORAGE_ERROR' ? found : undefined;
};

/** For what is to be tried again. */
const isStorageError = (error: Error): false => {
  if (storageErrorOf(error) === undefined) throw error;
  return false;
};
