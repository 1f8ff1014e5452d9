// The end of a simulation: without faults every message comes out, every batch is acknowledged, retention does its work, and what
// is deleted is given back to the last byte.
import assert from 'node:assert/strict';
import { plainForm } from '../../src/broker/test-form.ts';
import type { Administrator } from './administrator.ts';
import type { Consumers } from './consumers.ts';
import type { GroupMembers } from './group-members.ts';
import type { IdempotentProducer } from './idempotent-producer.ts';
import type { Readers } from './readers.ts';
import { agedTopic, agedTopicMs, replayedMs, replayedQueue, type World } from './world.ts';

const settleMs = 5;
const memberTurnMs = 20;
const memberTurnsMax = 200;
/** Rounds in which the log is written around, more than once. */
const ballastRoundsMax = 80;

export class Ending {
  readonly #world: World;
  readonly #administrator: Administrator;
  readonly #consumers: Consumers;
  readonly #producers: readonly IdempotentProducer[];
  readonly #readers: Readers;
  readonly #members: GroupMembers;

  constructor(
    world: World,
    clients: {
      readonly administrator: Administrator;
      readonly consumers: Consumers;
      readonly producers: readonly IdempotentProducer[];
      readonly readers: Readers;
      readonly members: GroupMembers;
    },
  ) {
    this.#world = world;
    this.#administrator = clients.administrator;
    this.#consumers = clients.consumers;
    this.#producers = clients.producers;
    this.#readers = clients.readers;
    this.#members = clients.members;
  }

  async run(): Promise<void> {
    await this.#untilTrue(() => !this.#readers.areReading, 'what is being read');
    await this.#drain();
    await this.#untilTrue(() => this.#world.broker.hasRoom, 'room for new messages');
    for (const producer of this.#producers) producer.resend();
    await this.#untilTrue(() => this.#producers.every(({ isDone }) => isDone), 'the acknowledgement of all batches');
    await this.#drain();
    await this.#groupsWork();
    await this.#retentionWorks();
    await this.#everythingIsGivenBack();
  }

  async #untilTrue(isDone: () => boolean, what: string): Promise<void> {
    await this.#world.untilTrue(isDone, what);
    assert.equal(this.#world.failure, undefined, 'nothing fails without faults');
  }

  async #drain(): Promise<void> {
    const { model, clock } = this.#world;
    this.#consumers.vanishAll();
    this.#consumers.attachToAll();
    const isDrained = (): boolean =>
      model.destinations.every(({ kind, name, parts }) => {
        if (kind === 'topic') return true;
        const logs = this.#world.logsOf({ kind, name });
        return parts.every((part, index) => part.ready(logs[index]!.startOffset).length === 0);
      });
    await this.#untilTrue(isDrained, 'a delivery of all that waits');
    clock.advance(settleMs);
    this.#consumers.flush();
    await this.#world.until(this.#world.broker.gate.durableNow(), 'the settlements');
    for (const { kind, name } of model.destinations) {
      if (kind === 'topic') continue;
      const { readyCount, unackedCount } = this.#world.queue(name)!.subscription;
      assert.deepEqual({ readyCount, unackedCount }, { readyCount: 0, unackedCount: 0 }, `${name} is empty`);
    }
  }

  /** Whoever is silent is taken out, and those who come are in it. */
  async #groupsWork(): Promise<void> {
    for (let turns = 0; !this.#members.areStable; turns++) {
      assert.ok(turns < memberTurnsMax, 'a member gets its assignment');
      this.#members.act();
      this.#world.clock.advance(memberTurnMs);
      await this.#world.until(this.#world.broker.gate.durableNow(), 'the membership');
      await this.#world.step();
    }
  }

  async #retentionWorks(): Promise<void> {
    const logs = [
      ...(this.#world.topic(agedTopic)?.partitions ?? []),
      ...(this.#world.queue(replayedQueue)?.topic.partitions ?? []),
    ];
    this.#world.clock.advance(Math.max(agedTopicMs, replayedMs));
    await this.#untilTrue(
      () => logs.every(({ startOffset, endOffset }) => startOffset === endOffset),
      'the retention of all that is old',
    );
  }

  async #everythingIsGivenBack(): Promise<void> {
    const { model, broker } = this.#world;
    this.#consumers.vanishAll();
    for (const { name } of model.destinations) {
      const destination = model.destination(name);
      if (destination !== undefined) this.#administrator.delete(destination);
    }
    await this.#world.until(broker.gate.durableNow(), 'the deletions');
    for (const shard of broker.shards) {
      for (let rounds = 0; !(await this.#isEmpty(shard.index)); rounds++) {
        assert.ok(
          rounds < ballastRoundsMax,
          `shard ${shard.index} gives its files back: ${shard.log.usedBytes} bytes in use, segments ${shard.log.liveSegments}`,
        );
        await this.#writeBallast(shard.index);
      }
    }
  }

  /** One file of the log, no segment. */
  async #isEmpty(index: number): Promise<boolean> {
    const { broker, disk, walFileBytes } = this.#world;
    const { log } = broker.shards[index]!;
    if (log.usedBytes > walFileBytes || log.liveSegments.length > 0) return false;
    const names = await this.#world.until(disk.fileNames(index), 'the names of the files');
    return !names.some((name) => name.startsWith('segment-'));
  }

  /** A message that goes at once. */
  async #writeBallast(shard: number): Promise<void> {
    const { broker, walFileBytes } = this.#world;
    const name = `ballast ${shard}`;
    const existing = this.#world.topic(name);
    if (existing === undefined) await this.#untilTrue(() => broker.hasRoom, 'room for something new');
    const topic =
      existing ?? broker.createTopic({ vhost: '/', name, partitions: broker.shardCount, config: new Map() });
    const log = topic.partitions.find(({ store }) => store.shard.index === shard)!;
    const builder = broker.blockBuilder(broker.vhost('/')!);
    builder.begin(plainForm.id, broker.clock.now());
    builder.beginMessage();
    builder.piece(Buffer.alloc(walFileBytes / 4), 0, walFileBytes / 4);
    builder.deliver(log, builder.endMessage(), false);
    builder.commit();
    await this.#world.until(broker.gate.durableNow(), 'a message');
    log.store.moveStart(log, log.endOffset);
    await this.#world.until(broker.gate.durableNow(), 'its deletion');
    await this.#untilTrue(() => this.#world.disk.isIdle, 'the end of all work');
  }
}
