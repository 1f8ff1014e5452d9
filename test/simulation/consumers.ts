// Consumers of queues and of subscriptions, with credit, who settle, give back, leave, and vanish with what they have.

import type { Delivery, Sink } from '../../src/broker/queues/delivery.ts';
import type { SubscriptionPart } from '../../src/broker/queues/subscription-part.ts';
import type { BrokerError } from '../../src/core/errors.ts';
import type { PartModel } from './part-model.ts';
import type { World } from './world.ts';

const consumersMax = 6;

interface Out {
  readonly model: PartModel;
  readonly part: SubscriptionPart;
  readonly offset: number;
}

class Consumer implements Sink {
  readonly queueName: string;
  readonly autoAck: boolean;
  readonly priority = 0;
  readonly exclusive = false;
  readonly unacked: Out[] = [];
  credit: number;
  isCancelled = false;
  readonly #onDelivery: (consumer: Consumer, delivery: Delivery) => void;
  readonly #onDamaged: (error: BrokerError) => void;

  constructor(
    queueName: string,
    options: { autoAck: boolean; credit: number },
    onDelivery: (consumer: Consumer, delivery: Delivery) => void,
    onDamaged: (error: BrokerError) => void,
  ) {
    this.queueName = queueName;
    this.autoAck = options.autoAck;
    this.credit = options.credit;
    this.#onDelivery = onDelivery;
    this.#onDamaged = onDamaged;
  }

  hasCredit(): boolean {
    return this.credit > 0;
  }

  deliver(delivery: Delivery): void {
    this.#onDelivery(this, delivery);
  }

  onCancelled(): void {
    this.isCancelled = true;
  }

  onDamaged(error: BrokerError): void {
    this.#onDamaged(error);
  }
}

export class Consumers {
  readonly #world: World;
  #consumers: Consumer[] = [];
  deliveredCount = 0;

  constructor(world: World) {
    this.#world = world;
  }

  restarted(): void {
    this.#consumers = [];
  }

  attach(): void {
    const { dice, model } = this.#world;
    const queue = dice.pick(model.destinations.filter(({ kind }) => kind !== 'topic'));
    if (queue === undefined || this.#consumers.length >= consumersMax) return;
    this.#attach(queue.name, { autoAck: dice.chance(0.25), credit: dice.below(8) });
  }

  /** Somebody who wants all there is, for every queue. */
  attachToAll(): void {
    for (const { kind, name } of this.#world.model.destinations) {
      if (kind !== 'topic') this.#attach(name, { autoAck: true, credit: Number.POSITIVE_INFINITY });
    }
  }

  #attach(name: string, options: { autoAck: boolean; credit: number }): void {
    const { generation } = this.#world;
    const consumer = new Consumer(
      name,
      options,
      (receiver, delivery) => this.#world.guarded(generation, () => this.#receive(receiver, delivery)),
      (error) => this.#world.guarded(generation, () => this.#sentAway(consumer, error)),
    );
    this.#consumers.push(consumer);
    this.#world.queue(name)!.subscription.attach(consumer);
  }

  #receive(consumer: Consumer, delivery: Delivery): void {
    const { part, offset, redelivered } = delivery;
    const { model, broker, trace } = this.#world;
    this.deliveredCount++;
    consumer.credit--;
    const index = this.#world.queue(consumer.queueName)!.subscription.parts.indexOf(part);
    const partModel = model.destination(consumer.queueName)!.parts[index]!;
    trace.note(`delivery of ${offset} in ${consumer.queueName}/${index}${redelivered ? ', again' : ''}`);
    const body = String(delivery.message().body);
    const ticket = broker.gate.current;
    partModel.take({ offset, body, redelivered, ticket, logStart: part.log.startOffset });
    if (consumer.autoAck) partModel.settle(offset);
    else consumer.unacked.push({ model: partModel, part, offset });
  }

  giveCredit(): void {
    const consumer = this.#pick();
    if (consumer === undefined) return;
    consumer.credit += this.#world.dice.between(1, 10);
    this.#world.queue(consumer.queueName)!.subscription.creditAvailable();
  }

  ack(): void {
    for (const { model, part, offset } of this.#takeOut()) {
      this.#world.ask(() => this.#world.broker.ack(part, offset));
      model.settle(offset);
    }
    if (this.#world.dice.chance(0.4)) this.flush();
  }

  /** As before a reply to someone who has settled: when it comes, all of it is stored. */
  flush(): void {
    const { broker, model } = this.#world;
    if (!this.#world.ask(() => broker.flushAcks())) return;
    for (const part of model.parts) part.noteFlushed(broker.gate.current);
  }

  requeue(): void {
    this.#giveBack(this.#takeOut());
  }

  /** What it had comes back, in any order. */
  vanish(): void {
    const consumer = this.#pick();
    if (consumer !== undefined) this.#remove(consumer);
  }

  #sentAway(consumer: Consumer, error: BrokerError): void {
    this.#world.damaged(error);
    this.#remove(consumer);
  }

  #remove(consumer: Consumer): void {
    this.#consumers.splice(this.#consumers.indexOf(consumer), 1);
    this.#world.queue(consumer.queueName)!.subscription.detach(consumer);
    this.#giveBack(this.#world.dice.shuffled(consumer.unacked));
  }

  vanishAll(): void {
    while (this.#pick() !== undefined) this.vanish();
  }

  #giveBack(returned: readonly Out[]): void {
    for (const { model, part, offset } of returned) {
      model.giveBack(offset);
      this.#world.broker.requeue(part, offset);
    }
  }

  /** One of those who are still there. */
  #pick(): Consumer | undefined {
    this.#consumers = this.#consumers.filter(({ isCancelled }) => !isCancelled);
    return this.#world.dice.pick(this.#consumers);
  }

  /** Takes some from what one of them has: a beginning ("multiple"), or any in any order. */
  #takeOut(): Out[] {
    const { dice } = this.#world;
    const { unacked } = this.#pick() ?? { unacked: [] };
    const isMultiple = dice.chance(0.4);
    const chosen = isMultiple ? unacked.slice(0, dice.below(unacked.length + 1)) : dice.shuffled(dice.some(unacked));
    const rest = unacked.filter((out) => !chosen.includes(out));
    unacked.splice(0, unacked.length, ...rest);
    return chosen;
  }
}
