// Fills the disk of a broker over and over: one topic after the other that stays, and a queue that is drained when nothing
// more goes in. Clients do what theirs do: the publisher waits while it is blocked, the producer tries again.
import assert from 'node:assert/strict';
import kafkajs, { type Admin, type Producer } from 'kafkajs';
import { AmqplibSession, type ObservedChannel } from '../clients/amqplib-session.ts';
import { uniqueName, waitFor, within } from '../clients/conditions.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';

export interface FullDiskRun {
  /** `host:port`. */
  readonly kafka: string;
  readonly amqp: string;
  readonly recordBytes: number;
  readonly messageBytes: number;
  readonly recordsPerTopic: number;
}

interface FilledTopic {
  readonly name: string;
  acknowledgedCount: number;
}

/** The alarm must come, and go, within this time. */
const alarmDeadlineMs = 30_000;

/** Bytes that say which one they are, at both ends. */
const numbered = (index: number, lengthBytes: number): Buffer => {
  const bytes = Buffer.alloc(lengthBytes, index & 0xff);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(index, lengthBytes - 4);
  return bytes;
};

export class FullDiskLoad implements AsyncDisposable {
  readonly #run: FullDiskRun;
  readonly #kafkajs: KafkajsSession;
  readonly #amqplib: AmqplibSession;
  #admin!: Admin;
  #producer!: Producer;
  /** Does not try again. */
  #probe!: Producer;
  #probeTopic = '';
  #publishing!: ObservedChannel;
  #consuming!: ObservedChannel;
  #queue = '';
  #publishedCount = 0;
  #consumedCount = 0;
  /** In the order of their making; the oldest are deleted first. */
  readonly #topics: FilledTopic[] = [];
  isBlocked = false;

  constructor(run: FullDiskRun) {
    this.#run = run;
    this.#kafkajs = new KafkajsSession(run.kafka);
    this.#amqplib = new AmqplibSession(run.amqp);
  }

  async start(): Promise<void> {
    this.#admin = await this.#kafkajs.admin();
    this.#producer = await this.#kafkajs.producer({
      idempotent: true,
      retry: { retries: Number.MAX_SAFE_INTEGER, initialRetryTime: 20, maxRetryTime: 200 },
    });
    this.#probe = await this.#kafkajs.producer({ retry: { retries: 0 } });
    this.#probeTopic = await this.#kafkajs.createTopic({ prefix: 'probe' });
    const connection = await this.#amqplib.connect();
    connection.on('blocked', () => {
      this.isBlocked = true;
    });
    connection.on('unblocked', () => {
      this.isBlocked = false;
    });
    this.#publishing = await this.#amqplib.channel(connection);
    this.#consuming = await this.#amqplib.channel(await this.#amqplib.connect());
    const { queue } = await this.#publishing.assertQueue(uniqueName('work'), { durable: true });
    this.#queue = queue;
  }

  /** Publishes and produces until nothing more goes in, makes room, and sees that what waited goes in by itself. */
  async fillAndFree(): Promise<void> {
    let isStopping = false;
    const filling = this.#fill(() => isStopping);
    await Promise.race([filling, waitFor('connection.blocked', () => this.isBlocked, alarmDeadlineMs)]);
    isStopping = true; const t=(m:string)=>console.log('   ',Date.now()%1000000,m); t('blocked '+this.#topics.length);
    await this.#seeRefusal();
    t('refused'); await this.drain(); t('drained');
    while (this.isBlocked) {
      const oldest = this.#topics.shift();
      assert.ok(oldest !== undefined, 'there is something left to delete');
      await this.#verify(oldest); t('verified');
      await this.#admin.deleteTopics({ topics: [oldest.name] });
      await waitFor('connection.unblocked', () => !this.isBlocked, 2_000).catch(() => {});
    }
    t('unblocked');await within('what waited for room', filling, alarmDeadlineMs);
  }

  async #fill(isStopping: () => boolean): Promise<void> {
    while (!isStopping()) {
      let topic = this.#topics.at(-1);
      if (topic === undefined || topic.acknowledgedCount >= this.#run.recordsPerTopic) {
        topic = { name: await this.#kafkajs.createTopic({ prefix: 'kept' }), acknowledgedCount: 0 };
        this.#topics.push(topic);
      }
      await Promise.all([this.#produce(topic), this.#publish()]);
    }
  }

  async #produce(topic: FilledTopic): Promise<void> {
    const value = numbered(topic.acknowledgedCount, this.#run.recordBytes);
    await this.#producer.send({ topic: topic.name, acks: -1, messages: [{ value }] });
    topic.acknowledgedCount++;
  }

  async #publish(): Promise<void> {
    const message = numbered(this.#publishedCount, this.#run.messageBytes);
    this.#publishing.sendToQueue(this.#queue, message, { persistent: true });
    this.#publishedCount++;
    await this.#publishing.waitForConfirms();
  }

  /** A producer that does not try again is told why it should. */
  async #seeRefusal(): Promise<void> {
    const refused = this.#probe.send({ topic: this.#probeTopic, acks: -1, messages: [{ value: 'x' }] });
    await assert.rejects(refused, (error: Error) => {
      const cause = (error as { cause?: unknown }).cause ?? error;
      assert.ok(cause instanceof kafkajs.KafkaJSProtocolError, String(error));
      assert.equal(cause.type, 'KAFKA_STORAGE_ERROR');
      return cause.retriable;
    });
  }

  /** Takes what is in the queue, which must be what was published, once and in order. */
  async drain(): Promise<void> {
    const { messageCount } = await this.#consuming.checkQueue(this.#queue);
    const endCount = this.#consumedCount + messageCount;
    const { consumerTag } = await this.#consuming.consume(this.#queue, (message) => {
      assert.ok(message !== null);
      assert.ok(message.content.equals(numbered(this.#consumedCount, this.#run.messageBytes)));
      assert.equal(message.fields.redelivered, false);
      this.#consumedCount++;
      this.#consuming.ack(message);
    });
    await waitFor(`${messageCount} messages`, () => this.#consumedCount >= endCount, 30_000);
    await this.#consuming.cancel(consumerTag);
  }

  /** The topic holds what was acknowledged, once and in order. */
  async #verify({ name, acknowledgedCount }: FilledTopic): Promise<void> {
    const session = new KafkajsSession(this.#run.kafka);
    const admin = await session.admin();
    const [partition] = await admin.fetchTopicOffsets(name);
    // One record may be on its way.
    const count = Number(partition!.high);
    assert.ok(count === acknowledgedCount || count === acknowledgedCount + 1, `${count}, ${acknowledgedCount}`);
    let next = 0;
    const reader = await session.subscribe(name, {
      onMessage: ({ message }) => {
        assert.equal(Number(message.offset), next);
        assert.ok(message.value!.equals(numbered(next, this.#run.recordBytes)), `record ${next}`);
        message.value = null;
        next++;
      },
    });
    await reader.waitForCount(count);
    await session[Symbol.asyncDispose]();
  }

  /** Everything that was acknowledged and not deleted is there. */
  async verifyAll(): Promise<void> {
    for (const topic of this.#topics) await this.#verify(topic);
    await this.drain();
    assert.equal(this.#consumedCount, this.#publishedCount);
  }

  /** Published bytes, all in all. */
  get writtenBytes(): number {
    return 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kafkajs[Symbol.asyncDispose]();
    await this.#amqplib[Symbol.asyncDispose]();
  }
}
