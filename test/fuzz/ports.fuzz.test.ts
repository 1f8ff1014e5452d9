// Damaged and random frames at both ports of one broker, many on each connection, while well-behaved clients work: the
// broker stays up, nobody else notices, nothing fails inside, memory does not grow.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import amqplib from 'amqplib';
import { limits } from '../../src/core/limits.ts';
import { waitFor } from '../clients/conditions.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';
import { Dice, forEachSeed } from '../model/dice.ts';
import { type Attack, amqpAttack, kafkaAttack, perform } from './attacker.ts';
import { amqpBystander, kafkaBystander } from './bystanders.ts';
import { FuzzedBroker } from './fuzzed-broker.ts';
import { fuzzedTopic, recordAmqp, recordKafka } from './recorded-sessions.ts';

const mib = 1024 * 1024;
const damagedFramesWanted = 100_000;
/** Part of them after which memory is measured first: pools are filled, code is compiled. */
const warmUpShare = 0.3;
const concurrency = 24;
/**
 * What may be held more after the other 70,000 than after the first 30,000, once the names that mutated requests made up
 * are deleted: 120 bytes kept per frame would exceed it. Measured: -4, -2 and 2 MiB.
 */
const growthBytesMax = 8 * mib;
const roundTripMsMax = 5_000;
const roundTripsMin = 100;

interface Target {
  readonly address: string;
  readonly attack: (dice: Dice) => Attack;
}

/** Attacks both ports alternately; returns the number of connections. */
const storm = async (dice: Dice, targets: readonly Target[], damagedFrames: number): Promise<number> => {
  let sent = 0;
  let connections = 0;
  const worker = async (): Promise<void> => {
    while (sent < damagedFrames) {
      const { address, attack } = targets[connections++ % targets.length]!;
      const planned = attack(dice);
      sent += planned.damagedCount;
      await perform(dice, address, planned);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return connections;
};

/** Topics and queues that mutated names created are state that somebody asked for, not a leak. */
const deleteStrangers = async ({ kafka }: FuzzedBroker): Promise<number> => {
  await using session = new KafkajsSession(kafka);
  const admin = await session.admin();
  const strangers = (await admin.listTopics()).filter((name) => !/^(fuzzed|bystander)\.\w+$/.test(name));
  if (strangers.length > 0) await admin.deleteTopics({ topics: strangers });
  return strangers.length;
};

/** What the broker keeps of its latest writes, for readers of the tail, and of what others read has its full size from the start. */
const fillCaches = async ({ amqp }: FuzzedBroker): Promise<void> => {
  const connection = await amqplib.connect(`amqp://guest:guest@${amqp}`);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('fuzzed.filler');
  const body = Buffer.alloc(mib);
  const count = Math.ceil((limits.arenaBytes * 1.6) / body.length);
  for (let filled = 0; filled < count; filled++) {
    channel.sendToQueue('fuzzed.filler', body, { persistent: true });
    await channel.waitForConfirms();
  }
  let received = 0;
  await channel.consume('fuzzed.filler', () => received++, { noAck: true });
  await waitFor('what was written first', () => received === count, 30_000);
  await channel.deleteQueue('fuzzed.filler');
  await connection.close();
};

/** A queue that subscribes the fuzzed topic must get past whatever was stored in it. */
const readFuzzedTopic = async ({ kafka, amqp }: FuzzedBroker): Promise<void> => {
  await using session = new KafkajsSession(kafka);
  const admin = await session.admin();
  // A spliced DeleteTopics may have named it.
  await admin.createTopics({ topics: [{ topic: fuzzedTopic, numPartitions: 2 }] });
  const { topics } = await admin.fetchTopicMetadata({ topics: [fuzzedTopic] });
  const lastMessages = topics[0]!.partitions.map(({ partitionId: partition }) => ({
    partition,
    value: `last of ${partition}`,
  }));
  const producer = await session.producer();
  const connection = await amqplib.connect(`amqp://guest:guest@${amqp}`);
  const channel = await connection.createChannel();
  await channel.assertQueue('fuzzed.reader', { durable: true, arguments: { 'x-topic': fuzzedTopic } });
  const arrived = new Set<string>();
  const consume = channel.consume('fuzzed.reader', (message) => arrived.add(String(message?.content)), { noAck: true });
  await producer.send({ topic: fuzzedTopic, messages: lastMessages });
  await consume;
  await waitFor('the ends of the fuzzed topic', () => lastMessages.every(({ value }) => arrived.has(value)), 30_000);
  await connection.close();
};

test('100,000 damaged frames at both ports harm nobody', { timeout: 120_000 }, (t) =>
  forEachSeed(1, async (seed) => {
    const dice = new Dice(seed);
    await using broker = await FuzzedBroker.start();
    const recordedKafka = await recordKafka(broker.kafka);
    const recordedAmqp = await recordAmqp(broker.amqp);
    const targets: Target[] = [
      { address: broker.kafka, attack: (die) => kafkaAttack(die, recordedKafka) },
      { address: broker.amqp, attack: (die) => amqpAttack(die, recordedAmqp) },
    ];
    await fillCaches(broker);
    const bystanders = [await amqpBystander(broker.amqp), await kafkaBystander(broker.kafka)];
    const warmUpFrames = damagedFramesWanted * warmUpShare;
    let connections = await storm(dice, targets, warmUpFrames);
    let strangers = await deleteStrangers(broker);
    const before = await broker.memory();
    connections += await storm(dice, targets, damagedFramesWanted - warmUpFrames);
    strangers += await deleteStrangers(broker);
    const after = await broker.memory();
    const journeys = await Promise.all(bystanders.map((bystander) => bystander.stop()));
    await readFuzzedTopic(broker);

    const grownBytes = after.heldBytes - before.heldBytes;
    t.diagnostic(
      `seed ${seed}: ${connections} connections, ${broker.warningCount} warnings, ${strangers} names made up; held ${Math.round(before.heldBytes / mib)} -> ${Math.round(after.heldBytes / mib)} MiB, resident ${Math.round(before.rssBytes / mib)} -> ${Math.round(after.rssBytes / mib)} MiB; bystanders ${journeys.map(({ roundTrips, slowestMs }) => `${roundTrips} round trips, slowest ${Math.round(slowestMs)} ms`).join('; ')}`,
    );
    assert.ok(broker.isRunning);
    assert.deepEqual(broker.errors.slice(0, 5), [], 'nothing failed inside');
    assert.ok(grownBytes < growthBytesMax, `${grownBytes} bytes more are held`);
    for (const { roundTrips, slowestMs } of journeys) {
      assert.ok(roundTrips >= roundTripsMin, `${roundTrips} round trips of a bystander`);
      assert.ok(slowestMs < roundTripMsMax, `a bystander waited ${slowestMs} ms`);
    }
  }),
);
