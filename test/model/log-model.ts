// The log as an array: what every log must hold after any beginning of the commits that were made. Effects are folded
// into a world; a crash keeps, of each shard, all commits that were told as durable and perhaps some more, in order.
import assert from 'node:assert/strict';
import type { BatchProducer } from './record-batch.ts';

/** Names a log for good; ids of logs whose creation was lost may come again. */
export type LogKey = string;

const rememberedBatches = 5;

export interface ProducedBatch {
  readonly sequence: number;
  readonly bodies: readonly string[];
  readonly baseOffset: number;
}

export interface ProducerModel {
  readonly epoch: number;
  /** Oldest first, as many as the log remembers. */
  readonly batches: readonly ProducedBatch[];
}

export interface LogModel {
  readonly shard: number;
  readonly isQueue: boolean;
  /** A topic's; that of a queue follows from what is settled. */
  start: number;
  /** Bodies by offset; undefined: settled or deleted. */
  readonly messages: (string | undefined)[];
  readonly transientOffsets: Set<number>;
  readonly producers: Map<number, ProducerModel>;
}

export type Effect =
  | {
      readonly kind: 'create';
      readonly name: string;
      /** Another one for each creation under the same name. */
      readonly id: string;
      readonly logs: readonly LogKey[];
      readonly shards: readonly number[];
      readonly isQueue: boolean;
    }
  | { readonly kind: 'delete'; readonly name: string }
  | {
      readonly kind: 'append';
      readonly log: LogKey;
      readonly bodies: readonly string[];
      readonly transient: boolean;
      readonly producer: BatchProducer | undefined;
    }
  | { readonly kind: 'settle'; readonly log: LogKey; readonly from: number; readonly to: number }
  | { readonly kind: 'start'; readonly log: LogKey; readonly offset: number };

export interface ModelCommit {
  readonly ticket: number;
  readonly shard: number;
  readonly effects: readonly Effect[];
}

export class World {
  /** Topics and queues. */
  readonly names = new Map<string, { readonly id: string; readonly logs: readonly LogKey[] }>();
  readonly logs = new Map<LogKey, LogModel>();

  clone(): World {
    const world = new World();
    for (const [name, destination] of this.names) world.names.set(name, destination);
    for (const [key, log] of this.logs) {
      world.logs.set(key, {
        ...log,
        messages: [...log.messages],
        transientOffsets: new Set(log.transientOffsets),
        producers: new Map(log.producers),
      });
    }
    return world;
  }

  apply(effect: Effect): void {
    switch (effect.kind) {
      case 'create':
        this.names.set(effect.name, effect);
        effect.logs.forEach((key, index) => {
          const shard = effect.shards[index]!;
          this.logs.set(key, {
            shard,
            isQueue: effect.isQueue,
            start: 0,
            messages: [],
            transientOffsets: new Set(),
            producers: new Map(),
          });
        });
        return;
      case 'delete':
        for (const key of this.names.get(effect.name)!.logs) this.logs.delete(key);
        this.names.delete(effect.name);
        return;
      case 'append': {
        const log = this.logs.get(effect.log);
        if (log === undefined) return;
        const baseOffset = log.messages.length;
        if (effect.transient) for (const index of effect.bodies.keys()) log.transientOffsets.add(baseOffset + index);
        log.messages.push(...effect.bodies);
        if (effect.producer !== undefined) noteProduced(log, effect.producer, effect.bodies, baseOffset);
        return;
      }
      case 'settle': {
        const log = this.logs.get(effect.log);
        if (log === undefined) return;
        for (let offset = effect.from; offset < effect.to; offset++) log.messages[offset] = undefined;
        return;
      }
      case 'start': {
        const log = this.logs.get(effect.log);
        if (log === undefined) return;
        log.start = Math.max(log.start, effect.offset);
        log.messages.fill(undefined, 0, effect.offset);
        return;
      }
    }
  }

  /** What a restart leaves: queues lose what the protocol called transient. */
  restart(): void {
    for (const { isQueue, messages, transientOffsets } of this.logs.values()) {
      if (isQueue) for (const offset of transientOffsets) messages[offset] = undefined;
    }
  }
}

const noteProduced = (log: LogModel, producer: BatchProducer, bodies: readonly string[], baseOffset: number): void => {
  const known = log.producers.get(producer.id);
  const earlier = known?.epoch === producer.epoch ? known.batches : [];
  const batches = [...earlier, { sequence: producer.sequence, bodies, baseOffset }].slice(-rememberedBatches);
  log.producers.set(producer.id, { epoch: producer.epoch, batches });
};

/** Of a queue the first offset that is not settled. */
export const startOffsetOf = ({ isQueue, start, messages }: LogModel): number => {
  if (!isQueue) return start;
  const first = messages.findIndex((body) => body !== undefined);
  return first < 0 ? messages.length : first;
};

export interface ObservedLog {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly messages: ReadonlyMap<number, string>;
}

export const assertSameLog = (key: LogKey, observed: ObservedLog, model: LogModel): void => {
  assert.equal(observed.endOffset, model.messages.length, `end of ${key}`);
  assert.equal(observed.startOffset, startOffsetOf(model), `start of ${key}`);
  const expected = new Map<number, string>();
  model.messages.forEach((body, offset) => {
    if (body !== undefined) expected.set(offset, body);
  });
  assertSameMessages(key, observed.messages, expected);
};

export const assertSameMessages = (
  key: LogKey,
  observed: ReadonlyMap<number, string>,
  expected: ReadonlyMap<number, string>,
): void => {
  const summary = (messages: ReadonlyMap<number, string>): string[] =>
    [...messages].map(([offset, body]) => `${offset}: ${body.slice(0, 24)} (${body.length})`);
  assert.deepEqual(summary(observed), summary(expected), `messages of ${key}`);
  for (const [offset, body] of observed) assert.equal(body, expected.get(offset), `message ${offset} of ${key}`);
};
