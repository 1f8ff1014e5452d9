// Whoever creates and deletes: queues, topics, subscriptions, exchanges, bindings, and records.
import assert from 'node:assert/strict';
import { LogModel } from './log-model.ts';
import { type BindingName, type Destination, type DestinationKind, type ExchangeName, exchangeTypes } from './model.ts';
import { PartModel } from './part-model.ts';
import { routingKeys } from './publisher.ts';
import { agedTopic, agedTopicMs, replayedMs, replayedQueue, type World } from './world.ts';

const queueNames = ['work', 'mail', 'jobs', replayedQueue] as const;
const partitionCounts: Readonly<Record<string, number>> = { events: 3, [agedTopic]: 1 };
/** Queues that subscribe a topic: which, and from where on. */
const subscriptions: Readonly<Record<string, { readonly topic: string; readonly start: 'first' | 'next' }>> = {
  audit: { topic: 'events', start: 'first' },
  tail: { topic: 'events', start: 'next' },
  recent: { topic: agedTopic, start: 'first' },
};
const agesMs: Readonly<Record<string, number>> = { [agedTopic]: agedTopicMs, [replayedQueue]: replayedMs };
const patterns = ['#', 'a.#', 'a.b', 'b'];

const kindOf = (name: string): DestinationKind =>
  name in partitionCounts ? 'topic' : name in subscriptions ? 'subscription' : 'queue';

const allNames: readonly string[] = [...queueNames, ...Object.keys(partitionCounts), ...Object.keys(subscriptions)];

export class Administrator {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  createAll(): void {
    for (const name of Object.keys(exchangeTypes)) this.#declareExchange(name as ExchangeName);
    for (const name of allNames) this.create(name);
    for (let count = 0; count < 6; count++) this.bind();
  }

  /** Creates or deletes something. */
  change(): void {
    const { dice, model } = this.#world;
    if (dice.chance(0.15)) {
      const exchange = dice.pick(Object.keys(exchangeTypes) as ExchangeName[])!;
      if (model.exchanges.get(exchange)?.value === true) this.#deleteExchange(exchange);
      else this.#declareExchange(exchange);
      return;
    }
    const name = dice.pick(allNames)!;
    const existing = model.destination(name);
    if (existing === undefined) this.create(name);
    else this.delete(existing);
  }

  create(name: string): void {
    const kind = kindOf(name);
    const { model } = this.#world;
    if (model.destination(name) !== undefined) return;
    if (kind === 'subscription' && model.destination(subscriptions[name]!.topic) === undefined) return;
    const ticket = this.#make(() => {
      if (kind === 'topic') this.#createTopic(name);
      else this.#declareQueue(name);
    });
    if (ticket !== undefined) model.create(this.#observe(name, kind), ticket);
  }

  #createTopic(name: string): void {
    this.#world.broker.createTopic({ vhost: '/', name, partitions: partitionCounts[name]!, config: new Map() });
  }

  #declareQueue(name: string): void {
    const subscription = subscriptions[name];
    const args = {
      ...(subscription && { 'x-topic': subscription.topic, 'x-stream-offset': subscription.start }),
      ...(name === replayedQueue && { 'x-replay-retention': replayedMs }),
    };
    const properties = { durable: true, exclusive: false, autoDelete: false };
    const host = this.#world.broker.vhost('/')!;
    host.declareQueue(name, { ...properties, arguments: new Map(Object.entries<string | number>(args)) }, undefined);
  }

  /** Models of what was just created. */
  #observe(name: string, kind: DestinationKind): Destination {
    const { model } = this.#world;
    const id = identify(this.#world, name)!;
    if (kind === 'subscription') {
      const { topic, start } = subscriptions[name]!;
      const { logs } = model.destination(topic)!;
      const parts = logs.map((log) => new PartModel(log, start === 'next' ? log.end : log.toldStart));
      return { name, kind, id, logs, parts };
    }
    const logs = this.#world.logsOf({ name, kind }).map((log, index) => {
      assert.equal(log.endOffset, 0, `${name} is new`);
      return new LogModel({
        name: `${name}/${index}`,
        shard: log.store.shard.index,
        isQueue: kind === 'queue',
        ageMs: agesMs[name] ?? (kind === 'queue' ? 0 : Number.POSITIVE_INFINITY),
      });
    });
    return { name, kind, id, logs, parts: kind === 'queue' ? [new PartModel(logs[0]!, 0)] : [] };
  }

  delete(destination: Destination): void {
    const { broker, model } = this.#world;
    const host = broker.vhost('/')!;
    const { name, kind } = destination;
    const ticket = this.#commit(() => {
      if (kind === 'topic') broker.deleteTopic(host.topic(name)!);
      else host.deleteQueue(name, { ifUnused: false, ifEmpty: false });
    });
    if (ticket !== undefined) model.delete(destination, ticket);
  }

  #declareExchange(name: ExchangeName): void {
    const properties = { type: exchangeTypes[name], durable: true, autoDelete: false, internal: false };
    const ticket = this.#make(() =>
      this.#world.broker.vhost('/')!.declareExchange(name, { ...properties, arguments: new Map() }),
    );
    if (ticket !== undefined) this.#world.model.setExchange(name, true, ticket);
  }

  #deleteExchange(name: ExchangeName): void {
    const ticket = this.#commit(() => this.#world.broker.vhost('/')!.deleteExchange(name, { ifUnused: false }));
    if (ticket !== undefined) this.#world.model.setExchange(name, false, ticket);
  }

  bind(): void {
    const { dice, model } = this.#world;
    const exchange = dice.pick(Object.keys(exchangeTypes) as ExchangeName[])!;
    const destination = dice.pick(model.destinations.filter(({ kind }) => kind !== 'subscription'));
    if (destination === undefined || model.exchanges.get(exchange)?.value !== true) return;
    const key = exchange === 'words' ? dice.pick(patterns)! : dice.pick(routingKeys)!;
    const binding = { exchange, key, destination: destination.name };
    const isBound = model.hasBinding(binding);
    const change = (): void => this.#changeBinding(binding, destination.kind, isBound);
    const ticket = isBound ? this.#commit(change) : this.#make(change);
    if (ticket !== undefined) model.setBinding(binding, !isBound, ticket);
  }

  #changeBinding({ exchange, key, destination }: BindingName, kind: DestinationKind, isBound: boolean): void {
    const host = this.#world.broker.vhost('/')!;
    if (kind === 'queue') {
      const queue = host.queue(destination)!;
      if (isBound) host.unbindQueue(queue, exchange, key, new Map());
      else host.bindQueue(queue, exchange, key, new Map());
    } else {
      const topic = host.topic(destination)!;
      if (isBound) host.unbindTopic(topic, exchange, key, new Map());
      else host.bindTopic(topic, exchange, key, new Map());
    }
  }

  purge(): void {
    const { dice, model, broker } = this.#world;
    const destination = dice.pick(model.destinations.filter(({ kind }) => kind !== 'topic'));
    if (destination === undefined) return;
    const queue = this.#world.queue(destination.name)!;
    const starts = queue.subscription.parts.map(({ log }) => log.startOffset);
    const ready = destination.parts.map((part, index) => part.ready(starts[index]!));
    let count = -1;
    this.#world.ask(() => {
      count = broker.vhost('/')!.purgeQueue(queue);
    });
    for (const [index, part] of destination.parts.entries()) for (const offset of ready[index]!) part.settle(offset);
    if (count < 0) return;
    assert.equal(count, ready.flat().length, `messages purged from ${destination.name}`);
    for (const part of destination.parts) part.noteFlushed(broker.gate.current);
  }

  /** DeleteRecords. */
  deleteRecords(): void {
    const { dice, model } = this.#world;
    const logModel = dice.pick(model.logs.filter(({ isQueue }) => !isQueue));
    if (logModel === undefined) return;
    const log = this.#world.logOf(logModel);
    const offset = log.startOffset + dice.below(log.durableEnd - log.startOffset + 1);
    const tickets = this.#world.commitsOf(() => log.store.moveStart(log, offset));
    const ticket = tickets.get(logModel.shard);
    if (ticket === undefined) return;
    logModel.noteToldEnd(log.durableEnd);
    logModel.moveStart(offset, ticket);
    this.#world.trace.note(`delete below ${offset} in ${logModel.name}`);
  }

  /** Like #commit, for what is new: it is refused when, and only when, there is no room. */
  #make(action: () => void): number | undefined {
    if (this.#world.broker.hasRoom) return this.#commit(action);
    assert.throws(() => this.#world.commitsOf(action), { kind: 'storage-full' });
    this.#world.trace.note('refused for want of room');
    return undefined;
  }

  /** Ticket of a change of the catalog; undefined if it was not made. */
  #commit(action: () => void): number | undefined {
    return this.#world.commitsOf(action).get(0);
  }
}

/** Tells apart what has had the same name; undefined: it is not there. */
export const identify = (world: World, name: string): string | undefined => {
  if (kindOf(name) === 'topic') return world.topic(name)?.id;
  const queue = world.queue(name);
  if (queue === undefined) return undefined;
  const { id } = queue.topic;
  return queue.log !== undefined ? id : `${queue.subscription.parts[0]!.subscriptionId} of ${id}`;
};
