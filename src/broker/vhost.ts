/**
 * A virtual host: declares, binds, deletes and routes. Every operation decides on the state of now, commits and applies at
 * once; its reply waits at the gate. Whatever makes something new that is durable may be refused as 'storage-full'. Texts of
 * errors are those that RabbitMQ's users know.
 */
import { BrokerError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Catalog } from './catalog.ts';
import { bindingChange, type CatalogChange, exchangeChange, storeArguments } from './catalog-changes.ts';
import { fieldTypeName } from './field-type-name.ts';
import type { HeaderValue } from './message.ts';
import type { Queue, QueueProperties } from './queues/queue.ts';
import { replayRetentionArgument, whyNotMilliseconds } from './queues/queue-arguments.ts';
import {
  type Binding,
  type Destination,
  type DestinationKind,
  Exchange,
  type ExchangeProperties,
} from './routing/exchange.ts';
import { type ArgumentTable, isHeaderMatchMode, sameHeaderValue } from './routing/headers-match.ts';
import { type Route, Router } from './routing/router.ts';
import type { Topic } from './topic.ts';
import { isPredeclared, type VhostState } from './vhost-state.ts';

export interface VirtualHostOptions {
  readonly state: VhostState;
  readonly catalog: Catalog;
  readonly random: Random;
  /** Index of the shard that this host's queues live in. */
  readonly shardIndex: number;
}

export interface DeleteQueueOptions {
  readonly ifUnused: boolean;
  readonly ifEmpty: boolean;
}

/** Arguments that must be the same when a queue is declared again. */
const comparedQueueArguments = ['x-topic', 'x-stream-offset', replayRetentionArgument] as const;

export class VirtualHost {
  readonly name: string;
  readonly #state: VhostState;
  readonly #catalog: Catalog;
  readonly #random: Random;
  readonly #shardIndex: number;
  readonly #router: Router;

  constructor({ state, catalog, random, shardIndex }: VirtualHostOptions) {
    this.name = state.name;
    this.#state = state;
    this.#catalog = catalog;
    this.#random = random;
    this.#shardIndex = shardIndex;
    this.#router = new Router(state);
  }

  /** Routes of an older version must be asked for again. */
  get routingVersion(): number {
    return this.#state.routingVersion;
  }

  get queues(): Iterable<Queue> {
    return this.#state.queues.values();
  }

  /** Topics in the narrow sense, without queues. */
  get topics(): Iterable<Topic> {
    return this.#state.topics.values();
  }

  get exchanges(): Iterable<Exchange> {
    return this.#state.exchanges.values();
  }

  exchange(name: string): Exchange | undefined {
    return this.#state.exchanges.get(name);
  }

  queue(name: string): Queue | undefined {
    return this.#state.queues.get(name);
  }

  topic(name: string): Topic | undefined {
    return this.#state.topics.get(name);
  }

  /**
   * Where a message published to this exchange goes. Cached until bindings change, except for headers exchanges.
   * @throws BrokerError 'not-found' when there is no such exchange
   */
  route(exchange: string, routingKey: string, headers: () => ArgumentTable | undefined): Route {
    if (!this.#state.exchanges.has(exchange)) throw this.#noExchange(exchange);
    return this.#router.route(exchange, routingKey, headers);
  }

  /** @throws BrokerError 'not-equivalent' when it exists with other properties */
  declareExchange(name: string, properties: ExchangeProperties): Exchange {
    const existing = this.#state.exchanges.get(name);
    if (existing !== undefined) {
      this.#requireSameExchange(existing, properties);
      return existing;
    }
    this.#change([exchangeChange(this.name, new Exchange(name, properties))], properties.durable);
    return this.#state.exchanges.get(name)!;
  }

  /** Nothing happens when it does not exist. @throws BrokerError 'in-use', 'refused' for predeclared ones */
  deleteExchange(name: string, { ifUnused }: { ifUnused: boolean }): void {
    const exchange = this.#state.exchanges.get(name);
    if (isPredeclared(name))
      throw new BrokerError('refused', `deletion of system exchange '${name}' in vhost '${this.name}' not allowed`);
    if (exchange === undefined) return;
    if (ifUnused && exchange.bindingCount > 0)
      throw new BrokerError('in-use', `exchange '${name}' in vhost '${this.name}' in use`);
    const sources = this.#sourcesOf({ kind: 'exchange', name });
    this.#change([{ op: 'exchange-delete', vhost: this.name, name }], exchange.properties.durable);
    this.#deleteUnusedExchanges(sources);
  }

  bindExchange(destination: string, source: string, key: string, args: ArgumentTable): void {
    this.#requireExchange(source);
    this.#requireExchange(destination);
    this.#bind('bind', source, { destination: { kind: 'exchange', name: destination }, key, arguments: args });
  }

  unbindExchange(destination: string, source: string, key: string, args: ArgumentTable): void {
    this.#requireExchange(source);
    this.#requireExchange(destination);
    this.#bind('unbind', source, { destination: { kind: 'exchange', name: destination }, key, arguments: args });
  }

  /**
   * @param owner the connection, when the queue is to be exclusive
   * @throws BrokerError 'not-equivalent', 'locked', 'wrong-kind' when a topic has the name, 'not-found' and
   *   'invalid-argument' for the arguments x-topic and x-replay-retention
   */
  declareQueue(name: string, properties: QueueProperties, owner: object | undefined): Queue {
    const existing = this.#state.queues.get(name);
    if (existing !== undefined) {
      this.requireAccess(existing, owner);
      this.#requireSameQueue(existing, properties);
      return existing;
    }
    if (this.#state.topics.has(name)) {
      throw new BrokerError(
        'wrong-kind',
        `'${name}' in vhost '${this.name}' is a topic, not a queue: declare a queue with the argument x-topic to subscribe it`,
      );
    }
    const isKept = properties.durable && !properties.exclusive;
    const change: CatalogChange = {
      op: 'queue-create',
      vhost: this.name,
      name,
      id: this.#random.hex(16),
      durable: properties.durable,
      autoDelete: properties.autoDelete,
      exclusive: properties.exclusive,
      arguments: storeArguments(properties.arguments),
      source: this.#queueSource(name, properties.arguments, isKept),
    };
    this.#change([change], isKept, owner);
    return this.#state.queues.get(name)!;
  }

  /** Returns how many messages waited in it; 0 when it does not exist. @throws BrokerError 'in-use', 'not-empty', 'locked' */
  deleteQueue(name: string, { ifUnused, ifEmpty }: DeleteQueueOptions, owner?: object): number {
    const queue = this.#state.queues.get(name);
    if (queue === undefined) return 0;
    this.requireAccess(queue, owner);
    if (ifUnused && queue.subscription.consumerCount > 0) {
      throw new BrokerError('in-use', `queue '${name}' in vhost '${this.name}' in use`);
    }
    const { messageCount } = queue;
    if (ifEmpty && messageCount > 0)
      throw new BrokerError('not-empty', `queue '${name}' in vhost '${this.name}' not empty`);
    this.removeQueue(queue);
    return messageCount;
  }

  /** Deletes it, whoever uses it. */
  removeQueue(queue: Queue): void {
    const sources = this.#sourcesOf({ kind: 'queue', name: queue.name });
    this.#change([{ op: 'queue-delete', vhost: this.name, name: queue.name }], queue.isKept);
    this.#deleteUnusedExchanges(sources);
  }

  /** Returns how many messages it removed; those that are out stay. */
  purgeQueue(queue: Queue): number {
    return queue.subscription.purge();
  }

  bindQueue(queue: Queue, exchange: string, key: string, args: ArgumentTable): void {
    if (queue.log === undefined) {
      throw new BrokerError(
        'unsupported',
        `queue '${queue.name}' is a subscription on a topic: bind the topic '${queue.topic.name}' instead`,
      );
    }
    this.#bindTo('bind', { kind: 'queue', name: queue.name }, exchange, key, args);
  }

  unbindQueue(queue: Queue, exchange: string, key: string, args: ArgumentTable): void {
    this.#bindTo('unbind', { kind: 'queue', name: queue.name }, exchange, key, args);
  }

  /** An exchange may feed a topic as well as a queue. */
  bindTopic(topic: Topic, exchange: string, key: string, args: ArgumentTable): void {
    this.#bindTo('bind', { kind: 'topic', name: topic.name }, exchange, key, args);
  }

  unbindTopic(topic: Topic, exchange: string, key: string, args: ArgumentTable): void {
    this.#bindTo('unbind', { kind: 'topic', name: topic.name }, exchange, key, args);
  }

  /** The connection is gone: so are its exclusive queues. */
  releaseOwner(owner: object): void {
    for (const queue of [...this.#state.queues.values()]) {
      if (queue.owner === owner) this.removeQueue(queue);
    }
  }

  /** @throws BrokerError 'locked' when the queue is exclusive to another connection */
  requireAccess(queue: Queue, owner: object | undefined): void {
    if (!queue.properties.exclusive || queue.owner === owner) return;
    throw new BrokerError(
      'locked',
      `cannot obtain exclusive access to locked queue '${queue.name}' in vhost '${this.name}'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.`,
    );
  }

  #change(changes: readonly CatalogChange[], isKept: boolean, owner?: object): void {
    if (isKept) this.#catalog.commit(changes);
    else this.#catalog.applyTransient(changes, owner);
  }

  #noExchange(name: string): BrokerError {
    return new BrokerError('not-found', `no exchange '${name}' in vhost '${this.name}'`);
  }

  #requireExchange(name: string): Exchange {
    const exchange = this.#state.exchanges.get(name);
    if (exchange === undefined) throw this.#noExchange(name);
    return exchange;
  }

  #bindTo(
    op: 'bind' | 'unbind',
    destination: { kind: DestinationKind; name: string },
    source: string,
    key: string,
    args: ArgumentTable,
  ): void {
    this.#requireExchange(source);
    this.#bind(op, source, { destination, key, arguments: args });
  }

  #bind(op: 'bind' | 'unbind', sourceName: string, binding: Binding): void {
    const source = this.#requireExchange(sourceName);
    if (source.properties.type === 'headers' && op === 'bind') this.#requireMatchMode(binding);
    if (source.has(binding) === (op === 'bind')) return;
    const isKept = this.#state.keepsBinding(source, binding.destination);
    this.#change([bindingChange(op, this.name, sourceName, binding)], isKept);
    if (op === 'unbind') this.#deleteUnusedExchanges([source]);
  }

  #requireMatchMode(binding: Binding): void {
    const mode = binding.arguments.get('x-match');
    if (mode !== undefined && !isHeaderMatchMode(mode)) {
      throw new BrokerError(
        'invalid-argument',
        `Invalid x-match field value ${JSON.stringify(String(mode))}; expected all, any, all-with-x, or any-with-x`,
      );
    }
  }

  #sourcesOf(destination: Destination): Exchange[] {
    const isThis = ({ destination: { kind, name } }: Binding): boolean =>
      kind === destination.kind && name === destination.name;
    return [...this.#state.exchanges.values()].filter((exchange) => [...exchange.bindings].some(isThis));
  }

  /** Auto-delete exchanges that lost their last binding. */
  #deleteUnusedExchanges(candidates: readonly Exchange[]): void {
    for (const exchange of candidates) {
      const { autoDelete } = exchange.properties;
      if (autoDelete && exchange.bindingCount === 0 && this.#state.exchanges.get(exchange.name) === exchange) {
        this.deleteExchange(exchange.name, { ifUnused: false });
      }
    }
  }

  #queueSource(
    name: string,
    args: ArgumentTable,
    isKept: boolean,
  ): Extract<CatalogChange, { op: 'queue-create' }>['source'] {
    const topicName = args.get('x-topic');
    const replayRetention = args.get(replayRetentionArgument);
    const invalid = (argument: string, reason: string): BrokerError =>
      new BrokerError(
        'invalid-argument',
        `invalid arg '${argument}' for queue '${name}' in vhost '${this.name}': ${reason}`,
      );
    const whyNot = replayRetention === undefined ? undefined : whyNotMilliseconds(replayRetention);
    if (whyNot !== undefined) throw invalid(replayRetentionArgument, whyNot);
    if (topicName === undefined && args.has('x-stream-offset'))
      throw invalid('x-stream-offset', '"only a subscription has a start: x-topic is missing"');
    if (topicName === undefined) return this.#catalog.newLogAddresses(1, () => this.#shardIndex, !isKept)[0]!;
    if (replayRetention !== undefined)
      throw invalid(replayRetentionArgument, '"a subscription on a topic replays what the topic keeps"');
    if (typeof topicName !== 'string') throw invalid('x-topic', '"expected longstr"');
    const topic = this.#state.topics.get(topicName);
    if (topic === undefined) throw new BrokerError('not-found', `no topic '${topicName}' in vhost '${this.name}'`);
    const start = args.get('x-stream-offset') ?? 'first';
    if (start !== 'first' && start !== 'next') throw invalid('x-stream-offset', `"expected first or next"`);
    const floors = topic.partitions.map((log) => (start === 'first' ? log.startOffset : log.endOffset));
    return { topic: topicName, subscription: this.#catalog.newSubscriptionId(), floors };
  }

  #requireSameQueue(queue: Queue, wanted: QueueProperties): void {
    const current = queue.properties;
    const what = `queue '${queue.name}' in vhost '${this.name}'`;
    requireSame('durable', what, wanted.durable, current.durable);
    requireSame('auto_delete', what, wanted.autoDelete, current.autoDelete);
    requireSame('exclusive', what, wanted.exclusive, current.exclusive);
    for (const name of comparedQueueArguments) requireSameArgument(name, what, wanted.arguments, current.arguments);
  }

  #requireSameExchange(exchange: Exchange, wanted: ExchangeProperties): void {
    const current = exchange.properties;
    const what = `exchange '${exchange.name}' in vhost '${this.name}'`;
    requireSame('type', what, wanted.type, current.type);
    requireSame('durable', what, wanted.durable, current.durable);
    requireSame('auto_delete', what, wanted.autoDelete, current.autoDelete);
    requireSame('internal', what, wanted.internal, current.internal);
    requireSameArgument('alternate-exchange', what, wanted.arguments, current.arguments);
  }
}

const requireSame = (name: string, what: string, wanted: string | boolean, current: string | boolean): void => {
  if (wanted === current) return;
  throw new BrokerError(
    'not-equivalent',
    `inequivalent arg '${name}' for ${what}: received '${wanted}' but current is '${current}'`,
  );
};

const requireSameArgument = (name: string, what: string, wanted: ArgumentTable, current: ArgumentTable): void => {
  const received = wanted.get(name);
  const existing = current.get(name);
  if (sameHeaderValue(received, existing)) return;
  const show = (value: HeaderValue | undefined): string =>
    value === undefined ? 'none' : `the value '${String(value)}' of type '${fieldTypeName(value)}'`;
  throw new BrokerError(
    'not-equivalent',
    `inequivalent arg '${name}' for ${what}: received ${show(received)} but current is ${show(existing)}`,
  );
};
