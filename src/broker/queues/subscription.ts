/**
 * A subscription: one named group of consumers over one or more logs. The AMQP queue is one over its own log; a queue
 * declared on a topic is one over all partitions.
 *
 * Messages go to the consumers in turn, returned ones first, always in order of offset. One reader per part: there is one
 * delivery under way at a time.
 */
import type { Clock } from '../../core/clock.ts';
import { BrokerError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import type { Log, LogWatcher } from '../../log/log.ts';
import type { DurableGate } from '../../shard/gate.ts';
import type { MessageForm } from '../message.ts';
import type { AckCollector } from './ack-collector.ts';
import type { Delivery, Sink } from './delivery.ts';
import type { DeliveryLoop, Pumpable } from './delivery-loop.ts';
import type { Queue } from './queue.ts';
import { type PartOptions, type PartOwner, SubscriptionPart } from './subscription-part.ts';

/** What subscriptions need of the broker; one for all of them. */
export interface SubscriptionContext {
  readonly loop: DeliveryLoop;
  readonly gate: DurableGate;
  readonly forms: ReadonlyMap<number, MessageForm>;
  readonly acks: (log: Log) => AckCollector;
  /** What is next in this log cannot be read: consumers are gone, or it is tried again, if the error is 'storage-failed'. */
  readonly onDamaged: (log: Log, error: BrokerError) => void;
  readonly clock: Clock;
  readonly onUnreadable: (log: Log, baseOffset: number, endOffset: number) => void;
  /** The last consumer has gone. */
  readonly onUnused: (subscription: Subscription) => void;
}

/** Neither: there is no message. */
type GetCallback = (delivery: Delivery | undefined, damage?: BrokerError) => void;

interface PendingGet {
  readonly autoAck: boolean;
  /** What is durable up to here must be looked at. */
  readonly ticket: number;
  readonly callback: GetCallback;
}

export class Subscription implements LogWatcher, Pumpable, PartOwner {
  readonly parts: readonly SubscriptionPart[];
  /** The queue that it is of. Set when that is made. */
  queue: Queue | undefined;
  readonly #context: SubscriptionContext;
  /** Highest priority first, then in order of arrival. */
  readonly #sinks: Sink[] = [];
  /** Whose turn it is. */
  #nextSink = 0;
  #nextPart = 0;
  readonly #gets: PendingGet[] = [];
  #cancelled = false;

  constructor(context: SubscriptionContext, subscriptionId: number, parts: readonly PartOptions[]) {
    this.#context = context;
    this.parts = parts.map((part) => new SubscriptionPart(part, subscriptionId, this));
    for (const part of this.parts) part.log.watch(this);
  }

  get forms(): ReadonlyMap<number, MessageForm> {
    return this.#context.forms;
  }

  onReturned(): void {
    this.#context.loop.schedule(this);
  }

  onUnreadable({ log }: SubscriptionPart, baseOffset: number, endOffset: number): void {
    this.#context.onUnreadable(log, baseOffset, endOffset);
  }

  get consumerCount(): number {
    return this.#sinks.length;
  }

  /** Messages that wait. O(number of parts). */
  get readyCount(): number {
    let count = 0;
    for (const part of this.parts) count += part.readyCount;
    return count;
  }

  /** Messages that are out. */
  get unackedCount(): number {
    let count = 0;
    for (const part of this.parts) count += part.inFlightCount;
    return count;
  }

  /** @throws BrokerError 'locked' when one consumes exclusively, or this one wants to and others consume */
  attach(sink: Sink): void {
    if (this.#sinks.some((other) => other.exclusive) || (sink.exclusive && this.#sinks.length > 0)) {
      throw new BrokerError('locked', 'in exclusive use');
    }
    let at = this.#sinks.length;
    while (at > 0 && this.#sinks[at - 1]!.priority < sink.priority) at--;
    this.#sinks.splice(at, 0, sink);
    this.#context.loop.schedule(this);
  }

  /** What the sink has not settled stays out until it is settled or returned. */
  detach(sink: Sink): void {
    const at = this.#sinks.indexOf(sink);
    if (at < 0) return;
    this.#sinks.splice(at, 1);
    if (this.#nextSink > at) this.#nextSink--;
    if (this.#sinks.length > 0) return;
    for (const part of this.parts) part.idle();
    this.#context.onUnused(this);
  }

  creditAvailable(): void {
    this.#context.loop.schedule(this);
  }

  /**
   * One message without a consumer. Calls back once: at once, or when what was committed before this call is durable and
   * what must be read is read. Undefined: there is none, or it is damaged, which is told then.
   */
  get(autoAck: boolean, callback: GetCallback): void {
    const { gate } = this.#context;
    this.#gets.push({ autoAck, ticket: gate.current, callback });
    if (gate.durable >= gate.current) this.#serveGets();
    else gate.wait(gate.current, { onDurable: () => this.#serveGets() });
  }

  /** Settles all ready messages and returns how many there were. Those that are out stay out. */
  purge(): number {
    let count = 0;
    for (const part of this.parts) {
      const ranges = part.takeAllReady();
      for (let i = 0; i < ranges.length; i += 2) {
        this.#context.acks(part.log).add(part, ranges[i]!, ranges[i + 1]!);
        count += ranges[i + 1]! - ranges[i]!;
      }
      this.#context.acks(part.log).flush();
    }
    return count;
  }

  /** The queue is gone. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    for (const part of this.parts) {
      part.log.unwatch(this);
      part.idle();
    }
    for (const sink of this.#sinks.splice(0)) sink.onCancelled();
    for (const { callback } of this.#gets.splice(0)) callback(undefined);
  }

  onLogVisible(): void {
    if (this.#sinks.length > 0) this.#context.loop.schedule(this);
  }

  pump(count: number): boolean {
    if (this.#cancelled) return false;
    try {
      return this.#deliver(count);
    } finally {
      for (const part of this.parts) part.endTurn();
    }
  }

  #deliver(count: number): boolean {
    this.#nextPart = (this.#nextPart + 1) % this.parts.length;
    for (let delivered = 0; delivered < count; delivered++) {
      const index = this.#sinkWithCredit();
      if (index < 0) return false;
      const part = this.#partWithMessage();
      if (part === undefined) return false;
      const sink = this.#sinks[index]!;
      this.#nextSink = (index + 1) % this.#sinks.length;
      this.#hand(part, sink.autoAck);
      sink.deliver(part.delivery);
    }
    return true;
  }

  /** Takes the message that `part.delivery` shows. */
  #hand(part: SubscriptionPart, autoAck: boolean): void {
    const { offset } = part.delivery;
    part.take();
    part.log.store.marks.note(part.log, part.subscriptionId, part.acks, offset + 1);
    if (autoAck) this.#context.acks(part.log).add(part, offset, offset + 1);
  }

  /** Index of the consumer whose turn it is, of those with the highest priority that have credit; -1 if none has. */
  #sinkWithCredit(): number {
    const count = this.#sinks.length;
    let best = -1;
    for (let i = 0; i < count; i++) {
      const index = (this.#nextSink + i) % count;
      const sink = this.#sinks[index]!;
      if ((best >= 0 && sink.priority <= this.#sinks[best]!.priority) || !sink.hasCredit()) continue;
      best = index;
      if (sink.priority === this.#sinks[0]!.priority) break;
    }
    return best;
  }

  #partWithMessage(): SubscriptionPart | undefined {
    for (let i = 0; i < this.parts.length; i++) {
      const index = (this.#nextPart + i) % this.parts.length;
      if (this.parts[index]!.next() !== 'ready') continue;
      // Stay on this part while it has messages in memory: its batch is open.
      this.#nextPart = index;
      return this.parts[index];
    }
    return undefined;
  }

  #serveGets(): void {
    try {
      while (this.#gets.length > 0 && this.#gets[0]!.ticket <= this.#context.gate.durable) {
        const part = this.#partWithMessage();
        if (part === undefined && this.parts.some((one) => one.isLoading)) return;
        const { autoAck, callback } = this.#gets.shift()!;
        if (part !== undefined) this.#hand(part, autoAck);
        callback(part?.delivery);
      }
    } finally {
      for (const part of this.parts) part.endTurn();
    }
  }

  /** Whoever comes next tries again and is told the same; what is not damaged can still be purged or settled. */
  #endDamaged(log: Log, error: BrokerError): void {
    this.#context.onDamaged(log, error);
    for (const sink of [...this.#sinks]) {
      this.detach(sink);
      sink.onDamaged(error);
    }
    for (const { callback } of this.#gets.splice(0)) callback(undefined, error);
  }

  onReadFailed(part: SubscriptionPart, error: BrokerError): void {
    if (error.kind === 'closing') return;
    if (error.kind !== 'storage-failed') {
      this.#endDamaged(part.log, error);
      return;
    }
    this.#context.onDamaged(part.log, error);
    this.#context.clock.after(limits.readRetryMs, () => part.retry());
  }

  onLoaded(): void {
    this.#serveGets();
    if (this.#cancelled || (this.#sinks.length === 0 && this.#gets.length === 0)) {
      for (const part of this.parts) part.idle();
    }
    this.#context.loop.schedule(this);
  }
}
