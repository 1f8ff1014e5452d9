// A queue with replay keeps what was settled for a time, for readers by offset, and loses nothing that was not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../log/log.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { type Broker, openBroker } from './broker.ts';
import { foldingLimits, isFolded, kib } from './folding-stand.ts';
import { FakeClock } from './groups/fake-clock.ts';
import type { HeaderValue } from './message.ts';
import type { Queue } from './queues/queue.ts';
import { plainForm } from './test-form.ts';

const minuteMs = 60_000;
const checkIntervalMs = 1_000;
const replayMs = 10 * minuteMs;

class Stand implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly #disk = new MemoryDisk();
  broker!: Broker;

  static async open(): Promise<Stand> {
    const stand = new Stand();
    await stand.open();
    return stand;
  }

  async open(): Promise<void> {
    this.broker = await openBroker({
      storage: new MemoryStorage(this.#disk),
      durability: 'sync',
      clock: this.clock,
      walLimits: foldingLimits,
      forms: [plainForm],
      retention: {
        policyOf: () => ({ ageMs: Number.POSITIVE_INFINITY, sizeBytes: Number.POSITIVE_INFINITY }),
        checkIntervalMs,
      },
    });
  }

  async restart(): Promise<void> {
    await this.broker.close();
    await this.open();
  }

  declare(name: string, args: Record<string, HeaderValue>): Queue {
    const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map(Object.entries(args)) };
    return this.broker.vhost('/')!.declareQueue(name, properties, undefined);
  }

  /** The queue of these tests, also after a restart. */
  get queue(): Queue {
    return this.broker.vhost('/')!.queue('work') ?? this.declare('work', { 'x-replay-retention': replayMs });
  }

  get log(): Log {
    return this.queue.log!;
  }

  async publish(log: Log, count: number, bodyBytes = 10): Promise<void> {
    for (let left = count; left > 0; left--) {
      const builder = this.broker.blockBuilder(this.broker.vhost('/')!);
      builder.begin(plainForm.id, this.clock.now());
      builder.beginMessage();
      builder.piece(Buffer.alloc(bodyBytes, 'm'), 0, bodyBytes);
      builder.deliver(log, builder.endMessage(), false);
      builder.commit();
    }
    await this.broker.gate.durableNow();
  }

  async settle(...offsets: number[]): Promise<void> {
    for (const offset of offsets) this.broker.ack(this.queue.subscription.parts[0]!, offset);
    this.broker.flushAcks();
    await this.broker.gate.durableNow();
  }

  /** Offsets that the index holds. */
  get held(): number[] {
    const { log } = this;
    const offsets: number[] = [];
    for (let entry = 0; entry < log.entryCount; entry++) {
      if (!log.entryIsLive(entry)) continue;
      for (let offset = log.entryFirstOffset(entry); offset < log.entryEndOffset(entry); offset++) offsets.push(offset);
    }
    return offsets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close();
  }
}

test('what is settled stays until its time is over, and is neither counted nor delivered', async () => {
  await using stand = await Stand.open();
  await stand.publish(stand.log, 2);
  stand.clock.advance(5 * minuteMs);
  await stand.publish(stand.log, 2);
  await stand.settle(0, 1, 2);
  assert.deepEqual([stand.log.startOffset, stand.queue.messageCount, stand.held], [0, 1, [0, 1, 2, 3]]);
  stand.clock.advance(5 * minuteMs + checkIntervalMs);
  assert.deepEqual([stand.log.startOffset, stand.held], [2, [2, 3]]);
  assert.equal(stand.broker.vhost('/')!.purgeQueue(stand.queue), 1);
  assert.deepEqual([stand.log.startOffset, stand.queue.messageCount, stand.held], [2, 0, [2, 3]]);
  stand.clock.advance(5 * minuteMs + checkIntervalMs);
  assert.deepEqual([stand.log.startOffset, stand.log.endOffset, stand.held, stand.log.sizeBytes], [4, 4, [], 0]);
});

test('what is not settled stays however old it is, and goes at once when it is settled late', async () => {
  await using stand = await Stand.open();
  await stand.publish(stand.log, 4);
  await stand.settle(0, 2);
  stand.clock.advance(replayMs + checkIntervalMs);
  assert.deepEqual([stand.log.startOffset, stand.held, stand.queue.messageCount], [1, [1, 3], 2]);
  await stand.settle(1);
  assert.deepEqual([stand.log.startOffset, stand.held], [3, [3]]);
  await stand.publish(stand.log, 1);
  await stand.settle(3, 4);
  assert.deepEqual([stand.log.startOffset, stand.held], [4, [4]]);
});

test('a restart keeps what is kept and what has gone, from the log, from a checkpoint and from segments', async () => {
  await using stand = await Stand.open();
  await stand.publish(stand.log, 3);
  await stand.settle(0, 2);
  stand.clock.advance(replayMs + checkIntervalMs);
  await stand.publish(stand.log, 3);
  await stand.settle(4, 5);
  const expected = [1, [1, 3, 4, 5], 2];
  const state = () => [stand.log.startOffset, stand.held, stand.queue.messageCount];
  assert.deepEqual(state(), expected);
  await stand.restart();
  assert.deepEqual(state(), expected, 'from the log');
  const ballast = stand.declare('ballast', {});
  while (!isFolded(stand.log)) {
    await stand.publish(ballast.log!, 1, 4 * kib);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(state(), expected, 'in a segment');
  await stand.restart();
  assert.deepEqual(state(), expected, 'from a segment');
  await stand.settle(1, 3);
  assert.deepEqual(state(), [3, [3, 4, 5], 0]);
  stand.clock.advance(replayMs + checkIntervalMs);
  assert.deepEqual(state(), [6, [], 0]);
});

test('the argument is a number of milliseconds, for queues of their own, and the same at each declaration', async () => {
  await using stand = await Stand.open();
  const refusal = (name: string, args: Record<string, HeaderValue>, message: string): void =>
    assert.throws(() => stand.declare(name, args), { message });
  const invalid = (reason: string): string => `invalid arg 'x-replay-retention' for queue 'q' in vhost '/': ${reason}`;
  refusal('q', { 'x-replay-retention': -1 }, invalid('{value_negative,-1}'));
  refusal('q', { 'x-replay-retention': '1000' }, invalid('{unacceptable_type,longstr}'));
  refusal('q', { 'x-replay-retention': 1.5 }, invalid('{unacceptable_type,double}'));
  refusal('q', { 'x-replay-retention': true }, invalid('{unacceptable_type,bool}'));
  refusal('q', { 'x-replay-retention': 2n ** 62n }, invalid('{value_too_big,4611686018427387904}'));
  stand.broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() });
  const reason = '"a subscription on a topic replays what the topic keeps"';
  refusal('q', { 'x-topic': 'events', 'x-replay-retention': 1000 }, invalid(reason));
  const { queue } = stand;
  assert.equal(stand.declare('work', { 'x-replay-retention': replayMs }), queue);
  assert.equal(stand.declare('work', { 'x-replay-retention': BigInt(replayMs) }), queue);
  const other = `inequivalent arg 'x-replay-retention' for queue 'work' in vhost '/': received`;
  refusal('work', {}, `${other} none but current is the value '${replayMs}' of type 'signedint'`);
});

test('with 0 nothing that is settled is kept', async () => {
  await using stand = await Stand.open();
  const { log, subscription } = stand.declare('plain', { 'x-replay-retention': 0 });
  await stand.publish(log!, 2);
  stand.broker.ack(subscription.parts[0]!, 0);
  stand.broker.flushAcks();
  assert.deepEqual([log!.startOffset, log!.entryCount], [1, 1]);
});
