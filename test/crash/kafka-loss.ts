// The loss checker for Kafka. Idempotent producers, compressing and not, and a consumer group that commits offsets work on
// a broker that is killed at a random moment. The producers live through the crash and send again what was not answered,
// as a client does; when they are done, everything is read anew and compared with the promises in the ledger.
// Each cycle has a topic of its own, so that a hundred cycles read their records once and not a hundred times; the topics
// of earlier cycles are looked at again by chance.
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { CompressionTypes, type Producer } from 'kafkajs';
import { startBrokerUnderTest } from '../clients/broker-under-test.ts';
import { uniqueName, within } from '../clients/conditions.ts';
import { KafkajsSession, type Received, type Subscription } from '../clients/kafkajs-session.ts';
import { Dice } from '../model/dice.ts';
import { type HeldRecord, identityOf, KafkaLedger } from './kafka-ledger.ts';

export interface LossRun {
  readonly cycles: number;
  readonly seed: number;
  readonly shardCount: number;
}

const partitionCount = 4;
const producerCount = 4;
const memberCount = 2;
const batchRecordsMax = 100;
const bodyBytesMax = 800;
const loadMsMin = 100;
const loadMsMax = 600;
const crashAgainShare = 0.2;
const commitShare = 0.05;
/** Sends that wait for the broker to come back, with the backoff of kafkajs. */
const settleDeadlineMs = 30_000;

const codecs = [CompressionTypes.None, CompressionTypes.GZIP];

interface Cycle {
  readonly topic: string;
  readonly ledger: KafkaLedger;
}

/** One producer; a send that failed for good leaves it behind, as its sequence numbers are in doubt then. */
class Sender {
  static #lastName = 0;
  readonly #session: KafkajsSession;
  readonly #dice: Dice;
  readonly #compression: CompressionTypes;
  #producer: Producer | undefined;
  #name = '';
  #sent = 0;

  constructor(session: KafkajsSession, dice: Dice, compression: CompressionTypes) {
    this.#session = session;
    this.#dice = dice;
    this.#compression = compression;
  }

  /** Sends until `isStopped`, one request at a time; resolves when the last one is answered. */
  async run({ topic, ledger }: Cycle, isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      if (this.#producer === undefined) {
        this.#producer = await this.#session.producer({ idempotent: true, maxInFlightRequests: 1 });
        this.#name = `p${++Sender.#lastName}`;
        this.#sent = 0;
      }
      await this.#send(this.#producer, topic, ledger).catch(() => {
        this.#producer = undefined;
      });
    }
  }

  async #send(producer: Producer, topic: string, ledger: KafkaLedger): Promise<void> {
    const identities = Array.from({ length: partitionCount }, (): string[] => []);
    const messages = Array.from({ length: this.#dice.between(1, batchRecordsMax) }, () => {
      const partition = this.#dice.below(partitionCount);
      const identity = `${this.#name}/${this.#sent++}`;
      identities[partition]!.push(identity);
      return { partition, value: `${identity} ${'x'.repeat(this.#dice.below(bodyBytesMax))}` };
    });
    const answers = await producer.send({ topic, acks: -1, compression: this.#compression, messages });
    // kafkajs throws what carries an error code.
    for (const { partition, baseOffset } of answers) {
      for (const [index, identity] of identities[partition]!.entries()) {
        ledger.acknowledge({ partition, offset: Number(baseOffset) + index, identity });
      }
    }
  }
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

/** Returns how many records were acknowledged. */
export const checkKafkaLoss = async ({ cycles, seed, shardCount }: LossRun): Promise<number> => {
  const dice = new Dice(seed);
  const broker = await startBrokerUnderTest([`shards=${shardCount}`]);
  const senderSession = new KafkajsSession(broker.kafka);
  const senders = Array.from(
    { length: producerCount },
    (_, index) => new Sender(senderSession, dice, codecs[index % codecs.length]!),
  );
  const earlier: Cycle[] = [];
  let acknowledgedCount = 0;
  try {
    for (let number = 0; number < cycles; number++) {
      await using session = new KafkajsSession(broker.kafka);
      const cycle = {
        topic: await session.createTopic({ prefix: 'loss', partitions: partitionCount }),
        ledger: new KafkaLedger(partitionCount),
        groupId: uniqueName('group'),
      };
      const { topic, ledger, groupId } = cycle;
      const members = await Promise.all(Array.from({ length: memberCount }, () => joinGroup(session, dice, cycle)));
      let isStopped = false;
      const sending = Promise.all(senders.map((sender) => sender.run(cycle, () => isStopped)));
      await within('the first acknowledgement', nextAcknowledgement(ledger));
      await delay(dice.between(loadMsMin, loadMsMax));
      // Half of them right behind an answer, where a promise that was made too early shows best.
      if (dice.chance(0.5)) await nextAcknowledgement(ledger);
      isStopped = true;
      await broker.kill();
      const answered = ledger.answeredCommits();
      await broker.restart();
      // What recovery wrote must be as good a start for the next one.
      if (dice.chance(crashAgainShare)) {
        await broker.kill();
        await broker.restart();
      }
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
      acknowledgedCount += ledger.acknowledgedCount;
    }
  } finally {
    await senderSession[Symbol.asyncDispose]();
    await broker.stop();
  }
  return acknowledgedCount;
};
