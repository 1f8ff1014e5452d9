// What a queue on a topic has promised, and what its consumers see, compared while they work and after a crash:
// - a record is out at one consumer at a time, and what was acknowledged does not go out again in the same life;
// - a record whose acknowledgement was durable does not go out again after a crash either;
// - the first deliveries of a life come in the order of their offsets, per partition and consumer.
import assert from 'node:assert/strict';
import type { ConsumeMessage } from 'amqplib';
import type { Settlements } from './amqp-work.ts';
import { type HeldRecord, identityOf } from './kafka-ledger.ts';

/** `partition/offset` */
type Place = string;

/** The Kafka record that an AMQP message is. */
export const recordOf = ({ content, properties }: ConsumeMessage): HeldRecord => ({
  partition: Number(properties.headers!['x-partition']),
  offset: Number(properties.headers!['x-stream-offset']),
  identity: identityOf(content),
});

const placeOf = ({ partition, offset }: HeldRecord): Place => `${partition}/${offset}`;

/** Everything since the queue was last found empty. */
export class SubscriptionLedger {
  /** Acknowledged when they were last out; the broker may or may not know. */
  readonly acked = new Set<Place>();
  /** The broker answered something that was sent after their acknowledgement. */
  readonly surelyAcked = new Set<Place>();
  /** Noted where a client calls, which would swallow what is thrown, and told by verify(). */
  readonly violations: string[] = [];

  /**
   * @param all every record that the topic has now
   * @param left what the queue still holds, in the order in which it came
   */
  verify(all: readonly HeldRecord[], left: readonly HeldRecord[]): void {
    assert.deepEqual(this.violations, []);
    const identities = new Map(all.map((record) => [placeOf(record), record.identity]));
    const leftPlaces = new Set<Place>();
    const lastOffsets = new Map<number, number>();
    for (const record of left) {
      const place = placeOf(record);
      assert.equal(record.identity, identities.get(place), `${place} is the same for each queue`);
      assert.ok(record.offset > (lastOffsets.get(record.partition) ?? -1), `${place} is in its order`);
      lastOffsets.set(record.partition, record.offset);
      leftPlaces.add(place);
    }
    const lost = [...identities.keys()].filter((place) => !leftPlaces.has(place) && !this.acked.has(place));
    assert.deepEqual(lost, [], 'records that nobody acknowledged are gone');
    const back = [...leftPlaces].filter((place) => this.surelyAcked.has(place));
    assert.deepEqual(back, [], 'records are back whose acknowledgement was durable');
  }
}

/** The consumers of one queue, from a start of the broker to its death. */
export class BrokerLife implements Settlements {
  readonly #ledger: SubscriptionLedger;
  readonly #out = new Set<Place>();
  readonly #seen = new Set<Place>();
  readonly #acked = new Set<Place>();

  constructor(ledger: SubscriptionLedger) {
    this.#ledger = ledger;
  }

  get deliveredCount(): number {
    return this.#seen.size;
  }

  /** @param lastOffsets of the consumer, by partition: its first deliveries so far */
  delivered(message: ConsumeMessage, lastOffsets: Map<number, number>): void {
    const { violations, acked, surelyAcked } = this.#ledger;
    const record = recordOf(message);
    const place = placeOf(record);
    if (surelyAcked.has(place)) violations.push(`${place} came again, its acknowledgement was durable`);
    if (this.#acked.has(place)) violations.push(`${place} came again after its acknowledgement`);
    if (this.#out.has(place)) violations.push(`${place} is out twice`);
    if (this.#seen.has(place)) {
      if (!message.fields.redelivered) violations.push(`${place} came again and does not say so`);
    } else {
      const last = lastOffsets.get(record.partition) ?? -1;
      if (record.offset < last) violations.push(`${place} came after offset ${last}`);
      lastOffsets.set(record.partition, record.offset);
    }
    this.#seen.add(place);
    this.#out.add(place);
    acked.delete(place);
  }

  settling(message: ConsumeMessage): void {
    const place = placeOf(recordOf(message));
    this.#out.delete(place);
    this.#acked.add(place);
    this.#ledger.acked.add(place);
  }

  returning(message: ConsumeMessage): void {
    this.#out.delete(placeOf(recordOf(message)));
  }

  settled(message: ConsumeMessage): void {
    this.#ledger.surelyAcked.add(placeOf(recordOf(message)));
  }
}
