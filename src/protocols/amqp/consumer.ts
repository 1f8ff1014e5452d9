/** One consumer of a channel: what the subscription sees as a sink. */
import type { Delivery, Sink } from '../../broker/queues/delivery.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import type { Topic } from '../../broker/topic.ts';
import type { BrokerError } from '../../core/errors.ts';
import type { DeliverAddress } from './stored-content.ts';

/** The consumer's side of a channel. */
export interface ConsumingChannel {
  readonly number: number;
  readonly frameBytesMax: number;
  /** Room in the output and in the table of unacknowledged deliveries. */
  readonly canDeliver: boolean;
  deliverTo(consumer: Consumer, delivery: Delivery): void;
  consumerCancelled(consumer: Consumer): void;
  /** What comes next in the queue cannot be read. */
  queueDamaged(queue: string, error: BrokerError): void;
}

export interface ConsumerOptions {
  readonly channel: ConsumingChannel;
  readonly queue: Queue;
  readonly tag: string;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly priority: number;
  /** 0: no limit of its own. */
  readonly prefetchCount: number;
}

export class Consumer implements Sink, DeliverAddress {
  readonly tag: string;
  readonly queue: Queue;
  readonly autoAck: boolean;
  readonly exclusive: boolean;
  readonly priority: number;
  readonly consumerTag: Buffer;
  readonly channel: number;
  readonly frameBytesMax: number;
  readonly topic: Topic;
  readonly #channel: ConsumingChannel;
  readonly #prefetchCount: number;
  /** Deliveries to this consumer that are not settled. */
  unackedCount = 0;
  /** consume-ok has been written; nothing may be delivered before. */
  #started = false;
  /** It was asked while it had no credit: the subscription must be told when it has again. */
  #starved = false;

  constructor(options: ConsumerOptions) {
    this.#channel = options.channel;
    this.channel = options.channel.number;
    this.frameBytesMax = options.channel.frameBytesMax;
    this.queue = options.queue;
    this.topic = options.queue.topic;
    this.tag = options.tag;
    this.autoAck = options.noAck;
    this.exclusive = options.exclusive;
    this.priority = options.priority;
    this.#prefetchCount = options.noAck ? 0 : options.prefetchCount;
    const text = Buffer.from(options.tag, 'utf8').subarray(0, 255);
    this.consumerTag = Buffer.concat([Buffer.from([text.length]), text]);
  }

  hasCredit(): boolean {
    const hasCredit =
      this.#started &&
      (this.#prefetchCount === 0 || this.unackedCount < this.#prefetchCount) &&
      this.#channel.canDeliver;
    if (!hasCredit) this.#starved = true;
    return hasCredit;
  }

  deliver(delivery: Delivery): void {
    this.#channel.deliverTo(this, delivery);
  }

  onCancelled(): void {
    this.#channel.consumerCancelled(this);
  }

  onDamaged(error: BrokerError): void {
    this.#channel.queueDamaged(this.queue.name, error);
  }

  start(): void {
    this.#started = true;
    this.wake();
  }

  /** Asks for more if it was left without. */
  wake(): void {
    if (!this.#starved || !this.#started) return;
    this.#starved = false;
    this.queue.subscription.creditAvailable();
  }

  stop(): void {
    this.#started = false;
    this.queue.subscription.detach(this);
  }
}
