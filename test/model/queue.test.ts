// Random work on queues and subscriptions of a topic, with consumers of every kind and crashes, against naive lists.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Delivery, Sink } from '../../src/broker/queues/delivery.ts';
import type { Queue } from '../../src/broker/queues/queue.ts';
import type { SubscriptionPart } from '../../src/broker/queues/subscription-part.ts';
import type { Log } from '../../src/log/log.ts';
import { Dice, forEachSeed } from './dice.ts';
import { readLog } from './log-contents.ts';
import { PartModel, type QueuedMessage } from './queue-model.ts';
import { encodeBatch } from './record-batch.ts';
import { type PublishedMessage, Stand, turn } from './stand.ts';

const seedCount = 12;
const operationCount = 260;
const ownQueues = ['q1', 'q2'] as const;
const subscriptions = { all: 'first', fromNow: 'next' } as const;
const topicName = 'events';
const partitionCount = 3;
const consumersMax = 6;

const operations = {
  publish: 24,
  produce: 8,
  produceDamaged: 2,
  attach: 5,
  detach: 4,
  credit: 12,
  ack: 16,
  requeue: 8,
  get: 8,
  purge: 1,
  recreate: 2,
  turn: 12,
  checkSegments: 8,
  settle: 8,
  crash: 3,
} as const;

/** Where the messages of one commit went. */
type FanOut = { readonly part: PartModel; readonly offset: number }[];

interface Out {
  readonly part: SubscriptionPart;
  readonly offset: number;
}

/** Bodies, whichever head wrote them. */
const bodyOf = (delivery: Delivery): string => String(delivery.message().body);

class Consumer implements Sink {
  readonly queueName: string;
  readonly autoAck: boolean;
  readonly priority: number;
  readonly exclusive = false;
  credit: number;
  unacked: Out[] = [];
  isCancelled = false;
  readonly #onDelivery: (consumer: Consumer, delivery: Delivery) => void;

  constructor(
    options: { queueName: string; autoAck: boolean; priority: number; credit: number },
    onDelivery: (consumer: Consumer, delivery: Delivery) => void,
  ) {
    this.queueName = options.queueName;
    this.autoAck = options.autoAck;
    this.priority = options.priority;
    this.credit = options.credit;
    this.#onDelivery = onDelivery;
  }

  hasCredit(): boolean {
    return this.credit > 0;
  }

  deliver(delivery: Delivery): void {
    this.#onDelivery(this, delivery);
  }

  onDamaged(error: Error): void {
    throw error;
  }

  onCancelled(): void {
    this.isCancelled = true;
  }
}

class QueueTest {
  readonly #dice: Dice;
  readonly #stand: Stand;
  /** Parts by queue name, in the order of the partitions. */
  #models = new Map<string, PartModel[]>();
  #consumers: Consumer[] = [];
  /** Deliveries of gets that are not settled. */
  #gotten: Out[] = [];
  #pendingGets = 0;
  /** Settled, and not known to be committed. */
  #settling: QueuedMessage[] = [];
  /** By commit: the messages that are in the log together or not at all. */
  #fanOuts: FanOut[] = [];
  #deliveryCount = 0;
  #lastBody = 0;
  /** What a delivery found wrong; deliveries come from the broker's own loop. */
  #failure: unknown;
  #generation = 0;

  constructor(seed: number, shardCount: number) {
    this.#dice = new Dice(seed);
    this.#stand = new Stand(shardCount, 16 * 1024);
  }

  async run(): Promise<void> {
    await this.#stand.open();
    this.#stand.broker.createTopic({ vhost: '/', name: topicName, partitions: partitionCount, config: new Map() });
    for (const name of [...ownQueues, 'all', 'fromNow']) this.#declare(name);
    await this.#quiesce();
    for (let i = 0; i < operationCount; i++) await this.#step();
    await this.#drain();
    await this.#stand.broker.close();
  }

  async #step(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const operation = this.#dice.weighted(operations);
    switch (operation) {
      case 'publish':
        if (this.#stand.broker.hasRoom) this.#publish();
        return;
      case 'produce':
        if (this.#stand.broker.hasRoom) this.#produce();
        return;
      case 'produceDamaged':
        this.#produceDamaged();
        return;
      case 'attach':
        this.#attach();
        return;
      case 'detach':
        this.#detach();
        return;
      case 'credit':
        this.#giveCredit();
        return;
      case 'ack':
        this.#ack();
        return;
      case 'requeue':
        this.#requeue();
        return;
      case 'get':
        this.#get();
        return;
      case 'purge':
        await this.#purge();
        return;
      case 'recreate':
        await this.#recreate();
        return;
      case 'turn':
        await turn();
        return;
      case 'checkSegments':
        await this.#checkSegments();
        return;
      case 'settle':
        await this.#quiesce();
        this.#checkCounts(true);
        return;
      case 'crash':
        await this.#crash();
        return;
    }
  }

  /** What is begun by it may end among later operations. */
  async #checkSegments(): Promise<void> {
    this.#stand.checkSegments();
    for (let turns = this.#dice.below(40); turns > 0; turns--) await turn();
  }

  #queue(name: string): Queue {
    return this.#stand.broker.vhost('/')!.queue(name)!;
  }

  #model(part: SubscriptionPart): PartModel {
    for (const [name, models] of this.#models) {
      const index = this.#queue(name).subscription.parts.indexOf(part);
      if (index >= 0) return models[index]!;
    }
    throw new Error('a delivery from a queue that is gone');
  }

  get #topicLogs(): readonly Log[] {
    return this.#stand.broker.vhost('/')!.topic(topicName)!.partitions;
  }

  #declare(name: string): void {
    const args = name in subscriptions ? { 'x-topic': topicName, 'x-stream-offset': subscriptions[name as 'all'] } : {};
    const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map(Object.entries(args)) };
    const queue = this.#stand.broker.vhost('/')!.declareQueue(name, properties, undefined);
    const readsAll = name === 'all';
    const models = queue.subscription.parts.map(
      ({ log }) => new PartModel(log.store.shard.index, log.deletesOnAck, readsAll ? 0 : log.endOffset),
    );
    this.#models.set(name, models);
    if (!readsAll) return;
    // What the topic has already comes to a subscription that starts with the first message.
    for (const [index, log] of this.#topicLogs.entries()) {
      for (const { body, publishTicket } of this.#history.get(log.id) ?? []) {
        models[index]!.publish(body, false, publishTicket);
      }
    }
  }

  /** All that is in the topic, by log. */
  readonly #history = new Map<number, { readonly body: string; readonly publishTicket: number }[]>();

  #body(): string {
    this.#lastBody++;
    return `${this.#lastBody}:`.padEnd(this.#dice.chance(0.1) ? this.#dice.below(1800) : this.#dice.below(300), 'x');
  }

  /** The models that see what is appended to this log. */
  #readersOf(log: Log): PartModel[] {
    const readers: PartModel[] = [];
    for (const [name, models] of this.#models) {
      const index = this.#queue(name).subscription.parts.findIndex((part) => part.log === log);
      if (index >= 0) readers.push(models[index]!);
    }
    return readers;
  }

  #noteAppended(log: Log, body: string, transient: boolean, ticket: number): void {
    if (!log.deletesOnAck) {
      const history = this.#history.get(log.id) ?? [];
      this.#history.set(log.id, [...history, { body, publishTicket: ticket }]);
    }
    for (const reader of this.#readersOf(log)) reader.publish(body, transient, ticket);
  }

  get #allLogs(): Log[] {
    return [...ownQueues.map((name) => this.#queue(name).log!), ...this.#topicLogs];
  }

  #publish(): void {
    const isTransient = this.#dice.chance(0.3);
    const messages: PublishedMessage[] = Array.from({ length: this.#dice.between(1, 8) }, () => ({
      body: this.#body(),
      transient: isTransient && this.#dice.chance(0.8),
      logs: this.#dice.some(this.#allLogs, 0.4),
    }));
    const before = this.#stand.commits.length;
    this.#stand.publish(messages);
    const commits = this.#stand.commits.slice(before);
    for (const { shard, ticket } of commits) {
      const together: FanOut = [];
      for (const { body, transient, logs } of messages) {
        for (const log of logs.filter(({ store }) => store.shard.index === shard)) {
          this.#noteAppended(log, body, transient, ticket);
          if (transient || !log.deletesOnAck) continue;
          const [part] = this.#readersOf(log);
          together.push({ part: part!, offset: part!.endOffset - 1 });
        }
      }
      this.#fanOuts.push(together);
    }
  }

  #produce(): void {
    const log = this.#dice.pick(this.#allLogs)!;
    const bodies = Array.from({ length: this.#dice.between(1, 5) }, () => this.#body());
    const outcome = this.#stand.appendBatch(log, encodeBatch(bodies, Date.now()));
    assert.equal(outcome.kind, 'appended');
    for (const body of bodies) this.#noteAppended(log, body, false, this.#stand.broker.gate.current);
  }

  #produceDamaged(): void {
    const batch = encodeBatch([this.#body()], Date.now());
    batch[batch.length - 1]! ^= 1;
    assert.equal(this.#stand.appendBatch(this.#dice.pick(this.#allLogs)!, batch).kind, 'corrupt');
  }

  #attach(): void {
    if (this.#consumers.length >= consumersMax) return;
    const queueName = this.#dice.pick([...this.#models.keys()])!;
    const consumer = new Consumer(
      {
        queueName,
        autoAck: this.#dice.chance(0.3),
        priority: this.#dice.chance(0.2) ? 1 : 0,
        credit: this.#dice.below(8),
      },
      this.#deliveryHandler(),
    );
    this.#consumers.push(consumer);
    this.#queue(queueName).subscription.attach(consumer);
  }

  /** Ignores what a dead broker still does. */
  #deliveryHandler(): (consumer: Consumer, delivery: Delivery) => void {
    const generation = this.#generation;
    return (consumer, delivery) => {
      if (generation !== this.#generation || this.#failure !== undefined) return;
      try {
        assert.ok(consumer.credit > 0, 'delivered without credit');
        const better = this.#consumers.find(
          ({ queueName, credit, priority }) =>
            queueName === consumer.queueName && credit > 0 && priority > consumer.priority,
        );
        assert.equal(better, undefined, 'a consumer of higher priority has credit');
        consumer.credit--;
        this.#take(delivery, consumer.autoAck ? undefined : consumer.unacked);
      } catch (error) {
        this.#failure = error;
      }
    };
  }

  /** @param unacked undefined: settled at once */
  #take(delivery: Delivery, unacked: Out[] | undefined): void {
    this.#deliveryCount++;
    const { part, offset } = delivery;
    const model = this.#model(part);
    model.take({
      offset,
      body: bodyOf(delivery),
      redelivered: delivery.redelivered,
      ticket: this.#stand.broker.gate.current,
      isDurable: (ticket) => this.#stand.isDurable(ticket, part.log),
    });
    if (unacked === undefined) this.#settling.push(model.settle(offset));
    else unacked.push({ part, offset });
  }

  #giveCredit(): void {
    const consumer = this.#dice.pick(this.#consumers);
    if (consumer === undefined) return;
    consumer.credit += this.#dice.between(1, 10);
    this.#queue(consumer.queueName).subscription.creditAvailable();
  }

  /** Lists of what is out, of consumers and of gets. */
  get #holders(): { unacked: Out[] }[] {
    return [...this.#consumers, { unacked: this.#gotten }].filter(({ unacked }) => unacked.length > 0);
  }

  /** Takes some out of what is out: a beginning ("multiple"), or any in any order. */
  #takeOut(): Out[] {
    const holder = this.#dice.pick(this.#holders);
    if (holder === undefined) return [];
    const { unacked } = holder;
    const chosen = this.#dice.chance(0.4)
      ? unacked.slice(0, this.#dice.between(1, unacked.length))
      : this.#dice.shuffled(this.#dice.some(unacked, 0.4));
    const rest = unacked.filter((each) => !chosen.includes(each));
    unacked.splice(0, unacked.length, ...rest);
    return chosen;
  }

  #ack(): void {
    const { broker } = this.#stand;
    for (const { part, offset } of this.#takeOut()) {
      if (this.#dice.chance(0.2)) broker.discard(part, offset);
      else broker.ack(part, offset);
      this.#settling.push(this.#model(part).settle(offset));
    }
    if (this.#dice.chance(0.5)) this.#flushAcks();
  }

  #flushAcks(): void {
    const { broker } = this.#stand;
    broker.flushAcks();
    for (const message of this.#settling.splice(0)) message.settledTicket ??= broker.gate.current;
  }

  #giveBack(returned: readonly Out[]): void {
    for (const { part, offset } of returned) {
      this.#model(part).giveBack(offset);
      this.#stand.broker.requeue(part, offset);
    }
  }

  #requeue(): void {
    this.#giveBack(this.#takeOut());
  }

  /** The consumer leaves; what it had out comes back at once, or stays out as on a channel that lives on. */
  #detach(): void {
    const consumer = this.#dice.pick(this.#consumers);
    if (consumer === undefined) return;
    this.#consumers.splice(this.#consumers.indexOf(consumer), 1);
    this.#queue(consumer.queueName).subscription.detach(consumer);
    if (this.#dice.chance(0.6)) this.#giveBack(this.#dice.shuffled(consumer.unacked));
    else this.#gotten.push(...consumer.unacked);
  }

  #get(): void {
    const name = this.#dice.pick([...this.#models.keys()])!;
    const autoAck = this.#dice.chance(0.4);
    const generation = this.#generation;
    const models = this.#models.get(name)!;
    const { gate } = this.#stand.broker;
    const ticket = gate.current;
    this.#pendingGets++;
    this.#queue(name).subscription.get(autoAck, (delivery) => {
      if (generation !== this.#generation || this.#failure !== undefined) return;
      this.#pendingGets--;
      try {
        if (delivery !== undefined) {
          this.#take(delivery, autoAck ? undefined : this.#gotten);
          return;
        }
        if (this.#models.get(name) !== models) return;
        const missed = models.flatMap(({ messages }) =>
          messages.filter(({ state, publishTicket }) => state === 'ready' && publishTicket <= ticket),
        );
        assert.deepEqual(missed, [], 'a get finds what was published before it');
      } catch (error) {
        this.#failure = error;
      }
    });
  }

  async #purge(): Promise<void> {
    const name = this.#dice.pick([...this.#models.keys()])!;
    if (this.#dice.chance(0.5)) await this.#quiesce();
    this.#flushAcks();
    const purged = this.#stand.broker.vhost('/')!.purgeQueue(this.#queue(name));
    let expected = 0;
    for (const model of this.#models.get(name)!) expected += model.purge(this.#stand.broker.gate.current);
    assert.equal(purged, expected, `messages purged from ${name}`);
    this.#checkCounts(false);
  }

  async #recreate(): Promise<void> {
    await this.#quiesce();
    const hasRoom = (): boolean => this.#stand.broker.hasRoom;
    if (!hasRoom()) return;
    const name = this.#dice.pick([...this.#models.keys()])!;
    const { parts } = this.#queue(name).subscription;
    const consumers = this.#consumers.filter(({ queueName }) => queueName === name);
    const expected = this.#models.get(name)!.reduce((sum, { readyCount }) => sum + readyCount, 0);
    const host = this.#stand.broker.vhost('/')!;
    assert.equal(host.deleteQueue(name, { ifUnused: false, ifEmpty: false }), expected);
    for (const consumer of consumers) assert.ok(consumer.isCancelled, 'a deleted queue cancels its consumers');
    this.#consumers = this.#consumers.filter(({ isCancelled }) => !isCancelled);
    this.#gotten = this.#gotten.filter(({ part }) => !parts.includes(part));
    this.#models.delete(name);
    if (this.#dice.chance(0.4)) await turn();
    while (!hasRoom()) await turn();
    this.#declare(name);
    // The restart that follows a declaration is checked only from where the declaration is durable.
    await this.#quiesce();
  }

  /** Until everything is durable and nobody delivers any more. */
  async #quiesce(): Promise<void> {
    this.#flushAcks();
    let seen = -1;
    const progress = (): number => this.#stand.broker.gate.current + this.#deliveryCount - this.#pendingGets;
    const isLoading = (): boolean =>
      [...this.#models.keys()].some((name) => this.#queue(name).subscription.parts.some((part) => part.isLoading));
    while (seen !== progress() || isLoading() || this.#pendingGets > 0) {
      if (this.#failure !== undefined) throw this.#failure;
      seen = progress();
      await this.#stand.durable();
      for (let turns = 3; turns > 0; turns--) await turn();
      this.#flushAcks();
    }
  }

  /** @param isQuiet nothing is left to be delivered to whoever wants it */
  #checkCounts(isQuiet: boolean): void {
    for (const [name, models] of this.#models) {
      const { subscription } = this.#queue(name);
      const sum = (count: (model: PartModel) => number): number =>
        models.reduce((total, model) => total + count(model), 0);
      assert.equal(
        subscription.unackedCount,
        sum(({ outCount }) => outCount),
        `unacked in ${name}`,
      );
      assert.equal(
        subscription.readyCount,
        sum(({ readyCount }) => readyCount),
        `ready in ${name}`,
      );
      const hungry = this.#consumers.some(({ queueName, credit }) => queueName === name && credit > 0);
      if (hungry && isQuiet) {
        assert.equal(subscription.readyCount, 0, `${name} has a consumer with credit and messages that wait`);
      }
    }
  }

  async #crash(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    // Settlements made in the last turn may be in a commit by now or not: nothing is known of them.
    const { durable } = this.#stand.broker.gate;
    const { commits } = this.#stand;
    this.#generation++;
    this.#stand.crash(this.#dice.below(0x1_0000_0000), this.#dice.chance(0.7) ? 'machine' : 'process');
    await this.#stand.open();
    const ends = new Map<PartModel, number>();
    for (const [name, models] of this.#models) {
      const queue = this.#queue(name);
      assert.ok(queue !== undefined, `${name} is lost`);
      for (const [index, model] of models.entries()) {
        const { log, acks } = queue.subscription.parts[index]!;
        const present = await readLog(log, acks.floor, log.endOffset);
        for (const offset of [...present.keys()]) if (acks.has(offset)) present.delete(offset);
        ends.set(model, log.endOffset);
        model.restart(present, log.endOffset, commits, durable);
      }
    }
    for (const fanOut of this.#fanOuts.splice(0)) {
      const kept = fanOut.filter(({ part }) => ends.has(part)).map(({ part, offset }) => offset < ends.get(part)!);
      assert.ok(new Set(kept).size <= 1, 'a commit was kept in part');
    }
    for (const log of this.#topicLogs) {
      const kept = (this.#history.get(log.id) ?? []).slice(0, log.endOffset);
      this.#history.set(
        log.id,
        kept.map(({ body }) => ({ body, publishTicket: 0 })),
      );
    }
    this.#consumers = [];
    this.#gotten = [];
    this.#settling = [];
    this.#pendingGets = 0;
    this.#checkCounts(true);
  }

  /** At the end everything comes out, once. */
  async #drain(): Promise<void> {
    await this.#quiesce();
    this.#checkCounts(true);
    for (const { unacked } of this.#holders) this.#giveBack(unacked.splice(0));
    for (const name of this.#models.keys()) {
      const consumer = new Consumer(
        { queueName: name, autoAck: true, priority: 2, credit: Number.POSITIVE_INFINITY },
        this.#deliveryHandler(),
      );
      this.#consumers.push(consumer);
      this.#queue(name).subscription.attach(consumer);
    }
    await this.#quiesce();
    this.#checkCounts(true);
    for (const [name, models] of this.#models) {
      for (const { readyCount } of models) assert.equal(readyCount, 0, `${name} is drained`);
    }
  }
}

for (const shardCount of [1, 3]) {
  test(`queues agree with lists through random consumers, settlements and crashes (${shardCount} shards)`, () =>
    forEachSeed(seedCount, (seed) => new QueueTest(seed, shardCount).run()));
}
