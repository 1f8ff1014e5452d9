// An idempotent producer, as Kafka's clients have it: batches with sequence numbers, sent again in order until they are
// acknowledged. Each is in the log once, however often it was sent.
import assert from 'node:assert/strict';
import { type AppendOutcome, appendBatch } from '../../src/log/append-batch.ts';
import { encodeBatch } from '../model/record-batch.ts';
import type { LogModel } from './log-model.ts';
import type { World } from './world.ts';

const inFlightMax = 5;
const epoch = 0;

interface SentBatch {
  readonly sequence: number;
  readonly bodies: readonly string[];
  readonly timestampMs: number;
  /** Where the log has it, or had it before a crash took it. */
  baseOffset: number;
  isAcknowledged: boolean;
}

/** Batches of one log, oldest first: those that are not acknowledged, and the last ones that are. */
interface Sequence {
  batches: SentBatch[];
  next: number;
}

export class IdempotentProducer {
  readonly #world: World;
  readonly #name: string;
  #id: number | undefined;
  #asksForId = false;
  readonly #sequences = new Map<LogModel, Sequence>();
  /** The connection is new: what is not acknowledged goes first. */
  #resendsFirst = false;
  #lastBody = 0;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#name = name;
  }

  restarted(): void {
    this.#asksForId = false;
    this.#resendsFirst = true;
  }

  /** All that it has sent to logs that are still there is acknowledged. */
  get isDone(): boolean {
    const { logs } = this.#world.model;
    return [...this.#sequences].every(
      ([log, { batches }]) => !logs.includes(log) || batches.every(({ isAcknowledged }) => isAcknowledged),
    );
  }

  produce(): void {
    if (this.#id === undefined) {
      this.#askForId();
      return;
    }
    if (this.#resendsFirst) {
      this.#resendsFirst = false;
      this.resend();
      return;
    }
    const { dice, model, broker } = this.#world;
    const log = dice.pick(model.logs);
    if (log === undefined || !broker.hasRoom) return;
    const sequence = this.#sequences.get(log) ?? { batches: [], next: 0 };
    this.#sequences.set(log, sequence);
    if (sequence.batches.filter(({ isAcknowledged }) => !isAcknowledged).length >= inFlightMax) return;
    const bodies = Array.from({ length: dice.between(1, 4) }, () =>
      `${this.#name} ${++this.#lastBody}:`.padEnd(dice.below(300), 'p'),
    );
    const { nowMs: timestampMs } = this.#world.clock;
    const batch = { sequence: sequence.next, bodies, timestampMs, baseOffset: -1, isAcknowledged: false };
    if (!this.#send(log, batch)) return;
    sequence.next += bodies.length;
    sequence.batches = [...sequence.batches.slice(-inFlightMax + 1), batch];
  }

  /** Sends everything remembered once more, as after a lost connection. */
  resend(): void {
    const { logs } = this.#world.model;
    for (const [log, { batches }] of this.#sequences) {
      // A deletion that a crash takes back brings the log back with all that it knows.
      if (!logs.includes(log)) continue;
      if (!this.#world.broker.hasRoom) {
        this.#resendsFirst = true;
        return;
      }
      for (const batch of batches) this.#send(log, batch);
    }
  }

  #askForId(): void {
    const { broker, model } = this.#world;
    if (this.#asksForId) return;
    this.#world.ask(() => {
      const id = broker.newProducerId();
      this.#asksForId = true;
      this.#world.whenTold(() => {
        assert.ok(!model.producerIds.has(id), `producer id ${id} was given twice`);
        model.producerIds.add(id);
        this.#id = id;
      });
    });
  }

  /** False if the storage failed before it was written. */
  #send(model: LogModel, batch: SentBatch): boolean {
    const log = this.#world.logOf(model);
    const { sequence, bodies, timestampMs } = batch;
    const bytes = encodeBatch(bodies, timestampMs, { id: this.#id!, epoch, sequence });
    const source = { lengthBytes: bytes.length, copyTo: (target: Buffer, at: number) => void bytes.copy(target, at) };
    const options = { nowMs: this.#world.clock.nowMs, stampsAppendTime: false, producersExpiredBeforeMs: 0 };
    let outcome: AppendOutcome | undefined;
    const tickets = this.#world.commitsOf(() => {
      outcome = appendBatch(log, source, options);
    });
    if (outcome === undefined) return false;
    const isThere = batch.baseOffset >= 0 && model.sent[batch.baseOffset]?.body === bodies[0];
    const what = `batch ${sequence} of ${this.#name} in ${model.name}`;
    this.#world.trace.note(`${what}: ${outcome.kind}`);
    assert.equal(outcome.kind, isThere ? 'duplicate' : 'appended', what);
    const { baseOffset } = outcome as Extract<AppendOutcome, { kind: 'appended' }>;
    if (isThere) {
      assert.equal(baseOffset, batch.baseOffset, `${what} has its offset`);
    } else {
      assert.ok(!batch.isAcknowledged, `${what} was acknowledged and is lost`);
      assert.equal(baseOffset, model.end, `${what} comes behind all that was sent`);
      model.append(
        bodies.map((body) => ({ body, timestampMs, transient: false })),
        tickets.get(model.shard)!,
      );
      batch.baseOffset = baseOffset;
    }
    this.#world.whenTold(() => {
      batch.isAcknowledged = true;
      model.noteToldEnd(baseOffset + bodies.length);
    });
    return true;
  }
}
