/**
 * The changes of the catalog as they are stored: a JSON list, applied as one. Names of fields are part of the format.
 */
import type { Log } from '../log/log.ts';
import type { HeaderValue } from './message.ts';
import type { Queue } from './queues/queue.ts';
import type { Binding, DestinationKind, Exchange, ExchangeType } from './routing/exchange.ts';
import type { ArgumentTable } from './routing/headers-match.ts';
import type { Topic } from './topic.ts';

/** A log by the shard it lives in and its id. */
export interface LogAddress {
  readonly shard: number;
  readonly log: number;
}

export type StoredValue = null | boolean | number | string | StoredValue[] | { readonly [name: string]: StoredValue };
export type StoredArguments = readonly (readonly [name: string, value: StoredValue])[];

export type CatalogChange =
  | {
      readonly op: 'topic-create';
      readonly vhost: string;
      readonly name: string;
      readonly id: string;
      readonly config: Readonly<Record<string, string>>;
      readonly logs: readonly LogAddress[];
    }
  /** All that is set for it from now on. */
  | {
      readonly op: 'topic-config';
      readonly vhost: string;
      readonly name: string;
      readonly config: Readonly<Record<string, string>>;
    }
  | { readonly op: 'topic-delete'; readonly vhost: string; readonly name: string }
  | {
      readonly op: 'queue-create';
      readonly vhost: string;
      readonly name: string;
      /** Its id as a Kafka topic. */
      readonly id: string;
      readonly durable: boolean;
      readonly autoDelete: boolean;
      readonly exclusive: boolean;
      readonly arguments: StoredArguments;
      /** Its own log, or the topic that it is a subscription of. */
      readonly source:
        | LogAddress
        | { readonly topic: string; readonly subscription: number; readonly floors: readonly number[] };
    }
  /** The subscription had begun above the end of logs that lost what was never durable: it begins here. */
  | {
      readonly op: 'subscription-start';
      readonly vhost: string;
      readonly name: string;
      readonly floors: readonly number[];
    }
  | { readonly op: 'queue-delete'; readonly vhost: string; readonly name: string }
  | {
      readonly op: 'exchange-create';
      readonly vhost: string;
      readonly name: string;
      readonly type: ExchangeType;
      readonly durable: boolean;
      readonly autoDelete: boolean;
      readonly internal: boolean;
      readonly arguments: StoredArguments;
    }
  | { readonly op: 'exchange-delete'; readonly vhost: string; readonly name: string }
  | {
      readonly op: 'bind' | 'unbind';
      readonly vhost: string;
      readonly source: string;
      readonly destination: { readonly kind: DestinationKind; readonly name: string };
      readonly key: string;
      readonly arguments: StoredArguments;
    }
  | { readonly op: 'cluster-id'; readonly id: string }
  | { readonly op: 'producer-ids'; readonly next: number };

const toStored = (value: HeaderValue): StoredValue => {
  if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string')
    return value;
  if (typeof value === 'bigint') return { $int: String(value) };
  if (Buffer.isBuffer(value)) return { $bytes: value.toString('base64') };
  if (value instanceof Date) return { $time: value.getTime() };
  if (Array.isArray(value)) return value.map(toStored);
  return { $table: Object.entries(value).map(([name, field]) => [name, toStored(field)]) };
};

const fromStored = (value: StoredValue): HeaderValue => {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(fromStored);
  const tagged = value as { readonly [name: string]: StoredValue };
  if (tagged.$int !== undefined) return BigInt(tagged.$int as string);
  if (tagged.$bytes !== undefined) return Buffer.from(tagged.$bytes as string, 'base64');
  if (tagged.$time !== undefined) return new Date(tagged.$time as number);
  const fields = tagged.$table as [string, StoredValue][];
  return Object.fromEntries(fields.map(([name, field]) => [name, fromStored(field)]));
};

export const storeArguments = (table: ArgumentTable): StoredArguments =>
  [...table].map(([name, value]) => [name, toStored(value)]);

/** Shared by all that have none: a map of its own costs every queue some 250 bytes. */
const noArguments: ArgumentTable = new Map();

export const readArguments = (stored: StoredArguments): ArgumentTable =>
  stored.length === 0 ? noArguments : new Map(stored.map(([name, value]) => [name, fromStored(value)]));

export const bindingChange = (
  op: 'bind' | 'unbind',
  vhost: string,
  source: string,
  binding: Binding,
): CatalogChange => ({
  op,
  vhost,
  source,
  destination: binding.destination,
  key: binding.key,
  arguments: storeArguments(binding.arguments),
});

export const exchangeChange = (vhost: string, { name, properties }: Exchange): CatalogChange => ({
  op: 'exchange-create',
  vhost,
  name,
  ...properties,
  arguments: storeArguments(properties.arguments),
});

const addressOf = (log: Log): LogAddress => ({ shard: log.store.shard.index, log: log.id });

export const topicChange = (topic: Topic): CatalogChange => ({
  op: 'topic-create',
  vhost: topic.vhost,
  name: topic.name,
  id: topic.id,
  config: Object.fromEntries(topic.config),
  logs: topic.partitions.map(addressOf),
});

const subscriptionSource = ({
  topic,
  subscription: { parts },
}: Queue): Extract<CatalogChange, { op: 'queue-create' }>['source'] => ({
  topic: topic.name,
  subscription: parts[0]!.subscriptionId,
  // For shards whose own checkpoint is older than the subscription.
  floors: parts.map(({ acks }) => acks.startFloor),
});

export const queueChange = (queue: Queue): CatalogChange => ({
  op: 'queue-create',
  vhost: queue.vhost,
  name: queue.name,
  id: queue.topic.id,
  ...queue.properties,
  arguments: storeArguments(queue.properties.arguments),
  source: queue.log !== undefined ? addressOf(queue.log) : subscriptionSource(queue),
});
