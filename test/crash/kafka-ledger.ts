// What the broker has promised about one topic, and what it holds after a crash, compared:
// - an acknowledged record is at the offset that the acknowledgement named;
// - every record is there once; those of one producer in one partition in the order of their sending;
// - an offset never holds another record than a reader has seen there, and what was seen is still there;
// - a committed offset is not behind one whose commit was answered, nor ahead of all that were sent.
import assert from 'node:assert/strict';

/** `producer/number`: numbers grow within one producer and partition. */
export type Identity = string;

export interface HeldRecord {
  readonly partition: number;
  readonly offset: number;
  readonly identity: Identity;
}

export const identityOf = (value: Buffer | null): Identity => {
  assert.ok(value !== null);
  return value.toString('utf8', 0, value.indexOf(' '));
};

export class KafkaLedger {
  /** Identities by offset, per partition, as acknowledged. */
  readonly #acknowledged: Map<number, Identity>[];
  readonly #seen: Map<number, Identity>[];
  /** The lowest and the highest offset that the group may be at. */
  readonly #committed: { answered: number; sent: number }[];
  readonly #firstOffsets: readonly number[];
  /** Noted where a client calls, which would swallow what is thrown, and told by verify(). */
  readonly #violations: string[] = [];
  acknowledgedCount = 0;
  onAcknowledged: () => void = () => {};

  /** @param firstOffsets where each partition begins, for this ledger */
  constructor(firstOffsets: readonly number[]) {
    this.#firstOffsets = firstOffsets;
    const partitionCount = firstOffsets.length;
    const perPartition = <T>(make: () => T): T[] => Array.from({ length: partitionCount }, make);
    this.#acknowledged = perPartition(() => new Map());
    this.#seen = perPartition(() => new Map());
    this.#committed = perPartition(() => ({ answered: 0, sent: 0 }));
  }

  acknowledge({ partition, offset, identity }: HeldRecord): void {
    const acknowledged = this.#acknowledged[partition]!;
    const before = acknowledged.get(offset);
    if (before !== undefined) {
      this.#violations.push(`offset ${offset} of partition ${partition} was given to ${before} and to ${identity}`);
    }
    acknowledged.set(offset, identity);
    this.acknowledgedCount++;
    this.onAcknowledged();
  }

  see({ partition, offset, identity }: HeldRecord): void {
    const seen = this.#seen[partition]!;
    const before = seen.get(offset);
    if (before === undefined) seen.set(offset, identity);
    else if (before !== identity) {
      this.#violations.push(`offset ${offset} of partition ${partition} held ${before} and now holds ${identity}`);
    }
  }

  commitSent(partition: number, offset: number): void {
    const committed = this.#committed[partition]!;
    committed.sent = Math.max(committed.sent, offset);
  }

  commitAnswered(partition: number, offset: number): void {
    const committed = this.#committed[partition]!;
    committed.answered = Math.max(committed.answered, offset);
  }

  /** What was answered so far, to compare with what is there later. */
  answeredCommits(): number[] {
    return this.#committed.map(({ answered }) => answered);
  }

  verifyCommits(answered: readonly number[], found: readonly number[]): void {
    for (const [partition, { sent }] of this.#committed.entries()) {
      const offset = found[partition]!;
      assert.ok(
        offset >= answered[partition]!,
        `partition ${partition}: committed ${answered[partition]}, found ${offset}`,
      );
      assert.ok(offset <= sent, `partition ${partition}: nobody committed more than ${sent}, found ${offset}`);
    }
  }

  /** @param held all records of the topic, each partition in order from its first offset */
  verify(held: readonly HeldRecord[]): void {
    assert.deepEqual(this.#violations, []);
    const found = this.#acknowledged.map(() => new Map<number, Identity>());
    const once = new Set<string>();
    const lastNumber = new Map<string, number>();
    for (const { partition, offset, identity } of held) {
      const where = `${identity} at ${offset} of partition ${partition}`;
      const inPartition = found[partition]!;
      assert.equal(
        offset,
        this.#firstOffsets[partition]! + inPartition.size,
        `offsets of partition ${partition} have no gap`,
      );
      inPartition.set(offset, identity);
      assert.ok(!once.has(identity), `${where} is there twice`);
      once.add(identity);
      const [producer, number] = identity.split('/');
      const stream = `${producer}/${partition}`;
      assert.ok(
        Number(number) > (lastNumber.get(stream) ?? -1),
        `${where} comes after number ${lastNumber.get(stream)}`,
      );
      lastNumber.set(stream, Number(number));
    }
    for (const [what, promised] of [
      ['acknowledged', this.#acknowledged],
      ['seen by a reader', this.#seen],
    ] as const) {
      const broken = promised.flatMap((records, partition) =>
        [...records]
          .filter(([offset, identity]) => found[partition]!.get(offset) !== identity)
          .map(([offset, identity]) => `${partition}/${offset}: ${identity}, not ${found[partition]!.get(offset)}`),
      );
      assert.deepEqual(broken, [], `records are not where they were ${what}`);
    }
  }
}
