/** What the catalog knows of one virtual host. */
import type { Queue } from './queues/queue.ts';
import { type Destination, Exchange } from './routing/exchange.ts';
import type { Topic } from './topic.ts';

/** Nobody can publish to it; nothing is traced yet. */
const traceExchange = 'amq.rabbitmq.trace';

/** Exchanges that every virtual host has. */
const predeclared = [
  ['', 'direct'],
  ['amq.direct', 'direct'],
  ['amq.fanout', 'fanout'],
  ['amq.topic', 'topic'],
  ['amq.headers', 'headers'],
  ['amq.match', 'headers'],
  [traceExchange, 'topic'],
] as const;

export class VhostState {
  readonly name: string;
  readonly exchanges = new Map<string, Exchange>();
  readonly queues = new Map<string, Queue>();
  /** Topics in the narrow sense; queues that others may see as topics are in `queues`. */
  readonly topics = new Map<string, Topic>();
  /** Grows with every change that may route messages elsewhere. */
  routingVersion = 1;

  constructor(name: string) {
    this.name = name;
    for (const [exchange, type] of predeclared) {
      const internal = exchange === traceExchange;
      const properties = { type, durable: true, autoDelete: false, internal, arguments: new Map() };
      this.exchanges.set(exchange, new Exchange(exchange, properties));
    }
  }

  /** A binding survives a restart if both its ends do. */
  keepsBinding(source: Exchange, { kind, name }: Destination): boolean {
    if (!source.properties.durable) return false;
    if (kind === 'topic') return true;
    if (kind === 'queue') return this.queues.get(name)?.isKept === true;
    return this.exchanges.get(name)?.properties.durable === true;
  }
}

export const isPredeclared = (exchange: string): boolean => predeclared.some(([name]) => name === exchange);
