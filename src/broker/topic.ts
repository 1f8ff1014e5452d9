/** A topic: a name, a config and partitions, each one log. A queue is one too, with a single partition. */
import type { Log } from '../log/log.ts';
import { murmur2 } from './murmur2.ts';

export type TopicKind = 'topic' | 'queue';

export class Topic {
  readonly vhost: string;
  readonly name: string;
  /** 32 hexadecimal digits; another one after a topic was deleted and created again. */
  readonly id: string;
  readonly kind: TopicKind;
  readonly partitions: readonly Log[];
  #config!: ReadonlyMap<string, string>;
  #messageBytesMax: number | undefined;
  /** See CatalogCheckpoint. */
  savedIn = 0;
  #nextSticky = 0;

  constructor(options: {
    vhost: string;
    name: string;
    id: string;
    kind: TopicKind;
    partitions: readonly Log[];
    config: ReadonlyMap<string, string>;
  }) {
    this.vhost = options.vhost;
    this.name = options.name;
    this.id = options.id;
    this.kind = options.kind;
    this.partitions = options.partitions;
    this.configure(options.config);
  }

  /** What was set for it; defaults are the heads' matter. Another map after a change. */
  get config(): ReadonlyMap<string, string> {
    return this.#config;
  }

  configure(config: ReadonlyMap<string, string>): void {
    const bytesMax = config.get('max.message.bytes');
    this.#config = config;
    this.#messageBytesMax = bytesMax === undefined ? undefined : Number(bytesMax);
  }

  /** Largest message, as set for the topic itself; undefined: what the publisher's head allows. */
  get messageBytesMax(): number | undefined {
    return this.#messageBytesMax;
  }

  /**
   * The partition of a message that a publisher of another protocol sends here: by its key as Kafka's own clients choose
   * (murmur2), else by its routing key, else each in turn.
   */
  partitionFor(key: Buffer | undefined, routingKey: string): Log {
    const count = this.partitions.length;
    if (count === 1) return this.partitions[0]!;
    const hashed = key ?? (routingKey !== '' && routingKey !== this.name ? Buffer.from(routingKey) : undefined);
    if (hashed !== undefined) return this.partitions[(murmur2(hashed) & 0x7fff_ffff) % count]!;
    this.#nextSticky = (this.#nextSticky + 1) % count;
    return this.partitions[this.#nextSticky]!;
  }
}
