/**
 * The catalog: which topics, queues, exchanges and bindings there are. Durable state of shard 0; `apply` is the only code
 * that changes it. What does not survive a restart (exclusive and transient queues and what hangs on them) goes through the
 * same code without being stored.
 */
import { BrokerError } from '../core/errors.ts';
import { logId, type Position } from '../core/ids.ts';
import { builtInSubscription, firstTransientLogId, type Log } from '../log/log.ts';
import type { LogStore } from '../log/log-store.ts';
import { type ApplyPhase, type RecordType, recordType, type Shard, type StateOwner } from '../shard/shard.ts';
import type { Slice } from '../shard/sweep.ts';
import { type CatalogChange, type LogAddress, readArguments } from './catalog-changes.ts';
import { CatalogCheckpoint, changesOfPiece } from './catalog-checkpoint.ts';
import { Queue } from './queues/queue.ts';
import { replayRetentionMs } from './queues/queue-arguments.ts';
import { Subscription, type SubscriptionContext } from './queues/subscription.ts';
import { type Binding, type Destination, Exchange } from './routing/exchange.ts';
import { Topic } from './topic.ts';
import { VhostState } from './vhost-state.ts';

/** What is stored of it with every checkpoint. */
interface CatalogHead {
  readonly clusterId: string;
  readonly nextProducerId: number;
  readonly nextLogId: number;
  readonly nextSubscriptionId: number;
}

type Change<Op extends CatalogChange['op']> = Extract<CatalogChange, { op: Op }>;

export interface CatalogOptions {
  readonly stores: readonly LogStore[];
  /** For the volatile half of queues. */
  readonly subscriptions: SubscriptionContext;
  /** Changes that build on a lost one are passed over, and told; without it they are an error. */
  readonly onLoss?: ((what: string) => void) | undefined;
}

/** Producer ids are taken in such portions. */
export const producerIdPortion = 1000;
/** A record that gives out an id is not smaller, for each id. */
const bytesPerLostId = 16;

/** Changes that leave more behind than was there. */
const creatingOps: ReadonlySet<CatalogChange['op']> = new Set([
  'topic-create',
  'queue-create',
  'exchange-create',
  'bind',
] as const);

/** Of every queue; shared, as there may be many. */
const noConfig: ReadonlyMap<string, string> = new Map();

export class Catalog implements StateOwner {
  readonly recordTypes: readonly RecordType[] = [recordType.catalog, recordType.producerIds];
  readonly #shard: Shard;
  readonly #options: CatalogOptions;
  readonly vhosts = new Map<string, VhostState>();
  readonly topicsById = new Map<string, Topic>();
  readonly #checkpoint = new CatalogCheckpoint(this.vhosts);
  clusterId = '';
  nextProducerId = 0;
  #nextLogId = 1;
  #nextTransientLogId = firstTransientLogId;
  #nextSubscriptionId = 1;

  constructor(shard: Shard, options: CatalogOptions) {
    this.#shard = shard;
    this.#options = options;
    shard.register(this);
    this.vhosts.set('/', new VhostState('/'));
  }

  /** Topics and queues of all virtual hosts. */
  get topicCount(): number {
    let count = 0;
    for (const { topics, queues } of this.vhosts.values()) count += topics.size + queues.size;
    return count;
  }

  /**
   * Stores the changes as one commit and applies them.
   * @throws BrokerError 'storage-full' when there is no room for something new; what deletes and changes goes on
   */
  commit(changes: readonly CatalogChange[]): void {
    if (changes.length === 0) return;
    if (changes.some(({ op }) => creatingOps.has(op))) this.#requireRoom();
    this.#shard.commitRecord(recordType.catalog, 1, Buffer.from(JSON.stringify(changes)));
  }

  /** The room that is left is for what makes room: a client that declares for ever must not take it. */
  #requireRoom(): void {
    if (this.#options.stores.every(({ hasRoom }) => hasRoom)) return;
    throw new BrokerError(
      'storage-full',
      'the disk or the write-ahead log is full: nothing new can be made until there is room',
    );
  }

  /** Applies changes to what no restart keeps. `owner`: the connection that an exclusive queue belongs to. */
  applyTransient(changes: readonly CatalogChange[], owner?: object): void {
    this.#applyChanges(changes, owner);
  }

  /** Addresses for new logs. Taken for good when the change that names them is applied. */
  newLogAddresses(count: number, shardOf: (index: number) => number, isTransient: boolean): LogAddress[] {
    return Array.from({ length: count }, (_, index) => ({
      shard: shardOf(index),
      log: isTransient ? this.#nextTransientLogId++ : this.#nextLogId + index,
    }));
  }

  /**
   * All shards are open. A subscription that began at the end of another shard's log stands too high if that shard has
   * lost its last messages: offsets that come again would pass for settled. It is stored, as they will be there next time.
   */
  settleStarts(): void {
    const changes: CatalogChange[] = [];
    for (const vhost of this.vhosts.values()) {
      for (const { name, subscription } of vhost.queues.values()) {
        if (subscription.parts.every(({ log, acks }) => acks.startFloor <= log.endOffset)) continue;
        const floors = subscription.parts.map(({ log, acks }) => Math.min(acks.startFloor, log.endOffset));
        changes.push({ op: 'subscription-start', vhost: vhost.name, name, floors });
      }
    }
    this.commit(changes);
  }

  /** Ids up to this one stand in some shard's log, for a log whose creation never became durable. */
  skipLogIds(highest: number): void {
    this.#nextLogId = Math.max(this.#nextLogId, highest + 1);
  }

  /** The same for subscriptions. */
  skipSubscriptionIds(highest: number): void {
    this.#nextSubscriptionId = Math.max(this.#nextSubscriptionId, highest + 1);
  }

  /** Records of so many bytes are lost: ids that they may have given out are not given again. */
  acceptLoss(lostBytes: number): void {
    const idsMax = Math.ceil(lostBytes / bytesPerLostId);
    this.#nextLogId += idsMax;
    this.#nextSubscriptionId += idsMax;
    this.nextProducerId += idsMax * producerIdPortion;
  }

  newSubscriptionId(): number {
    return this.#nextSubscriptionId;
  }

  apply(
    type: number,
    _version: number,
    buffer: Buffer,
    start: number,
    end: number,
    _position: Position,
    phase: ApplyPhase,
  ): void {
    if (type !== recordType.catalog)
      throw new BrokerError('corrupt', `unexpected record of type ${type} in the catalog`);
    this.#checkpoint.note(buffer.subarray(start, end));
    const changes = JSON.parse(buffer.toString('utf8', start, end)) as CatalogChange[];
    if (phase === 'live') this.#applyChanges(changes, undefined);
    else this.#applyFound(changes);
  }

  /** If the record that a change builds on is lost, and that is accepted, it is passed over. */
  #applyFound(changes: readonly CatalogChange[]): void {
    for (const change of changes) {
      try {
        this.#applyChanges([change], undefined);
      } catch (error) {
        const { onLoss } = this.#options;
        if (onLoss === undefined || !(error instanceof BrokerError) || error.kind !== 'corrupt') throw error;
        onLoss(`${error.message}: a change of kind ${change.op} is passed over`);
      }
    }
  }

  head(): Buffer {
    const head: CatalogHead = {
      clusterId: this.clusterId,
      nextProducerId: this.nextProducerId,
      nextLogId: this.#nextLogId,
      nextSubscriptionId: this.#nextSubscriptionId,
    };
    return Buffer.from(JSON.stringify(head));
  }

  restoreHead(stored: Buffer): void {
    const head = JSON.parse(stored.toString()) as CatalogHead;
    this.clusterId = head.clusterId;
    this.nextProducerId = head.nextProducerId;
    this.#nextLogId = head.nextLogId;
    this.#nextSubscriptionId = head.nextSubscriptionId;
  }

  get needsBase(): boolean {
    return this.#checkpoint.needsBase;
  }

  beginCheckpoint(isBase: boolean): void {
    this.#checkpoint.begin(isBase);
  }

  nextPiece(slice: Slice): Buffer | undefined {
    return this.#checkpoint.nextPiece(slice);
  }

  endCheckpoint(): void {
    this.#checkpoint.end();
  }

  restorePiece(piece: Buffer): void {
    for (const changes of changesOfPiece(piece)) this.#applyFound(changes);
  }

  #applyChanges(changes: readonly CatalogChange[], owner: object | undefined): void {
    for (const change of changes) {
      if ('vhost' in change) this.#checkpoint.changing(this.#vhost(change.vhost), change);
      this.#applyChange(change, owner);
    }
  }

  #applyChange(change: CatalogChange, owner: object | undefined): void {
    switch (change.op) {
      case 'topic-create':
        this.#createTopic(change);
        return;
      case 'topic-config': {
        const topic = this.#vhost(change.vhost).topics.get(change.name);
        topic?.configure(new Map(Object.entries(change.config)));
        return;
      }
      case 'topic-delete':
        this.#deleteTopic(this.#vhost(change.vhost), change.name);
        return;
      case 'queue-create':
        this.#createQueue(change, owner);
        return;
      case 'subscription-start':
        this.#moveStart(change);
        return;
      case 'queue-delete':
        this.#deleteQueue(this.#vhost(change.vhost), change.name);
        return;
      case 'exchange-create':
        this.#createExchange(change);
        return;
      case 'exchange-delete':
        this.#deleteExchange(this.#vhost(change.vhost), change.name);
        return;
      case 'bind':
      case 'unbind':
        this.#changeBinding(change);
        return;
      case 'cluster-id':
        this.clusterId = change.id;
        return;
      case 'producer-ids':
        this.nextProducerId = change.next;
        return;
    }
  }

  #vhost(name: string): VhostState {
    const vhost = this.vhosts.get(name);
    if (vhost === undefined) throw new BrokerError('corrupt', `the catalog names the unknown virtual host '${name}'`);
    return vhost;
  }

  #createLog({ shard, log }: LogAddress, deletesOnAck: boolean, keepsSettled: boolean): Log {
    if (log < firstTransientLogId) this.#nextLogId = Math.max(this.#nextLogId, log + 1);
    return this.#options.stores[shard]!.createLog(logId(log), deletesOnAck, keepsSettled);
  }

  #createTopic(change: Change<'topic-create'>): void {
    const vhost = this.#vhost(change.vhost);
    const topic = new Topic({
      vhost: change.vhost,
      name: change.name,
      id: change.id,
      kind: 'topic',
      partitions: change.logs.map((address) => this.#createLog(address, false, false)),
      config: new Map(Object.entries(change.config)),
    });
    topic.savedIn = this.#checkpoint.serial;
    vhost.topics.set(topic.name, topic);
    this.topicsById.set(topic.id, topic);
    vhost.routingVersion++;
  }

  #deleteTopic(vhost: VhostState, name: string): void {
    const topic = vhost.topics.get(name);
    if (topic === undefined) return;
    for (const queue of [...vhost.queues.values()]) {
      if (queue.topic === topic) this.#deleteQueue(vhost, queue.name);
    }
    this.#removeDestination(vhost, { kind: 'topic', name });
    vhost.topics.delete(name);
    this.topicsById.delete(topic.id);
    for (const log of topic.partitions) log.store.deleteLog(log);
  }

  #createQueue(change: Change<'queue-create'>, owner: object | undefined): void {
    const vhost = this.#vhost(change.vhost);
    const { source } = change;
    const properties = {
      durable: change.durable,
      exclusive: change.exclusive,
      autoDelete: change.autoDelete,
      arguments: readArguments(change.arguments),
    };
    let topic: Topic;
    let log: Log | undefined;
    let subscription: Subscription;
    if ('topic' in source) {
      const subscribed = vhost.topics.get(source.topic);
      if (subscribed === undefined)
        throw new BrokerError('corrupt', `a queue subscribes the unknown topic '${source.topic}'`);
      topic = subscribed;
      const { subscription: id, floors } = source;
      this.#nextSubscriptionId = Math.max(this.#nextSubscriptionId, id + 1);
      const parts = topic.partitions.map((log, index) => ({
        log,
        acks: log.store.addSubscription(log, id, floors[index] ?? 0),
      }));
      subscription = new Subscription(this.#options.subscriptions, id, parts);
    } else {
      log = this.#createLog(source, true, replayRetentionMs(properties.arguments) > 0);
      topic = new Topic({
        vhost: change.vhost,
        name: change.name,
        id: change.id,
        kind: 'queue',
        partitions: [log],
        config: noConfig,
      });
      const acks = log.subscriptions.get(builtInSubscription)!;
      subscription = new Subscription(this.#options.subscriptions, builtInSubscription, [{ log, acks }]);
      if (properties.durable && !properties.exclusive) this.topicsById.set(topic.id, topic);
    }
    const queue = new Queue({ vhost: change.vhost, name: change.name, properties, owner, subscription, log, topic });
    subscription.queue = queue;
    queue.savedIn = this.#checkpoint.serial;
    vhost.queues.set(queue.name, queue);
    vhost.routingVersion++;
  }

  #moveStart({ vhost, name, floors }: Change<'subscription-start'>): void {
    const parts = this.#vhost(vhost).queues.get(name)?.subscription.parts ?? [];
    for (const [index, { log, acks }] of parts.entries()) {
      if (floors[index]! >= acks.startFloor) continue;
      log.store.changing(log);
      acks.beginAt(floors[index]!);
    }
  }

  #deleteQueue(vhost: VhostState, name: string): void {
    const queue = vhost.queues.get(name);
    if (queue === undefined) return;
    queue.deleted = true;
    vhost.queues.delete(name);
    this.#removeDestination(vhost, { kind: 'queue', name });
    queue.subscription.cancel();
    if (queue.log !== undefined) {
      this.topicsById.delete(queue.topic.id);
      queue.log.store.deleteLog(queue.log);
    } else {
      for (const { log, subscriptionId } of queue.subscription.parts) log.store.removeSubscription(log, subscriptionId);
    }
  }

  #createExchange(change: Change<'exchange-create'>): void {
    const vhost = this.#vhost(change.vhost);
    const { name, type, durable, autoDelete, internal } = change;
    const properties = { type, durable, autoDelete, internal, arguments: readArguments(change.arguments) };
    const exchange = new Exchange(name, properties);
    exchange.savedIn = this.#checkpoint.serial;
    vhost.exchanges.set(name, exchange);
    vhost.routingVersion++;
  }

  #deleteExchange(vhost: VhostState, name: string): void {
    vhost.exchanges.delete(name);
    this.#removeDestination(vhost, { kind: 'exchange', name });
  }

  #removeDestination(vhost: VhostState, destination: Destination): void {
    for (const exchange of vhost.exchanges.values()) exchange.removeDestination(destination);
    vhost.routingVersion++;
  }

  #changeBinding(change: Change<'bind' | 'unbind'>): void {
    const vhost = this.#vhost(change.vhost);
    const exchange = vhost.exchanges.get(change.source);
    if (exchange === undefined) return;
    const binding: Binding = {
      destination: change.destination,
      key: change.key,
      arguments: readArguments(change.arguments),
      savedIn: this.#checkpoint.serial,
    };
    if (change.op === 'bind') exchange.add(binding);
    else exchange.remove(binding);
    vhost.routingVersion++;
  }
}
