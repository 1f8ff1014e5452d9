/** A queue: a log of its own with the subscription built into it, or a named subscription on a topic. */
import type { Log } from '../../log/log.ts';
import type { ArgumentTable } from '../routing/headers-match.ts';
import type { Topic } from '../topic.ts';
import { replayRetentionMs } from './queue-arguments.ts';
import type { Subscription } from './subscription.ts';

export interface QueueProperties {
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly autoDelete: boolean;
  readonly arguments: ArgumentTable;
}

export class Queue {
  readonly vhost: string;
  readonly name: string;
  readonly properties: QueueProperties;
  /** The connection that an exclusive queue belongs to. */
  readonly owner: object | undefined;
  readonly subscription: Subscription;
  /** Undefined for a subscription on a topic: nothing can be published into that. */
  readonly log: Log | undefined;
  /** The queue as others see it: a topic of one partition; or the topic that it subscribes. */
  readonly topic: Topic;
  deleted = false;
  /** See CatalogCheckpoint. */
  savedIn = 0;

  constructor(options: {
    vhost: string;
    name: string;
    properties: QueueProperties;
    owner: object | undefined;
    subscription: Subscription;
    log: Log | undefined;
    topic: Topic;
  }) {
    this.vhost = options.vhost;
    this.name = options.name;
    this.properties = options.properties;
    this.owner = options.owner;
    this.subscription = options.subscription;
    this.log = options.log;
    this.topic = options.topic;
  }

  /** Messages that wait. */
  get messageCount(): number {
    return this.subscription.readyCount;
  }

  /** How long after its publishing a settled message can be read by offset; 0: not at all. */
  get replayRetentionMs(): number {
    return replayRetentionMs(this.properties.arguments);
  }

  /** Survives a restart. */
  get isKept(): boolean {
    return this.properties.durable && !this.properties.exclusive;
  }
}
