// The loss checker across protocols. Idempotent Kafka producers write to a topic, and AMQP consumers read it through a
// queue with x-topic and settle in any way and order, on a broker that is killed at a random moment and now and then again
// while it recovers. The producers live through it, the consumers come anew with each life of the broker. With several
// shards the queue is in one of them and the partitions in others. By chance after a cycle, two queues on the topic are
// emptied, the one that was worked on and one that nobody has touched, and compared with the promises in the ledgers:
// - the untouched one gives every record of the topic, at its offset and once, the acknowledged ones where they should be;
// - the other gives what nobody has acknowledged, and nothing whose acknowledgement was durable;
// - what a consumer has seen exists: what is not durable is not delivered.
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { AmqplibSession } from '../clients/amqplib-session.ts';
import { type BrokerUnderTest, startBrokerUnderTest } from '../clients/broker-under-test.ts';
import { waitFor, within } from '../clients/conditions.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';
import { Dice } from '../model/dice.ts';
import { connectDoomed, drain, ignore, settleSome } from './amqp-work.ts';
import { BrokerLife, recordOf, SubscriptionLedger } from './interop-ledger.ts';
import { type HeldRecord, KafkaLedger } from './kafka-ledger.ts';
import { Senders } from './kafka-senders.ts';
import { comeBack, type LossResult, type LossRun } from './loss-run.ts';

const partitionCount = 6;
const consumerCount = 3;
const prefetchCount = 60;
const loadMsMin = 100;
const loadMsMax = 600;
const verifyShare = 0.6;
const settleDeadlineMs = 30_000;
const worked = 'loss.worked';
const untouched = 'loss.untouched';

/** From one verification to the next. */
interface Ledgers {
  readonly topic: KafkaLedger;
  readonly queue: SubscriptionLedger;
}

const newLedgers = (firstOffsets: readonly number[]): Ledgers => ({
  topic: new KafkaLedger(firstOffsets),
  queue: new SubscriptionLedger(),
});

/** Consumers until the death of the broker. */
class Consumers {
  readonly #life: BrokerLife;
  readonly #ledgers: Ledgers;
  readonly #dice: Dice;
  readonly #ended: Promise<unknown>[] = [];

  constructor(ledgers: Ledgers, dice: Dice) {
    this.#ledgers = ledgers;
    this.#life = new BrokerLife(ledgers.queue);
    this.#dice = dice;
  }

  /** Resolves when something was delivered. */
  async start(url: string): Promise<void> {
    for (let consumer = 0; consumer < consumerCount; consumer++) {
      const connection = await connectDoomed(url);
      this.#ended.push(new Promise((resolve) => connection.on('close', resolve)));
      await this.#consume(connection);
    }
    await waitFor('a delivery', () => this.#life.deliveredCount > 0);
  }

  /** Resolves when all that the broker had sent before its death is noted. */
  async ended(): Promise<void> {
    await within('the connections to close', Promise.all(this.#ended));
  }

  async #consume(connection: ChannelModel): Promise<void> {
    const channel = await connection.createChannel();
    channel.on('error', ignore);
    await channel.prefetch(prefetchCount);
    const unacked: ConsumeMessage[] = [];
    const lastOffsets = new Map<number, number>();
    let isOpen = true;
    connection.on('close', () => {
      isOpen = false;
    });
    await channel.consume(worked, (message) => {
      if (message === null) return;
      this.#ledgers.topic.see(recordOf(message));
      this.#life.delivered(message, lastOffsets);
      unacked.push(message);
      if (!isOpen || unacked.length < this.#dice.between(1, prefetchCount)) return;
      settleSome({ channel, queue: worked, unacked, dice: this.#dice }, this.#life);
    });
  }
}

/** Empties both queues. Returns where each partition ends. */
const verify = async (broker: BrokerUnderTest, topic: string, ledgers: Ledgers): Promise<number[]> => {
  await using amqp = new AmqplibSession(broker.amqp);
  await using kafka = new KafkajsSession(broker.kafka);
  const channel = await amqp.channel();
  const left = (await drain(channel, worked)).map(recordOf);
  const all = (await drain(channel, untouched)).map(recordOf);
  ledgers.topic.verify(all);
  ledgers.queue.verify(all, left);
  const admin = await kafka.admin();
  const ends = await admin.fetchTopicOffsets(topic);
  const endOffsets = ends.toSorted((a, b) => a.partition - b.partition).map(({ high }) => Number(high));
  for (const [partition, end] of endsOf(all)) assert.equal(endOffsets[partition], end, `end of partition ${partition}`);
  return endOffsets;
};

const endsOf = (records: readonly HeldRecord[]): Map<number, number> =>
  new Map(records.map(({ partition, offset }) => [partition, offset + 1]));

/** The topic, and both queues on it. */
const declare = async (broker: BrokerUnderTest): Promise<string> => {
  await using kafka = new KafkajsSession(broker.kafka);
  await using amqp = new AmqplibSession(broker.amqp);
  const topic = await kafka.createTopic({ prefix: 'loss', partitions: partitionCount });
  const channel = await amqp.channel();
  for (const queue of [worked, untouched]) {
    await channel.assertQueue(queue, { durable: true, arguments: { 'x-topic': topic } });
  }
  return topic;
};

/** @throws AssertionError when the broker broke a promise */
export const checkInteropLoss = async ({ cycles, seed, shardCount }: LossRun): Promise<LossResult> => {
  const dice = new Dice(seed);
  const broker = await startBrokerUnderTest([`shards=${shardCount}`]);
  const senders = new Senders(broker.kafka, dice);
  let promisedCount = 0;
  let cutRecoveryCount = 0;
  try {
    const topic = await declare(broker);
    let ledgers = newLedgers(new Array<number>(partitionCount).fill(0));
    for (let cycle = 0; cycle < cycles; cycle++) {
      let isStopped = false;
      const sending = senders.run({ topic, partitionCount, ledger: ledgers.topic, isStopped: () => isStopped });
      sending.catch(() => {}); // awaited after the crash
      const consumers = new Consumers(ledgers, dice);
      await consumers.start(broker.amqp);
      await delay(dice.between(loadMsMin, loadMsMax));
      isStopped = true;
      await broker.kill();
      await consumers.ended();
      cutRecoveryCount += await comeBack(broker, dice, cycle);
      await within('all sends to be answered', sending, settleDeadlineMs);
      if (cycle < cycles - 1 && !dice.chance(verifyShare)) continue;
      const ends = await verify(broker, topic, ledgers);
      promisedCount += ledgers.topic.acknowledgedCount;
      ledgers = newLedgers(ends);
    }
  } finally {
    await senders[Symbol.asyncDispose]();
    await broker.stop();
  }
  return { promisedCount, cutRecoveryCount };
};
