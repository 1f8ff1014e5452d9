/**
 * The catalog in checkpoints, as lines of changes like those of its records. A base is the changes that would make it from an empty
 * one, what something needs before what needs it; a delta is the records since the last checkpoint. While a base is written, what
 * is about to change is written first (copy before change: see sweep.ts, which does not know what depends on what).
 */
import { PieceReader, PieceWriter, pieceBytes } from '../shard/piece.ts';
import type { Slice } from '../shard/sweep.ts';
import { bindingChange, type CatalogChange, exchangeChange, queueChange, topicChange } from './catalog-changes.ts';
import type { Queue } from './queues/queue.ts';
import type { Binding, Destination, Exchange } from './routing/exchange.ts';
import type { Topic } from './topic.ts';
import { isPredeclared, type VhostState } from './vhost-state.ts';

/** With more than this in records since the last checkpoint the next one is a base. */
const recordsBytesMax = 1024 * 1024;

type Entity =
  | { readonly topic: Topic }
  | { readonly exchange: Exchange }
  | { readonly queue: Queue }
  | { readonly source: Exchange; readonly binding: Binding };

export class CatalogCheckpoint {
  readonly #vhosts: ReadonlyMap<string, VhostState>;
  readonly #piece = new PieceWriter();
  /** Records since the last checkpoint began, unless they became too many: each with its length before it. */
  readonly #records = new PieceWriter();
  #recordsBytes = 0;
  /** How many checkpoints have begun. What was written into the last one, or made since then, has it as `savedIn`. */
  #serial = 1;
  /** What the checkpoint under way has still to look at. */
  #entities: Iterator<[VhostState, Entity]> | undefined;
  #left: PieceReader | undefined;

  constructor(vhosts: ReadonlyMap<string, VhostState>) {
    this.#vhosts = vhosts;
  }

  /** For what is made now. */
  get serial(): number {
    return this.#serial;
  }

  get needsBase(): boolean {
    return this.#recordsBytes > recordsBytesMax;
  }

  /** A record is applied. */
  note(record: Buffer): void {
    this.#recordsBytes += record.length;
    if (!this.needsBase) {
      this.#records.u32(record.length);
      this.#records.bytes(record);
    } else if (this.#records.sizeBytes > 0) {
      this.#records.clear();
    }
  }

  begin(isBase: boolean): void {
    this.#serial++;
    if (isBase) this.#entities = this.#all();
    else this.#left = new PieceReader(this.#records.take(), 0);
    this.#records.clear();
    this.#recordsBytes = 0;
  }

  nextPiece(slice: Slice): Buffer | undefined {
    while (this.#piece.sizeBytes < pieceBytes && slice.entitiesLeft > 0 && !this.#isDone) {
      slice.entitiesLeft--;
      this.#step();
    }
    return this.#piece.sizeBytes === 0 && this.#isDone ? undefined : this.#piece.take();
  }

  end(): void {
    this.#entities = undefined;
    this.#left = undefined;
    this.#piece.clear();
  }

  get #isDone(): boolean {
    return this.#entities === undefined && this.#left === undefined;
  }

  #step(): void {
    if (this.#left?.isAtEnd === false) {
      this.#piece.bytes(this.#left.bytes(this.#left.u32()));
      this.#piece.text('\n');
      return;
    }
    this.#left = undefined;
    const next = this.#entities?.next();
    if (next?.done === false) this.#save(...next.value);
    else this.#entities = undefined;
  }

  /** Over the maps as they are, which may change meanwhile: what is new is passed over, what goes was saved before. */
  *#all(): Generator<[VhostState, Entity]> {
    for (const vhost of this.#vhosts.values()) {
      for (const topic of vhost.topics.values()) yield [vhost, { topic }];
      for (const exchange of vhost.exchanges.values()) yield [vhost, { exchange }];
      for (const queue of vhost.queues.values()) yield [vhost, { queue }];
      for (const source of vhost.exchanges.values()) {
        for (const binding of source.bindings) yield [vhost, { source, binding }];
      }
    }
  }

  /** To be called before the change is applied. */
  changing(vhost: VhostState, change: CatalogChange): void {
    if (this.#entities === undefined) return;
    switch (change.op) {
      case 'topic-config':
        this.#saveTopic(vhost.topics.get(change.name));
        return;
      case 'topic-delete':
        this.#saveTopicAndAround(vhost, change.name);
        return;
      case 'subscription-start':
        this.#saveQueue(vhost.queues.get(change.name));
        return;
      case 'queue-delete':
        this.#saveQueue(vhost.queues.get(change.name));
        this.#saveBindingsTo(vhost, { kind: 'queue', name: change.name });
        return;
      case 'exchange-delete':
        this.#saveExchangeAndAround(vhost, change.name);
        return;
      case 'unbind':
        this.#saveBindingsTo(vhost, change.destination, vhost.exchanges.get(change.source));
        return;
      case 'topic-create':
      case 'queue-create':
      case 'exchange-create':
      case 'bind':
      case 'cluster-id':
      case 'producer-ids':
        return;
    }
  }

  #saveTopicAndAround(vhost: VhostState, name: string): void {
    const topic = vhost.topics.get(name);
    this.#saveTopic(topic);
    for (const queue of vhost.queues.values()) if (queue.topic === topic) this.#saveQueue(queue);
    this.#saveBindingsTo(vhost, { kind: 'topic', name });
  }

  #saveExchangeAndAround(vhost: VhostState, name: string): void {
    const exchange = vhost.exchanges.get(name);
    this.#saveExchange(vhost, exchange);
    for (const binding of exchange?.bindings ?? []) this.#saveBinding(vhost, exchange!, binding);
    this.#saveBindingsTo(vhost, { kind: 'exchange', name });
  }

  #saveBindingsTo(vhost: VhostState, { kind, name }: Destination, source?: Exchange): void {
    for (const exchange of source === undefined ? vhost.exchanges.values() : [source]) {
      for (const binding of exchange.bindings) {
        const { destination } = binding;
        if (destination.kind === kind && destination.name === name) this.#saveBinding(vhost, exchange, binding);
      }
    }
  }

  #save(vhost: VhostState, entity: Entity): void {
    if ('topic' in entity) this.#saveTopic(entity.topic);
    else if ('exchange' in entity) this.#saveExchange(vhost, entity.exchange);
    else if ('queue' in entity) this.#saveQueue(entity.queue);
    else this.#saveBinding(vhost, entity.source, entity.binding);
  }

  #saveTopic(topic: Topic | undefined): void {
    if (topic !== undefined && this.#isFirst(topic)) this.#write(topicChange(topic));
  }

  #saveExchange(vhost: VhostState, exchange: Exchange | undefined): void {
    if (exchange === undefined || !this.#isFirst(exchange)) return;
    if (exchange.properties.durable && !isPredeclared(exchange.name)) this.#write(exchangeChange(vhost.name, exchange));
  }

  #saveQueue(queue: Queue | undefined): void {
    if (queue === undefined || !this.#isFirst(queue) || !queue.isKept) return;
    if (queue.log === undefined) this.#saveTopic(queue.topic);
    this.#write(queueChange(queue));
  }

  #saveBinding(vhost: VhostState, source: Exchange, binding: Binding): void {
    if (!this.#isFirst(binding)) return;
    const { kind, name } = binding.destination;
    if (!vhost.keepsBinding(source, binding.destination)) return;
    this.#saveExchange(vhost, source);
    if (kind === 'queue') this.#saveQueue(vhost.queues.get(name));
    else if (kind === 'topic') this.#saveTopic(vhost.topics.get(name));
    else this.#saveExchange(vhost, vhost.exchanges.get(name));
    this.#write(bindingChange('bind', vhost.name, source.name, binding));
  }

  #isFirst(entity: { savedIn?: number }): boolean {
    if (entity.savedIn === this.#serial) return false;
    entity.savedIn = this.#serial;
    return true;
  }

  #write(change: CatalogChange): void {
    this.#piece.text(`${JSON.stringify([change])}\n`);
  }
}

/** The lines of a piece, each a list of changes. */
export function* changesOfPiece(piece: Buffer): Generator<CatalogChange[]> {
  for (let at = 0; at < piece.length; ) {
    const end = piece.indexOf(0x0a, at);
    yield JSON.parse(piece.toString('utf8', at, end)) as CatalogChange[];
    at = end + 1;
  }
}
