// The loss checker for AMQP. Publishers with confirms and consumers that settle in any order work on a broker that is
// killed at a random moment, and now and then again while it recovers; then everything is drained and compared with what
// the broker had promised:
// - a confirmed message is there, unless its settlement was on the way;
// - a message whose settlement the broker had seen (a later synchronous command on that channel was answered) stays away;
// - a message that a consumer has seen exists: what is not durable is not delivered;
// - each message at most once, those of one publisher in order;
// - the copies of one publish in two queues are both there or both not.
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import amqplib, { type ConsumeMessage } from 'amqplib';
import { type BrokerUnderTest, startBrokerUnderTest } from '../clients/broker-under-test.ts';
import { waitFor } from '../clients/conditions.ts';
import { Dice } from '../model/dice.ts';
import { connectDoomed, drain, ignore, type Settlements, settleSome } from './amqp-work.ts';
import { comeBack, type LossResult, type LossRun } from './loss-run.ts';

const publisherCount = 3;
const consumerCount = 2;
/** Publishes of one publisher that are not confirmed yet. */
const windowMessages = 200;
const prefetchCount = 60;
const bodyBytesMax = 2000;
const loadMsMin = 100;
const loadMsMax = 700;
const exchange = 'loss';
/** The consumers work on this queue; nobody touches the other. */
const worked = 'loss.worked';
const untouched = 'loss.untouched';

/** What is known of the messages of one cycle. */
class Ledger implements Settlements {
  readonly confirmed = new Set<string>();
  /** A consumer has them or had them. */
  readonly seen = new Set<string>();
  readonly acked = new Set<string>();
  readonly surelyAcked = new Set<string>();

  settling(message: ConsumeMessage): void {
    this.acked.add(identityOf(message));
  }

  returning(): void {}

  settled(message: ConsumeMessage): void {
    this.surelyAcked.add(identityOf(message));
  }
}

const identityOf = ({ content }: ConsumeMessage): string => content.toString('utf8', 0, content.indexOf(' '));

class Load {
  readonly #ledger: Ledger;
  readonly #dice: Dice;
  readonly #url: string;
  readonly #cycle: number;
  #isStopped = false;

  constructor(options: { ledger: Ledger; dice: Dice; url: string; cycle: number }) {
    this.#ledger = options.ledger;
    this.#dice = options.dice;
    this.#url = options.url;
    this.#cycle = options.cycle;
  }

  async start(): Promise<void> {
    for (let consumer = 0; consumer < consumerCount; consumer++) await this.#consume();
    for (let publisher = 0; publisher < publisherCount; publisher++) await this.#publish(publisher);
    await waitFor('the first confirm', () => this.#ledger.confirmed.size > 0);
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #publish(publisher: number): Promise<void> {
    const connection = await connectDoomed(this.#url);
    const channel = await connection.createConfirmChannel();
    channel.on('error', ignore);
    connection.on('close', () => this.stop());
    const { confirmed } = this.#ledger;
    let sent = 0;
    let outstanding = 0;
    const send = (): void => {
      while (outstanding < windowMessages && !this.#isStopped) {
        const identity = `${this.#cycle}/${publisher}/${sent++}`;
        const body = Buffer.from(`${identity} ${'x'.repeat(this.#dice.below(bodyBytesMax))}`);
        outstanding++;
        channel.publish(exchange, 'any', body, { persistent: true }, (error) => {
          outstanding--;
          if (error !== null) return;
          // Also after the kill: what the broker sent before it died was promised.
          confirmed.add(identity);
          send();
        });
      }
    };
    send();
  }

  async #consume(): Promise<void> {
    const connection = await connectDoomed(this.#url);
    const channel = await connection.createChannel();
    channel.on('error', ignore);
    await channel.prefetch(prefetchCount);
    const unacked: ConsumeMessage[] = [];
    await channel.consume(worked, (message) => {
      if (message === null) return;
      this.#ledger.seen.add(identityOf(message));
      if (this.#isStopped) return;
      unacked.push(message);
      if (unacked.length < this.#dice.between(1, prefetchCount)) return;
      settleSome({ channel, queue: worked, unacked, dice: this.#dice }, this.#ledger);
    });
  }
}

const assertOnceAndInOrder = (queue: string, drained: readonly string[]): void => {
  const last = new Map<string, number>();
  for (const identity of drained) {
    const [cycle, publisher, number] = identity.split('/');
    const from = `${cycle}/${publisher}`;
    assert.ok(Number(number) > (last.get(from) ?? -1), `${identity} in ${queue} comes after ${from}/${last.get(from)}`);
    last.set(from, Number(number));
  }
};

const verify = (ledger: Ledger, inWorked: readonly string[], inUntouched: readonly string[]): void => {
  assertOnceAndInOrder(worked, inWorked);
  assertOnceAndInOrder(untouched, inUntouched);
  const leftWorked = new Set(inWorked);
  const leftUntouched = new Set(inUntouched);
  const lost = [...ledger.confirmed].filter((identity) => !leftUntouched.has(identity));
  assert.deepEqual(lost, [], `confirmed messages are missing in ${untouched}`);
  const phantoms = [...ledger.seen].filter((identity) => !leftUntouched.has(identity));
  assert.deepEqual(phantoms, [], 'messages were delivered that the crash undid');
  const unsettledLost = [...ledger.confirmed].filter((id) => !leftWorked.has(id) && !ledger.acked.has(id));
  assert.deepEqual(unsettledLost, [], `confirmed messages that nobody settled are missing in ${worked}`);
  const back = inWorked.filter((identity) => ledger.surelyAcked.has(identity));
  assert.deepEqual(back, [], `settled messages are back in ${worked}`);
  const halfPublished = [...inUntouched.filter((id) => !leftWorked.has(id) && !ledger.acked.has(id))];
  assert.deepEqual(halfPublished, [], `messages reached ${untouched} but not ${worked}`);
  const half = inWorked.filter((identity) => !leftUntouched.has(identity));
  assert.deepEqual(half, [], `messages reached ${worked} but not ${untouched}`);
};

/** @throws AssertionError when the broker broke a promise */
export const checkAmqpLoss = async ({ cycles, seed, shardCount }: LossRun): Promise<LossResult> => {
  const dice = new Dice(seed);
  const broker: BrokerUnderTest = await startBrokerUnderTest([`shards=${shardCount}`]);
  let promisedCount = 0;
  let cutRecoveryCount = 0;
  try {
    await declare(broker.amqp);
    for (let cycle = 0; cycle < cycles; cycle++) {
      const ledger = new Ledger();
      const load = new Load({ ledger, dice, url: broker.amqp, cycle });
      await load.start();
      await delay(dice.between(loadMsMin, loadMsMax));
      load.stop();
      await broker.kill();
      cutRecoveryCount += await comeBack(broker, dice, cycle);
      await verifyCycle(broker.amqp, ledger, cycle);
      promisedCount += ledger.confirmed.size;
    }
  } finally {
    await broker.stop();
  }
  return { promisedCount, cutRecoveryCount };
};

const declare = async (url: string): Promise<void> => {
  const connection = await amqplib.connect(url);
  const channel = await connection.createChannel();
  await channel.assertExchange(exchange, 'fanout', { durable: true });
  for (const queue of [worked, untouched]) {
    await channel.assertQueue(queue, { durable: true });
    await channel.bindQueue(queue, exchange, '');
  }
  await connection.close();
};

const verifyCycle = async (url: string, ledger: Ledger, cycle: number): Promise<void> => {
  const connection = await amqplib.connect(url);
  const channel = await connection.createChannel();
  const inWorked = (await drain(channel, worked)).map(identityOf);
  const inUntouched = (await drain(channel, untouched)).map(identityOf);
  await connection.close();
  // What earlier cycles drained is settled for good.
  const older = [...inWorked, ...inUntouched].filter((identity) => !identity.startsWith(`${cycle}/`));
  assert.deepEqual(older, [], 'messages of an earlier cycle are back');
  verify(ledger, inWorked, inUntouched);
};
