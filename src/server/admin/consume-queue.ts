/**
 * `rosettamq consume` of a queue: takes messages as any consumer does. A message is settled when the client says that it has
 * dealt with it; what is not settled when the client goes is delivered again.
 */
import type { Broker } from '../../broker/broker.ts';
import type { Delivery, Sink } from '../../broker/queues/delivery.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import type { SubscriptionPart } from '../../broker/queues/subscription-part.ts';
import type { BrokerError } from '../../core/errors.ts';
import { toAdminError } from './admin-error.ts';
import type { ConsumeControl, ConsumeRequest } from './admin-protocol.ts';
import type { ConsumeOutput } from './consume-output.ts';
import { viewMessage } from './record-view.ts';

/** Messages that the client has not settled. */
const unsettledMax = 256;

interface Unsettled {
  readonly part: SubscriptionPart;
  readonly offset: number;
}

export class QueueConsumeSession implements Sink {
  readonly autoAck = false;
  readonly exclusive = false;
  readonly priority = 0;
  readonly #broker: Broker;
  readonly #queue: Queue;
  readonly #output: ConsumeOutput;
  readonly #exit: boolean;
  readonly #unsettled: Unsettled[] = [];
  /** Messages that may still be delivered. */
  #left: number;
  #stopped = false;
  #closed = false;
  #wake: () => void = () => {};

  constructor(broker: Broker, queue: Queue, request: ConsumeRequest, output: ConsumeOutput) {
    this.#broker = broker;
    this.#queue = queue;
    this.#output = output;
    this.#exit = request.exit === true;
    this.#left = request.count ?? Number.POSITIVE_INFINITY;
  }

  /** @throws BrokerError 'locked' when another one consumes it exclusively */
  async run(): Promise<void> {
    if (!this.#exit) {
      this.#queue.subscription.attach(this);
      return;
    }
    while (!this.#stopped && this.#left > 0) {
      if (this.#unsettled.length >= unsettledMax) await this.#settledSome();
      else if (!(await this.#getOne())) break;
    }
    await this.#finish();
  }

  hasCredit(): boolean {
    return !this.#stopped && this.#left > 0 && this.#unsettled.length < unsettledMax && !this.#output.isCongested;
  }

  deliver(delivery: Delivery): void {
    this.#left--;
    this.#unsettled.push({ part: delivery.part, offset: delivery.offset });
    const partition = this.#queue.subscription.parts.indexOf(delivery.part);
    const room = this.#output.record(viewMessage(delivery.message(), partition, delivery.offset));
    if (this.#output.isCongested) void room.then(() => this.#queue.subscription.creditAvailable());
    if (this.#left === 0 && !this.#exit) void this.#finish();
  }

  onCancelled(): void {
    this.#closed = true;
    this.#output.fail({ kind: 'not-found', message: `queue '${this.#queue.name}' was deleted` });
  }

  onDamaged(error: BrokerError): void {
    this.#output.fail(error);
    this.close();
  }

  async control(line: ConsumeControl): Promise<void> {
    if ('ack' in line) {
      for (const { part, offset } of this.#unsettled.splice(0, line.ack)) this.#broker.ack(part, offset);
      this.#broker.flushAcks();
      this.#wake();
      if (!this.#exit) this.#queue.subscription.creditAvailable();
      return;
    }
    this.#stopped = true;
    this.#wake();
    if (!this.#exit) await this.#finish();
  }

  /** The client is gone, or has had enough. */
  close(): void {
    this.#stopped = true;
    this.#wake();
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#exit) this.#queue.subscription.detach(this);
    for (const { part, offset } of this.#unsettled.splice(0)) this.#broker.requeue(part, offset);
  }

  /** Ends when all that was delivered is settled, or the client has stopped. */
  async #finish(): Promise<void> {
    while (!this.#stopped && this.#unsettled.length > 0) await this.#settledSome();
    this.close();
    await this.#broker.gate.durableNow().then(
      () => this.#output.end(),
      (error: unknown) => this.#output.fail(toAdminError(error)),
    );
  }

  #settledSome(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** False when the queue is empty. */
  #getOne(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#queue.subscription.get(false, (delivery, damage) => {
        if (damage !== undefined) {
          this.onDamaged(damage);
          resolve(false);
        } else if (delivery === undefined) {
          resolve(false);
        } else if (this.#closed) {
          this.#broker.requeue(delivery.part, delivery.offset);
          resolve(false);
        } else {
          this.deliver(delivery);
          void this.#output.whenDrained().then(() => resolve(true));
        }
      });
    });
  }
}
