/** An exchange and its bindings: from a routing key to destinations. */
import { type ArgumentTable, headersMatch } from './headers-match.ts';
import { TopicTrie } from './topic-trie.ts';

export const exchangeTypes = ['direct', 'fanout', 'topic', 'headers'] as const;
export type ExchangeType = (typeof exchangeTypes)[number];

export interface ExchangeProperties {
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: ArgumentTable;
}

export type DestinationKind = 'queue' | 'exchange' | 'topic';

export interface Destination {
  readonly kind: DestinationKind;
  readonly name: string;
}

export interface Binding {
  readonly destination: Destination;
  readonly key: string;
  readonly arguments: ArgumentTable;
  /** See CatalogCheckpoint. */
  savedIn?: number;
}

/** Bindings with the same identity are one binding. */
export const bindingId = ({ destination, key, arguments: args }: Binding): string =>
  JSON.stringify([
    destination.kind,
    destination.name,
    key,
    [...args].map(([name, value]) => [name, String(value)]).sort(),
  ]);

export class Exchange {
  readonly name: string;
  readonly properties: ExchangeProperties;
  /** See CatalogCheckpoint. */
  savedIn = 0;
  readonly #bindings = new Map<string, Binding>();
  /** Built from the bindings when next needed. */
  #byKey: Map<string, Binding[]> | undefined;
  #trie: TopicTrie<Binding> | undefined;

  constructor(name: string, properties: ExchangeProperties) {
    this.name = name;
    this.properties = properties;
  }

  get bindings(): Iterable<Binding> {
    return this.#bindings.values();
  }

  get bindingCount(): number {
    return this.#bindings.size;
  }

  get alternateExchange(): string | undefined {
    const name = this.properties.arguments.get('alternate-exchange');
    return typeof name === 'string' ? name : undefined;
  }

  has(binding: Binding): boolean {
    return this.#bindings.has(bindingId(binding));
  }

  add(binding: Binding): void {
    this.#bindings.set(bindingId(binding), binding);
    this.#forgetIndex();
  }

  remove(binding: Binding): void {
    this.#bindings.delete(bindingId(binding));
    this.#forgetIndex();
  }

  removeDestination({ kind, name }: Destination): void {
    for (const [id, { destination }] of this.#bindings) {
      if (destination.kind === kind && destination.name === name) this.#bindings.delete(id);
    }
    this.#forgetIndex();
  }

  /** Destinations of a message, each once. `headers` is called by a headers exchange only. */
  match(routingKey: string, headers: () => ArgumentTable | undefined): Iterable<Binding> {
    switch (this.properties.type) {
      case 'fanout':
        return this.#bindings.values();
      case 'direct':
        return this.#keyIndex().get(routingKey) ?? [];
      case 'topic': {
        const matched = new Set<Binding>();
        this.#topicIndex().collect(routingKey, matched);
        return matched;
      }
      case 'headers': {
        const given: ArgumentTable = headers() ?? new Map();
        return [...this.#bindings.values()].filter((binding) => headersMatch(binding.arguments, given));
      }
    }
  }

  #forgetIndex(): void {
    this.#byKey = undefined;
    this.#trie = undefined;
  }

  #keyIndex(): Map<string, Binding[]> {
    if (this.#byKey === undefined) {
      this.#byKey = new Map();
      for (const binding of this.#bindings.values()) {
        const list = this.#byKey.get(binding.key);
        if (list === undefined) this.#byKey.set(binding.key, [binding]);
        else list.push(binding);
      }
    }
    return this.#byKey;
  }

  #topicIndex(): TopicTrie<Binding> {
    if (this.#trie === undefined) {
      this.#trie = new TopicTrie();
      for (const binding of this.#bindings.values()) this.#trie.add(binding.key, binding);
    }
    return this.#trie;
  }
}
