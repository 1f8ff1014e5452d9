/**
 * The broker: shards, catalog, virtual hosts. What every protocol head enters and leaves by. It knows no protocol.
 */
import { type Clock, systemClock } from '../core/clock.ts';
import { BrokerError } from '../core/errors.ts';
import { assertLimits, limits } from '../core/limits.ts';
import { type Random, systemRandom } from '../core/random.ts';
import { BlockBuilder } from '../log/block-builder.ts';
import { Folder } from '../log/folder.ts';
import type { Log } from '../log/log.ts';
import { LogStore } from '../log/log-store.ts';
import { DurableGate } from '../shard/gate.ts';
import { LocalLog } from '../shard/local/local-log.ts';
import { Shard } from '../shard/shard.ts';
import type { Storage } from '../storage/storage.ts';
import { Access } from './access.ts';
import type { BrokerBackup, BrokerOptions, CreateTopicOptions, Damage, UnreadableBatch } from './broker-options.ts';
import { Catalog, producerIdPortion } from './catalog.ts';
import { GroupStore } from './groups/group-store.ts';
import type { MessageForm } from './message.ts';
import { AckCollector } from './queues/ack-collector.ts';
import { DeliveryLoop } from './queues/delivery-loop.ts';
import type { SubscriptionPart } from './queues/subscription-part.ts';
import { Retention } from './retention.ts';
import type { Topic } from './topic.ts';
import { VirtualHost } from './vhost.ts';

/** Places of damage that are remembered, so that each is told once. */
const damagesToldMax = 1000;

export class Broker {
  readonly gate: DurableGate;
  readonly clock: Clock;
  readonly access: Access;
  readonly random: Random;
  /** Committed offsets and memberships of consumer groups. */
  readonly groupStore: GroupStore;
  /** How stored messages of each form are read. */
  readonly forms: ReadonlyMap<number, MessageForm>;
  readonly #shards: Shard[] = [];
  readonly #logs: LocalLog[] = [];
  readonly #stores: LogStore[] = [];
  readonly #builders: BlockBuilder[] = [];
  readonly #folders: Folder[] = [];
  readonly #retention: Retention | undefined;
  readonly #ackCollectors = new Map<LogStore, AckCollector>();
  readonly #catalog: Catalog;
  readonly #vhosts = new Map<string, VirtualHost>();
  readonly #loop = new DeliveryLoop();
  readonly #roomListeners = new Set<(hasRoom: boolean) => void>();
  #hadRoom = true;
  #nextProducerId = 0;
  /** Failed or closed. */
  #ended = false;
  readonly #onFailed: (error: Error) => void;
  readonly #onUnreadable: (batch: UnreadableBatch) => void;
  readonly #onDamaged: (damage: Damage) => void;
  readonly #onLoss: ((what: string) => void) | undefined;
  /** Messages of the damage told, at most damagesToldMax. */
  readonly #damagesTold = new Set<string>();

  /** Use openBroker(). */
  constructor(options: BrokerOptions, storages: readonly Storage[]) {
    this.clock = options.clock ?? systemClock;
    this.random = options.random ?? systemRandom;
    this.#onFailed = options.onFailed ?? (() => {});
    this.#onUnreadable = options.onUnreadable ?? (() => {});
    this.#onDamaged = options.onDamaged ?? (() => {});
    this.#onLoss = options.onLoss;
    this.gate = new DurableGate(storages.length);
    this.access = new Access({
      users: options.users ?? new Map([['guest', 'guest']]),
      loopbackUsers: options.loopbackUsers ?? new Set(['guest']),
    });
    storages.forEach((storage, index) => {
      const walBytesMax = options.walBytesMax ?? limits.walBytesMax;
      const log = new LocalLog({
        storage,
        durability: options.durability,
        clock: this.clock,
        random: this.random,
        limits: { walBytesMax, ...options.walLimits },
        onLoss: options.onLoss && ((what) => options.onLoss?.(`shard-${index}/${what}`)),
      });
      this.#logs.push(log);
      const shard = new Shard(index, log, this.gate, options.sliceEntities);
      const store = new LogStore(shard, { ...limits, ...options.storeLimits });
      shard.onFailed = (error) => this.#fail(error);
      log.onRoomChanged = () => this.#noteRoom();
      log.onProgress = (progress) =>
        options.onProgress?.({ ...progress, shard: index, topics: this.#catalog.topicCount });
      store.onRoomChanged = () => this.#noteRoom();
      const { onFoldFailed = () => {}, onRewriteFailed = () => {} } = options;
      const folder = new Folder({ store, clock: this.clock, onFoldFailed, onRewriteFailed });
      store.onDurable = () => folder.check();
      this.#folders.push(folder);
      this.#shards.push(shard);
      this.#stores.push(store);
      this.#builders.push(new BlockBuilder(store));
      const onFailed = (error: Error): void => this.#fail(error);
      this.#ackCollectors.set(store, new AckCollector({ store, clock: this.clock, onFailed }));
    });
    const forms = new Map((options.forms ?? []).map((form) => [form.id, form]));
    this.forms = forms;
    this.#catalog = new Catalog(this.#shards[0]!, {
      stores: this.#stores,
      onLoss: options.onLoss,
      subscriptions: {
        loop: this.#loop,
        gate: this.gate,
        forms,
        acks: (log) => this.#ackCollectors.get(log.store)!,
        clock: this.clock,
        onDamaged: (log, error) => this.noteDamaged(log, error),
        onUnreadable: (log, baseOffset, endOffset) => this.noteUnreadable(log, baseOffset, endOffset),
        onUnused: ({ queue }) => {
          if (queue === undefined || queue.deleted) return;
          if (queue.properties.autoDelete) this.vhost(queue.vhost)?.removeQueue(queue);
        },
      },
    });
    this.groupStore = new GroupStore(this.#shards[0]!);
    if (options.retention !== undefined) {
      this.#retention = new Retention({
        ...options.retention,
        topics: () => [...this.#vhosts.values()].flatMap((vhost) => [...vhost.topics]),
        queues: () => [...this.#vhosts.values()].flatMap((vhost) => [...vhost.queues]),
        clock: this.clock,
        onFailed: (error) => this.#fail(error),
      });
    }
  }

  /** Opens the shards; shard 0 first, because the catalog says which logs there are. */
  async start(): Promise<void> {
    for (const shard of this.#shards) await shard.open();
    const lostMessages: [log: Log, count: number][] = [];
    for (const store of this.#stores) {
      lostMessages.push(...store.endRecovery());
      this.#catalog.skipLogIds(store.highestUnknownLogId);
      this.#catalog.skipSubscriptionIds(store.highestSubscriptionId);
    }
    this.#catalog.acceptLoss(this.#shards[0]!.loss?.bytes ?? 0);
    this.#catalog.settleStarts();
    for (const [name, state] of this.#catalog.vhosts) {
      this.#vhosts.set(name, new VirtualHost({ state, catalog: this.#catalog, random: this.random, shardIndex: 0 }));
    }
    this.#retention?.start();
    this.#nextProducerId = this.#catalog.nextProducerId;
    if (this.#catalog.clusterId === '') {
      const id = Buffer.from(this.random.hex(16), 'hex').toString('base64url');
      this.#catalog.commit([{ op: 'cluster-id', id }]);
    }
    for (const [log, count] of lostMessages) this.#tellLost(log, count);
    for (const shard of this.#shards) await shard.endRecovery();
    for (const folder of this.#folders) folder.start();
  }

  get shardCount(): number {
    return this.#shards.length;
  }

  /** 22 characters, made with the data directory. */
  get clusterId(): string {
    return this.#catalog.clusterId;
  }

  /** What the numbers of the shards' logs can be read from. */
  get shards(): readonly Shard[] {
    return this.#shards;
  }

  vhost(name: string): VirtualHost | undefined {
    return this.#vhosts.get(name);
  }

  get vhosts(): Iterable<VirtualHost> {
    return this.#vhosts.values();
  }

  /** Collects what one connection publishes in one turn. Shared: commit or reset it before the turn ends. */
  blockBuilder(_vhost: VirtualHost): BlockBuilder {
    return this.#builders[0]!;
  }

  /** Settles one delivery; committed with others before long. */
  ack(part: SubscriptionPart, offset: number): void {
    this.#ackCollectors.get(part.log.store)!.add(part, offset, offset + 1);
  }

  /** Commits what was settled until now. A reply to a client that has settled something comes after it. */
  flushAcks(): void {
    if (this.#ended) return;
    for (const collector of this.#ackCollectors.values()) collector.flush();
  }

  /** The delivery goes out again, in its place in the order, marked as redelivered. */
  requeue(part: SubscriptionPart, offset: number): void {
    part.giveBack(offset);
  }

  /** The delivery is not wanted by anyone. */
  discard(part: SubscriptionPart, offset: number): void {
    this.ack(part, offset);
  }

  /** A reader has passed over the batch at these offsets, as it cannot be opened. */
  noteUnreadable(log: Log, baseOffset: number, endOffset: number): void {
    const place = this.#placeOf(log);
    if (place !== undefined) this.#onUnreadable({ ...place, baseOffset, endOffset });
  }

  #tellLost(log: Log, count: number): void {
    const { topic, partition } = this.#placeOf(log) ?? { topic: `log ${log.id}`, partition: 0 };
    this.#onLoss?.(`${count} messages of '${topic}', partition ${partition}`);
  }

  /** A reader has met bytes that are damaged or cannot be read. */
  noteDamaged(log: Log, error: BrokerError): void {
    if (this.#ended) return;
    if (this.#damagesTold.has(error.message) || this.#damagesTold.size >= damagesToldMax) return;
    this.#damagesTold.add(error.message);
    const place = this.#placeOf(log);
    if (place !== undefined) this.#onDamaged({ ...place, error });
  }

  #placeOf(log: Log): { topic: string; partition: number } | undefined {
    for (const vhost of this.#vhosts.values()) {
      const topics = [...vhost.topics, ...[...vhost.queues].map((queue) => queue.topic)];
      const topic = topics.find(({ partitions }) => partitions.includes(log));
      if (topic !== undefined) return { topic: topic.name, partition: topic.partitions.indexOf(log) };
    }
    return undefined;
  }

  /** False: new messages are refused or held back; everything that makes room goes on. */
  get hasRoom(): boolean {
    for (const store of this.#stores) if (!store.hasRoom) return false;
    return true;
  }

  /** Returns how to stop listening. */
  onRoomChanged(listener: (hasRoom: boolean) => void): () => void {
    this.#roomListeners.add(listener);
    return () => this.#roomListeners.delete(listener);
  }

  topicById(id: string): Topic | undefined {
    return this.#catalog.topicsById.get(id);
  }

  /** @throws BrokerError 'already-exists' when a topic or a queue has the name, 'storage-full' */
  createTopic({ vhost, name, partitions, config }: CreateTopicOptions): Topic {
    const host = this.#vhosts.get(vhost)!;
    if (host.topic(name) !== undefined || host.queue(name) !== undefined) {
      throw new BrokerError('already-exists', `Topic '${name}' already exists.`);
    }
    const firstShard = [...name].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) >>> 0, 7);
    const shardOf = (partition: number): number => (firstShard + partition) % this.#shards.length;
    this.#catalog.commit([
      {
        op: 'topic-create',
        vhost,
        name,
        id: this.random.hex(16),
        config: Object.fromEntries(config),
        logs: this.#catalog.newLogAddresses(partitions, shardOf, false),
      },
    ]);
    return host.topic(name)!;
  }

  /** What is set for the topic from now on; everything else has its default again. What it no longer keeps goes at once. */
  configureTopic(topic: Topic, config: ReadonlyMap<string, string>): void {
    const { vhost, name } = topic;
    this.#catalog.commit([{ op: 'topic-config', vhost, name, config: Object.fromEntries(config) }]);
    this.#retention?.check(topic);
  }

  /** Deletes a topic with its subscriptions, or a queue. */
  deleteTopic(topic: Topic): void {
    const host = this.#vhosts.get(topic.vhost)!;
    const queue = topic.kind === 'queue' ? host.queue(topic.name) : undefined;
    if (queue !== undefined) host.removeQueue(queue);
    else this.#catalog.commit([{ op: 'topic-delete', vhost: topic.vhost, name: topic.name }]);
  }

  /** An id that no producer had before. The caller answers after the gate. */
  newProducerId(): number {
    if (this.#nextProducerId >= this.#catalog.nextProducerId) {
      this.#nextProducerId = this.#catalog.nextProducerId;
      this.#catalog.commit([{ op: 'producer-ids', next: this.#nextProducerId + producerIdPortion }]);
    }
    return this.#nextProducerId++;
  }

  /** All that was committed and settled until now, in all shards, when it is durable. */
  async beginBackup(): Promise<BrokerBackup> {
    this.flushAcks();
    const backups = this.#logs.map((log) => log.beginBackup());
    const release = async (): Promise<void> => {
      for (const backup of backups) await backup.release();
    };
    try {
      await this.gate.durableNow();
      return { shards: await Promise.all(backups.map((backup) => backup.files())), release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  /** Resolves when all that was committed is durable. */
  async close(): Promise<void> {
    this.flushAcks();
    this.#ended = true;
    this.#retention?.stop();
    await Promise.all(this.#folders.map((folder) => folder.close()));
    await Promise.all(this.#shards.map((shard) => shard.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #noteRoom(): void {
    const { hasRoom } = this;
    if (hasRoom === this.#hadRoom) return;
    this.#hadRoom = hasRoom;
    for (const listener of this.#roomListeners) listener(hasRoom);
  }

  #fail(error: Error): void {
    this.gate.fail(error);
    if (this.#ended) return;
    this.#ended = true;
    this.#onFailed(error);
  }
}

/** Opens what the storage holds, or starts anew in it. @throws BrokerError 'corrupt' */
export const openBroker = async (options: BrokerOptions): Promise<Broker> => {
  assertLimits();
  const storages: Storage[] = [];
  for (let i = 0; i < (options.shardCount ?? 1); i++) storages.push(await options.storage.subdirectory(`shard-${i}`));
  const broker = new Broker(options, storages);
  try {
    await broker.start();
  } catch (error) {
    // Shards that were opened before the one that failed are at work already, and someone may try again at once.
    await broker.close().catch(() => {});
    throw error;
  }
  return broker;
};
