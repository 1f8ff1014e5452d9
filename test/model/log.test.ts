// Random commits to logs, with reads, deletions, rolls of files and crashes, against an array per log.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Topic } from '../../src/broker/topic.ts';
import { builtInSubscription, type Log } from '../../src/log/log.ts';
import { Dice, forEachSeed, replayedSeed } from './dice.ts';
import { readLog } from './log-contents.ts';
import {
  assertSameLog,
  assertSameMessages,
  type Effect,
  type LogKey,
  type LogModel,
  type ModelCommit,
  type ObservedLog,
  World,
} from './log-model.ts';
import { encodeBatch } from './record-batch.ts';
import { type PublishedMessage, Stand, turn } from './stand.ts';

const seedCount = 12;
const operationCount = 300;
const queueNames = ['q1', 'q2', 'q3'] as const;
const topicNames = ['t1', 't2'] as const;
const partitionCount = { t1: 3, t2: 1 } as const;
const producerIds = [7, 8];

const churnBodyBytes = 10_000;
/** Many times what a checkpoint needs to become due. */
const churnRoundsMax = 200;

const queueProperties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };

const operations = {
  publish: 30,
  produce: 14,
  produceAgain: 6,
  produceWrong: 4,
  settle: 12,
  moveStart: 4,
  churn: 2,
  recreate: 2,
  read: 10,
  wait: 14,
  turn: 8,
  checkSegments: 14,
  restart: 1,
  crash: 3,
  crashAtCreation: 2,
} as const;

class LogTest {
  readonly #dice: Dice;
  readonly #stand: Stand;
  /** State at the last open, and the commits since then. */
  #base = new World();
  #commits: ModelCommit[] = [];
  /** All of them applied. */
  #world = new World();
  #logs = new Map<LogKey, Log>();
  #lastBody = 0;
  #lastIncarnation = 0;
  #seenCommitCount = 0;
  reclaimCount = 0;
  crashCount = 0;
  foldCount = 0;
  rewriteCount = 0;

  constructor(seed: number, shardCount: number) {
    this.#dice = new Dice(seed);
    this.#stand = new Stand(shardCount);
  }

  async run(): Promise<void> {
    await this.#stand.open();
    this.#seenCommitCount = 0;
    for (const name of [...queueNames, ...topicNames]) this.#create(name);
    for (let i = 0; i < operationCount; i++) await this.#step();
    await this.#stand.durable();
    await this.#crash();
    await this.#stand.broker.close();
  }

  async #step(): Promise<void> {
    const operation = this.#stand.broker.hasRoom ? this.#dice.weighted(operations) : 'makeRoom';
    switch (operation) {
      case 'publish':
        this.#publish();
        break;
      case 'produce':
        this.#produce();
        break;
      case 'produceAgain':
        this.#produceAgain();
        break;
      case 'produceWrong':
        this.#produceWrong();
        break;
      case 'settle':
        this.#settle();
        break;
      case 'moveStart':
        this.#moveStart();
        break;
      case 'churn':
        await this.#churn();
        break;
      case 'recreate':
        this.#recreate(this.#dice.pick([...queueNames, ...topicNames])!);
        break;
      case 'read':
        await this.#read();
        break;
      case 'wait':
        await this.#stand.durable();
        break;
      case 'turn':
        await turn();
        break;
      case 'checkSegments':
        await this.#checkSegments();
        break;
      case 'restart':
        await this.#stand.broker.close();
        await this.#reopen(this.#stand.broker.gate.current);
        break;
      case 'crash':
        await this.#crash();
        break;
      case 'crashAtCreation':
        await this.#crashAtCreation();
        break;
      case 'makeRoom':
        await this.#makeRoom();
        break;
    }
    this.#checkEnds();
  }

  /** Takes down what the operation committed: one commit for each shard that has effects. */
  #note(effects: readonly Effect[], shardOf: (effect: Effect) => number): void {
    const seen = this.#stand.commits.slice(this.#seenCommitCount).filter(({ background }) => background === undefined);
    this.#seenCommitCount = this.#stand.commits.length;
    const byShard = new Map<number, Effect[]>();
    for (const effect of effects) byShard.set(shardOf(effect), [...(byShard.get(shardOf(effect)) ?? []), effect]);
    assert.deepEqual(
      seen.map(({ shard }) => shard).sort(),
      [...byShard.keys()].sort(),
      `one commit per shard for ${JSON.stringify(effects).slice(0, 200)}`,
    );
    for (const { ticket, shard } of seen) {
      const commit = { ticket, shard, effects: byShard.get(shard)! };
      this.#commits.push(commit);
      for (const effect of commit.effects) this.#world.apply(effect);
    }
  }

  #noteInLogs(effects: readonly Effect[]): void {
    this.#note(effects, (effect) => ('log' in effect ? this.#world.logs.get(effect.log)!.shard : 0));
  }

  #create(name: (typeof queueNames | typeof topicNames)[number]): void {
    const { broker } = this.#stand;
    const isQueue = !(name in partitionCount);
    const { id, partitions: logs } = isQueue
      ? broker.vhost('/')!.declareQueue(name, queueProperties, undefined).topic
      : broker.createTopic({
          vhost: '/',
          name,
          partitions: partitionCount[name as keyof typeof partitionCount],
          config: new Map(),
        });
    this.#lastIncarnation++;
    const keys = logs.map((_, index) => `${name}#${this.#lastIncarnation}/${index}`);
    const shards = logs.map(({ store }) => store.shard.index);
    this.#note([{ kind: 'create', name, id, logs: keys, shards, isQueue }], () => 0);
    for (const [index, log] of logs.entries()) this.#logs.set(keys[index]!, log);
  }

  #recreate(name: (typeof queueNames | typeof topicNames)[number]): void {
    if (this.#world.names.has(name)) {
      const { broker } = this.#stand;
      const host = broker.vhost('/')!;
      const topic = host.topic(name);
      if (topic !== undefined) broker.deleteTopic(topic);
      else host.deleteQueue(name, { ifUnused: false, ifEmpty: false });
      this.#note([{ kind: 'delete', name }], () => 0);
      if (this.#dice.chance(0.3)) return;
    }
    // Without room nothing new is made.
    if (this.#stand.broker.hasRoom) this.#create(name);
  }

  #body(): string {
    this.#lastBody++;
    const lengthBytes = this.#dice.chance(0.1) ? this.#dice.below(4_000) : this.#dice.below(600);
    return `${this.#lastBody}:`.padEnd(lengthBytes, `${this.#lastBody} `);
  }

  #publish(): void {
    const messages: PublishedMessage[] = [];
    const effects: Effect[] = [];
    const transient = this.#dice.chance(0.25);
    for (let i = this.#dice.between(1, 6); i > 0; i--) {
      const keys = this.#dice.some([...this.#world.logs.keys()], 0.35);
      const body = this.#body();
      const isTransient = transient && this.#dice.chance(0.8);
      messages.push({ body, transient: isTransient, logs: keys.map((key) => this.#logs.get(key)!) });
      for (const log of keys) {
        effects.push({ kind: 'append', log, bodies: [body], transient: isTransient, producer: undefined });
      }
    }
    this.#stand.publish(messages);
    this.#noteInLogs(effects);
  }

  #produce(): void {
    const key = this.#dice.pick([...this.#world.logs.keys()]);
    if (key === undefined) return;
    const bodies = Array.from({ length: this.#dice.between(1, 5) }, () => this.#body());
    const id = this.#dice.chance(0.7) ? this.#dice.pick(producerIds) : undefined;
    const known = id === undefined ? undefined : this.#world.logs.get(key)!.producers.get(id);
    const isNewEpoch = this.#dice.chance(0.1);
    const last = known?.batches.at(-1);
    const producer = id !== undefined && {
      id,
      epoch: (known?.epoch ?? 0) + (isNewEpoch ? 1 : 0),
      sequence: last === undefined || isNewEpoch ? 0 : last.sequence + last.bodies.length,
    };
    const outcome = this.#stand.appendBatch(
      this.#logs.get(key)!,
      encodeBatch(bodies, Date.now(), producer || undefined),
    );
    assert.deepEqual(outcome, { kind: 'appended', baseOffset: this.#world.logs.get(key)!.messages.length });
    this.#noteInLogs([{ kind: 'append', log: key, bodies, transient: false, producer: producer || undefined }]);
  }

  /** A batch that the log has already: the answer is the offset of the first time. */
  #produceAgain(): void {
    for (const [key, { producers }] of this.#world.logs) {
      for (const [id, { epoch, batches }] of producers) {
        if (!this.#dice.chance(0.3)) continue;
        const { sequence, bodies, baseOffset } = this.#dice.pick(batches)!;
        const again = encodeBatch(bodies, Date.now(), { id, epoch, sequence });
        const outcome = this.#stand.appendBatch(this.#logs.get(key)!, again);
        assert.equal(outcome.kind, 'duplicate', `batch ${sequence} of producer ${id} in ${key}`);
        assert.equal(outcome.kind === 'duplicate' && outcome.baseOffset, baseOffset);
      }
    }
    this.#noteInLogs([]);
  }

  #produceWrong(): void {
    const key = this.#dice.pick([...this.#world.logs.keys()]);
    if (key === undefined) return;
    const log = this.#logs.get(key)!;
    const damaged = encodeBatch([this.#body()], Date.now());
    damaged[damaged.length - 1]! ^= 0x40;
    assert.equal(this.#stand.appendBatch(log, damaged).kind, 'corrupt');
    for (const [id, { epoch, batches }] of this.#world.logs.get(key)!.producers) {
      const last = batches.at(-1)!;
      const sequence = last.sequence + last.bodies.length;
      const gap = encodeBatch([this.#body()], Date.now(), { id, epoch, sequence: sequence + 1 });
      assert.equal(this.#stand.appendBatch(log, gap).kind, 'out-of-order-sequence');
      if (epoch === 0) continue;
      const stale = encodeBatch([this.#body()], Date.now(), { id, epoch: epoch - 1, sequence });
      assert.equal(this.#stand.appendBatch(log, stale).kind, 'stale-producer-epoch');
    }
    this.#noteInLogs([]);
  }

  /** Settles a range of a queue, perhaps with holes of what was settled before. */
  #settle(): void {
    const queues = [...this.#world.logs].filter(([, { isQueue, messages }]) => isQueue && messages.length > 0);
    const [key, model] = this.#dice.pick(queues) ?? [];
    if (key === undefined) return;
    const log = this.#logs.get(key)!;
    const { length } = model!.messages;
    const from = this.#dice.chance(0.5) ? log.startOffset : this.#dice.below(length);
    const to = Math.min(length, from + this.#dice.between(1, this.#dice.chance(0.2) ? length : 8));
    this.#settleRange(key, from, to);
  }

  #settleRange(key: LogKey, from: number, to: number): void {
    if (from >= to) return;
    const log = this.#logs.get(key)!;
    const queue = [...this.#stand.broker.vhost('/')!.queues].find((each) => each.log === log)!;
    for (let offset = from; offset < to; offset++) this.#stand.broker.ack(queue.subscription.parts[0]!, offset);
    this.#stand.broker.flushAcks();
    this.#noteInLogs([{ kind: 'settle', log: key, from, to }]);
  }

  /** Deletes from a log's start, perhaps in the middle of what was written together, perhaps nothing. */
  #moveStart(): void {
    const key = this.#dice.pick([...this.#world.logs.keys()]);
    if (key === undefined) return;
    const log = this.#logs.get(key)!;
    const length = log.durableEnd - log.startOffset;
    const offset = log.startOffset + (this.#dice.chance(0.2) ? length : this.#dice.below(length + 1));
    log.store.moveStart(log, offset);
    this.#noteInLogs([{ kind: 'start', log: key, offset }]);
    assert.ok(log.startOffset >= offset, `start of ${key}`);
  }

  /** Messages come and go in a queue until the shard gives a file back, whatever the other logs hold. */
  async #churn(): Promise<void> {
    const queues = [...this.#world.logs].filter(([, { isQueue }]) => isQueue).map(([key]) => key);
    const key = this.#dice.pick(queues);
    if (key === undefined) return;
    const log = this.#logs.get(key)!;
    const shardLog = log.store.shard.log;
    for (let round = 0, usedBytes = 0; shardLog.usedBytes >= usedBytes; round++) {
      assert.ok(round < churnRoundsMax, 'a file comes back while messages come and go');
      if (!this.#stand.broker.hasRoom) return;
      usedBytes = shardLog.usedBytes;
      const body = `${++this.#lastBody}:`.padEnd(churnBodyBytes, 'churn ');
      this.#stand.publish([{ body, transient: false, logs: [log] }]);
      this.#noteInLogs([{ kind: 'append', log: key, bodies: [body], transient: false, producer: undefined }]);
      this.#settleRange(key, log.startOffset, log.endOffset);
      await this.#stand.durable();
      await turn();
    }
    this.reclaimCount++;
  }

  /** All ends are known at once; what was told as durable is visible. */
  #checkEnds(): void {
    for (const [key, { messages }] of this.#world.logs) {
      const log = this.#logs.get(key)!;
      assert.equal(log.endOffset, messages.length, `end of ${key}`);
      assert.ok(log.durableEnd <= log.visibleEnd && log.visibleEnd <= log.endOffset);
    }
    const { durable } = this.#stand.broker.gate;
    const durableEnds = new Map<LogKey, number>();
    for (const [key, { messages }] of this.#base.logs) durableEnds.set(key, messages.length);
    for (const { ticket, effects } of this.#commits) {
      if (ticket > durable) break;
      for (const effect of effects) {
        if (effect.kind !== 'append') continue;
        durableEnds.set(effect.log, (durableEnds.get(effect.log) ?? 0) + effect.bodies.length);
      }
    }
    for (const [key, end] of durableEnds) {
      const log = this.#world.logs.has(key) ? this.#logs.get(key)! : undefined;
      if (log !== undefined) assert.ok(log.durableEnd >= end, `durable end of ${key}: ${log.durableEnd} < ${end}`);
    }
  }

  async #read(): Promise<void> {
    const key = this.#dice.pick([...this.#world.logs.keys()]);
    if (key === undefined) return;
    const log = this.#logs.get(key)!;
    const to = log.durableEnd;
    const from = log.startOffset + this.#dice.below(to - log.startOffset + 1);
    const expected = new Map<number, string>();
    this.#world.logs.get(key)!.messages.forEach((body, offset) => {
      if (body !== undefined && offset >= from && offset < to) expected.set(offset, body);
    });
    const read = await readLog(log, from, to);
    const acks = log.subscriptions.get(builtInSubscription);
    for (const offset of [...read.keys()]) if (acks?.has(offset) === true) read.delete(offset);
    assertSameMessages(key, read, expected);
  }

  /** What is begun by it may end among later operations. */
  async #checkSegments(): Promise<void> {
    this.#stand.checkSegments();
    for (let turns = this.#dice.below(40); turns > 0; turns--) await turn();
  }

  /** New messages are refused; deleting what is large brings the room back. */
  async #makeRoom(): Promise<void> {
    if (this.#dice.chance(0.7)) this.#thinOut();
    else for (const name of [...this.#world.names.keys()]) this.#recreate(name as (typeof topicNames)[number]);
    for (let commits = 0; !this.#stand.broker.hasRoom; commits++) {
      assert.ok(commits < 200, 'room comes back while commits that need none go on');
      for (const shard of this.#stand.broker.shards) shard.commitRiders();
      this.#seenCommitCount = this.#stand.commits.length;
      await this.#stand.durable();
      await turn();
      this.#stand.checkSegments();
    }
  }

  /** Little is left of any log. */
  #thinOut(): void {
    for (const key of this.#world.logs.keys()) {
      const log = this.#logs.get(key)!;
      const { isQueue } = this.#world.logs.get(key)!;
      for (let from = log.startOffset; isQueue && from < log.endOffset; ) {
        const to = Math.min(log.endOffset, from + this.#dice.between(10, 60));
        this.#settleRange(key, from, to);
        from = to + 1;
      }
      if (isQueue) continue;
      const offset = Math.max(log.startOffset, log.durableEnd - this.#dice.below(10));
      log.store.moveStart(log, offset);
      this.#noteInLogs([{ kind: 'start', log: key, offset }]);
    }
  }

  /** Creations may be lost while what was written to the new logs is not, and the other way about. */
  async #crashAtCreation(): Promise<void> {
    const name = this.#dice.pick(topicNames)!;
    this.#recreate(name);
    const keys = this.#world.names.get(name)?.logs ?? [];
    const message = { body: this.#body(), transient: false, logs: keys.map((key) => this.#logs.get(key)!) };
    this.#stand.publish([message]);
    this.#noteInLogs(
      keys.map((log) => ({ kind: 'append', log, bodies: [message.body], transient: false, producer: undefined })),
    );
    for (let turns = this.#dice.below(4); turns > 0; turns--) await turn();
    await this.#crash();
    if (!this.#world.names.has(name)) this.#create(name);
  }

  async #crash(): Promise<void> {
    this.crashCount++;
    const durable = this.#stand.broker.gate.durable;
    this.#stand.crash(this.#dice.below(0x1_0000_0000), this.#dice.chance(0.7) ? 'machine' : 'process');
    await this.#reopen(durable);
  }

  async #reopen(durableTicket: number): Promise<void> {
    this.foldCount += this.#stand.commits.filter(({ background }) => background === 'fold').length;
    this.rewriteCount += this.#stand.commits.filter(({ background }) => background === 'rewrite').length;
    await this.#stand.open();
    this.#seenCommitCount = 0;
    const catalog = this.#survivors(0, durableTicket, (world) => this.#assertCatalog(world));
    this.#logs = this.#foundLogs(catalog);
    const observed = new Map<LogKey, ObservedLog>();
    for (const [key, log] of this.#logs) {
      assert.equal(log.durableEnd, log.endOffset, 'what recovery finds is durable');
      const messages = await readLog(log, log.startOffset, log.endOffset);
      const acks = log.subscriptions.get(builtInSubscription);
      for (const offset of [...messages.keys()]) if (acks?.has(offset) === true) messages.delete(offset);
      observed.set(key, { startOffset: log.startOffset, endOffset: log.endOffset, messages });
    }
    const world = new World();
    for (const [name, destination] of catalog.names) world.names.set(name, destination);
    for (let shard = 0; shard < this.#stand.shardCount; shard++) {
      const survivors = this.#survivors(shard, durableTicket, (candidate) => {
        if (shard === 0) this.#assertCatalog(candidate);
        for (const [key, model] of candidate.logs) {
          if (model.shard === shard && observed.has(key)) assertSameLog(key, observed.get(key)!, model);
        }
      });
      for (const [key, model] of survivors.logs) {
        if (model.shard === shard && observed.has(key)) world.logs.set(key, model);
      }
    }
    this.#base = world;
    this.#world = world.clone();
    this.#commits = [];
    this.#checkProducers();
  }

  /** The world after all commits of the shard that were durable and as many more as it takes for `assertSame` to hold. */
  #survivors(shard: number, durableTicket: number, assertSame: (world: World) => void): World {
    const world = this.#base.clone();
    let firstError: unknown;
    const matches = (): World | undefined => {
      const candidate = world.clone();
      candidate.restart();
      try {
        assertSame(candidate);
        return candidate;
      } catch (error) {
        firstError ??= error;
        return undefined;
      }
    };
    const isCreation = ({ kind }: Effect): boolean => kind === 'create';
    for (const commit of this.#commits) {
      const isHere = commit.shard === shard;
      if (isHere && commit.ticket > durableTicket) {
        const found = matches();
        if (found !== undefined) return found;
      }
      // The creation of a log is a commit of shard 0, without which the log's own commits have no effect.
      for (const effect of commit.effects) if (isHere || isCreation(effect)) world.apply(effect);
    }
    const found = matches();
    if (found !== undefined) return found;
    throw new Error(`no beginning of the commits of shard ${shard} explains what was found`, { cause: firstError });
  }

  #assertCatalog(world: World): void {
    for (const name of [...queueNames, ...topicNames]) {
      assert.equal(this.#destination(name)?.id, world.names.get(name)?.id, `what is called ${name}`);
    }
  }

  /** The topic or queue of this name. */
  #destination(name: string): Topic | undefined {
    const host = this.#stand.broker.vhost('/')!;
    return host.topic(name) ?? host.queue(name)?.topic;
  }

  #foundLogs(catalog: World): Map<LogKey, Log> {
    const found = new Map<LogKey, Log>();
    for (const [name, { logs }] of catalog.names) {
      for (const [index, key] of logs.entries()) found.set(key, this.#destination(name)!.partitions[index]!);
    }
    return found;
  }

  #checkProducers(): void {
    for (const [key, model] of this.#world.logs) this.#checkProducersOf(key, model);
    this.#noteInLogs([]);
  }

  #checkProducersOf(key: LogKey, model: LogModel): void {
    for (const [id, { epoch, batches }] of model.producers) {
      for (const { sequence, bodies, baseOffset } of batches) {
        const again = encodeBatch(bodies, Date.now(), { id, epoch, sequence });
        const outcome = this.#stand.appendBatch(this.#logs.get(key)!, again);
        assert.equal(outcome.kind, 'duplicate', `batch ${sequence} of producer ${id} in ${key} after a restart`);
        assert.equal(outcome.kind === 'duplicate' && outcome.baseOffset, baseOffset);
      }
    }
  }
}

let rewriteCount = 0;

for (const shardCount of [1, 3]) {
  test(`logs agree with arrays through random commits, reads, deletions and crashes (${shardCount} shards)`, async () => {
    let reclaimCount = 0;
    let foldCount = 0;
    await forEachSeed(seedCount, async (seed) => {
      const run = new LogTest(seed, shardCount);
      await run.run();
      reclaimCount += run.reclaimCount;
      foldCount += run.foldCount;
      rewriteCount += run.rewriteCount;
    });
    if (replayedSeed() !== undefined) return;
    assert.ok(reclaimCount > 0, 'files are given back in these runs');
    assert.ok(foldCount > 0, 'messages are folded in these runs');
  });
}

console.log;
test('segments are written anew in these runs', () => {
  if (replayedSeed() === undefined) assert.ok(rewriteCount > 0);
});
