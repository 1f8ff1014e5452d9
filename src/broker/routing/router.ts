/** From exchange and routing key to queues and topics, over bindings between exchanges and alternate exchanges. */
import type { Queue } from '../queues/queue.ts';
import type { Topic } from '../topic.ts';
import type { VhostState } from '../vhost-state.ts';
import type { ArgumentTable } from './headers-match.ts';

export interface Route {
  /** Each once, however many bindings match. Only queues with a log of their own. */
  readonly queues: readonly Queue[];
  readonly topics: readonly Topic[];
  readonly isEmpty: boolean;
  /** The routing version it was made for. */
  readonly version: number;
}

/** Routes kept; publishers with ever new routing keys push the others out together. */
const cachedRoutesMax = 10_000;

export class Router {
  readonly #state: VhostState;
  #cache = new Map<string, Route>();
  #cacheVersion = 0;

  constructor(state: VhostState) {
    this.#state = state;
  }

  /** `exchange` must exist. */
  route(exchange: string, routingKey: string, headers: () => ArgumentTable | undefined): Route {
    if (this.#cacheVersion !== this.#state.routingVersion || this.#cache.size >= cachedRoutesMax) {
      this.#cache = new Map();
      this.#cacheVersion = this.#state.routingVersion;
    }
    const id = `${exchange}\0${routingKey}`;
    const cached = this.#cache.get(id);
    if (cached !== undefined) return cached;
    const walk = new RouteWalk(this.#state, routingKey, headers);
    walk.visit(exchange);
    const route = walk.finish();
    if (!walk.dependsOnHeaders) this.#cache.set(id, route);
    return route;
  }
}

class RouteWalk {
  readonly #state: VhostState;
  readonly #routingKey: string;
  readonly #headers: () => ArgumentTable | undefined;
  readonly #visited = new Set<string>();
  readonly #queues = new Set<Queue>();
  readonly #topics = new Set<Topic>();
  dependsOnHeaders = false;

  constructor(state: VhostState, routingKey: string, headers: () => ArgumentTable | undefined) {
    this.#state = state;
    this.#routingKey = routingKey;
    this.#headers = headers;
  }

  visit(name: string): void {
    if (this.#visited.has(name)) return;
    this.#visited.add(name);
    if (name === '') {
      this.#visitDefault();
      return;
    }
    const exchange = this.#state.exchanges.get(name);
    if (exchange === undefined) return;
    if (exchange.properties.type === 'headers') this.dependsOnHeaders = true;
    let matched = false;
    for (const { destination } of exchange.match(this.#routingKey, this.#headers)) {
      matched = true;
      if (destination.kind === 'exchange') this.visit(destination.name);
      else if (destination.kind === 'queue') this.#addQueue(destination.name);
      else this.#addTopic(destination.name);
    }
    if (!matched && exchange.alternateExchange !== undefined) this.visit(exchange.alternateExchange);
  }

  finish(): Route {
    return {
      queues: [...this.#queues],
      topics: [...this.#topics],
      isEmpty: this.#queues.size === 0 && this.#topics.size === 0,
      version: this.#state.routingVersion,
    };
  }

  /** The default exchange: a queue or a topic of that name. */
  #visitDefault(): void {
    this.#addQueue(this.#routingKey);
    this.#addTopic(this.#routingKey);
  }

  #addQueue(name: string): void {
    const queue = this.#state.queues.get(name);
    if (queue?.log !== undefined) this.#queues.add(queue);
  }

  #addTopic(name: string): void {
    const topic = this.#state.topics.get(name);
    if (topic !== undefined) this.#topics.add(topic);
  }
}
