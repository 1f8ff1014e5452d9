// The loss checker for Kafka. Idempotent producers of two client libraries and a consumer group that commits offsets work
// on a broker that is killed at a random moment, and now and then again while it recovers. The producers live through the
// crash and send again what was not answered; when they are done, everything is read anew and compared with the promises
// in the ledger.
// Each cycle has a topic of its own, so that a hundred cycles read their records once and not a hundred times; the topics
// of earlier cycles are looked at again by chance.
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { startBrokerUnderTest } from '../clients/broker-under-test.ts';
import { uniqueName, within } from '../clients/conditions.ts';
import { KafkajsSession, type Received, type Subscription } from '../clients/kafkajs-session.ts';
import { Dice } from '../model/dice.ts';
import { type HeldRecord, identityOf, KafkaLedger } from './kafka-ledger.ts';
import { Senders } from './kafka-senders.ts';
import { comeBack, type LossResult, type LossRun } from './loss-run.ts';

const partitionCount = 4;
const memberCount = 2;
const loadMsMin = 100;
const loadMsMax = 600;
const commitShare = 0.05;
/** Sends that wait for the broker to come back, with the backoff of the clients. */
const settleDeadlineMs = 30_000;

interface Cycle {
  readonly topic: string;
  readonly ledger: KafkaLedger;
}

const heldRecord = ({ partition, message }: Received): HeldRecord => ({
  partition,
  offset: Number(message.offset),
  identity: identityOf(message.value),
});

/** A member of the group: notes what it sees, commits now and then. */
const joinGroup = (
  session: KafkajsSession,
  dice: Dice,
  { topic, ledger, groupId }: Cycle & { groupId: string },
): Promise<Subscription> =>
  session.subscribe(topic, {
    groupId,
    autoCommit: false,
    onMessage: async (received, consumer) => {
      const { partition, offset } = heldRecord(received);
      ledger.see(heldRecord(received));
      if (!dice.chance(commitShare)) return;
      ledger.commitSent(partition, offset + 1);
      await consumer.commitOffsets([{ topic, partition, offset: String(offset + 1) }]).then(
        () => ledger.commitAnswered(partition, offset + 1),
        // Fenced by a rebalance, or the broker was gone for too long: nothing was promised.
        () => {},
      );
    },
  });

/** All records of the topic, by a reader that knows nothing of earlier ones. */
const readAll = async (session: KafkajsSession, topic: string): Promise<HeldRecord[]> => {
  const admin = await session.admin();
  const ends = await admin.fetchTopicOffsets(topic);
  const count = ends.reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0);
  const reader = await session.subscribe(topic);
  const received = await reader.waitForCount(count);
  assert.equal(received.length, count, `${topic} holds as many records as it says`);
  return received.map(heldRecord);
};

const committedOffsets = async (session: KafkajsSession, groupId: string, topic: string): Promise<number[]> => {
  const admin = await session.admin();
  const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
  const offsets = Array.from({ length: partitionCount }, () => 0);
  for (const { partition, offset } of found!.partitions) offsets[partition] = Math.max(0, Number(offset));
  return offsets;
};

const nextAcknowledgement = (ledger: KafkaLedger): Promise<void> =>
  new Promise((resolve) => {
    ledger.onAcknowledged = resolve;
  });

/** @throws AssertionError when the broker broke a promise */
export const checkKafkaLoss = async ({ cycles, seed, shardCount }: LossRun): Promise<LossResult> => {
  const dice = new Dice(seed);
  const broker = await startBrokerUnderTest([`shards=${shardCount}`]);
  const senders = new Senders(broker.kafka, dice);
  const earlier: Cycle[] = [];
  let promisedCount = 0;
  let cutRecoveryCount = 0;
  try {
    for (let number = 0; number < cycles; number++) {
      await using session = new KafkajsSession(broker.kafka);
      const cycle = {
        topic: await session.createTopic({ prefix: 'loss', partitions: partitionCount }),
        ledger: new KafkaLedger(new Array<number>(partitionCount).fill(0)),
        groupId: uniqueName('group'),
      };
      const { topic, ledger, groupId } = cycle;
      const members = await Promise.all(Array.from({ length: memberCount }, () => joinGroup(session, dice, cycle)));
      let isStopped = false;
      const sending = senders.run({ topic, partitionCount, ledger, isStopped: () => isStopped });
      sending.catch(() => {}); // awaited after the crash
      await within('the first acknowledgement', nextAcknowledgement(ledger));
      await delay(dice.between(loadMsMin, loadMsMax));
      // Half of them right behind an answer, where a promise that was made too early shows best.
      if (dice.chance(0.5)) await nextAcknowledgement(ledger);
      isStopped = true;
      await broker.kill();
      const answered = ledger.answeredCommits();
      cutRecoveryCount += await comeBack(broker, dice, number);
      await within('all sends to be answered', sending, settleDeadlineMs);
      await using reading = new KafkajsSession(broker.kafka);
      const committed = await committedOffsets(reading, groupId, topic);
      ledger.verifyCommits(answered, committed);
      ledger.verify(await readAll(reading, topic));
      const again = dice.pick(earlier);
      if (again !== undefined) again.ledger.verify(await readAll(reading, again.topic));
      // They have just come back and would take their time to leave.
      await Promise.all(members.map(({ crash }) => crash()));
      earlier.push(cycle);
      promisedCount += ledger.acknowledgedCount;
    }
  } finally {
    await senders[Symbol.asyncDispose]();
    await broker.stop();
  }
  return { promisedCount, cutRecoveryCount };
};
