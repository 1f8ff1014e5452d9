/**
 * Memory for requests that have not arrived whole, of all connections together. Above the limit connections are not read until
 * there is room; one of those that wait, the first, has the turn: it is read until its request is whole, so that there is always
 * one that comes to its end and gives its memory back. What is asked for in small requests is hardly ever made to wait.
 *
 * Who has the turn must use it, and while others wait nobody may leave a large part of a request lying: such connections are
 * closed.
 */
import type { Clock } from '../../core/clock.ts';
import { kafkaLimits } from './kafka-limits.ts';

/** A connection, as the budget sees it. */
export interface Receiver {
  /** False: it does not read, for reasons of its own or because of holdBack(). */
  readonly isReading: boolean;
  holdBack(): void;
  goOn(): void;
  /** It keeps others waiting. */
  closeStalled(): void;
}

/** What one connection has received and not handled. */
export class ReceiveShare {
  readonly #budget: ReceiveBudget;
  readonly receiver: Receiver;
  bytes = 0;
  /** Length of the request that is not whole; 0 if that is not known yet. */
  requestBytes = 0;
  /** When bytes came, or it could be read again, by the clock of the budget. */
  lastMs = 0;

  constructor(budget: ReceiveBudget, receiver: Receiver) {
    this.#budget = budget;
    this.receiver = receiver;
  }

  /**
   * To be called when bytes were received or handled.
   * @param isNext the request that was awaited at the last call is handled
   */
  note(bytes: number, requestBytes: number, isNext: boolean): void {
    if (bytes === 0 && this.bytes === 0) return;
    this.#budget.note(this, bytes, requestBytes, isNext);
  }

  /** The connection is closed. */
  leave(): void {
    this.#budget.leave(this);
  }
}

/** Bounds of a budget, in bytes. */
export interface BudgetLimits {
  readonly bytesMax: number;
  readonly smallRequestBytes: number;
  readonly smallRequestsBytesMax: number;
}

const kafkaBudgetLimits: BudgetLimits = {
  bytesMax: kafkaLimits.unfinishedBytesMax,
  smallRequestBytes: kafkaLimits.smallRequestBytes,
  smallRequestsBytesMax: kafkaLimits.unfinishedSmallBytesMax,
};

export class ReceiveBudget {
  readonly #clock: Clock;
  readonly #limits: BudgetLimits;
  /** Of all shares. */
  bytes = 0;
  /** Those with bytes. */
  readonly #shares = new Set<ReceiveShare>();
  /** In the order in which they were held back, without the one that has the turn. */
  readonly #waitingSmall = new Set<ReceiveShare>();
  readonly #waitingLarge = new Set<ReceiveShare>();
  #turn: ReceiveShare | undefined;
  #turnEndMs = 0;
  #check: { cancel(): void } | undefined;

  constructor(clock: Clock, limits: BudgetLimits = kafkaBudgetLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  join(receiver: Receiver): ReceiveShare {
    return new ReceiveShare(this, receiver);
  }

  note(share: ReceiveShare, bytes: number, requestBytes: number, isNext: boolean): void {
    share.lastMs = this.#clock.now();
    this.#count(share, bytes);
    share.requestBytes = requestBytes;
    if (share === this.#turn && isNext) this.#turn = undefined;
    const isSmall = this.#isSmall(share);
    if (bytes > 0 && share !== this.#turn && !this.#hasRoom(isSmall) && share.receiver.isReading) {
      share.receiver.holdBack();
      (isSmall ? this.#waitingSmall : this.#waitingLarge).add(share);
    }
    this.#serve();
  }

  leave(share: ReceiveShare): void {
    this.#count(share, 0);
    this.#waitingSmall.delete(share);
    this.#waitingLarge.delete(share);
    if (share === this.#turn) this.#turn = undefined;
    this.#serve();
  }

  #count(share: ReceiveShare, bytes: number): void {
    this.bytes += bytes - share.bytes;
    share.bytes = bytes;
    if (bytes > 0) this.#shares.add(share);
    else this.#shares.delete(share);
  }

  #isSmall({ requestBytes }: ReceiveShare): boolean {
    return requestBytes <= this.#limits.smallRequestBytes;
  }

  #hasRoom(isSmall: boolean): boolean {
    return this.bytes <= (isSmall ? this.#limits.smallRequestsBytesMax : this.#limits.bytesMax);
  }

  /** Lets those go on for whom there is room, and one more. */
  #serve(): void {
    if (this.#waitingSmall.size === 0 && this.#waitingLarge.size === 0) return;
    if (this.#hasRoom(true)) this.#release(this.#waitingSmall);
    if (this.#hasRoom(false)) this.#release(this.#waitingLarge);
    if (this.#turn === undefined) {
      const [small] = this.#waitingSmall;
      const [large] = this.#waitingLarge;
      const first = small === undefined || (large !== undefined && large.lastMs < small.lastMs) ? large : small;
      if (first !== undefined) this.#giveTurn(first);
    }
    this.#watch();
  }

  #release(waiting: Set<ReceiveShare>): void {
    for (const share of waiting) this.#goOn(share);
    waiting.clear();
  }

  #giveTurn(share: ReceiveShare): void {
    this.#turn = share;
    this.#waitingSmall.delete(share);
    this.#waitingLarge.delete(share);
    const missingBytes = Math.max(0, share.requestBytes - share.bytes);
    this.#turnEndMs =
      this.#clock.now() + kafkaLimits.stalledRequestMs + (missingBytes / kafkaLimits.turnBytesPerSecond) * 1000;
    this.#goOn(share);
  }

  #goOn(share: ReceiveShare): void {
    share.lastMs = this.#clock.now();
    share.receiver.goOn();
  }

  /** While some wait, looks again and again for those that keep them waiting. */
  #watch(): void {
    this.#check ??= this.#clock.after(kafkaLimits.stallCheckMs, () => {
      this.#check = undefined;
      if (this.#waitingSmall.size === 0 && this.#waitingLarge.size === 0) return;
      const nowMs = this.#clock.now();
      if (this.#turn !== undefined && nowMs > this.#turnEndMs) this.#turn.receiver.closeStalled();
      for (const share of this.#shares) {
        const isStalled = share.lastMs < nowMs - kafkaLimits.stalledRequestMs && share.receiver.isReading;
        if (isStalled && share.bytes > kafkaLimits.stalledBytesMin) share.receiver.closeStalled();
      }
      this.#serve();
    });
  }
}
