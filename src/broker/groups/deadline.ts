/**
 * A point in time that is moved far more often than it is reached, such as the end of a session: while it only moves back,
 * the timer stays as it is and looks again when it fires, so a heartbeat costs two assignments.
 */
import type { Clock } from '../../core/clock.ts';

/** A timer that fires so much too late tells that the process, or the clock, stood still: nobody could have been heard. */
const stallMs = 1000;

export class Deadline {
  readonly #clock: Clock;
  readonly #onReached: () => void;
  #periodMs = 0;
  #dueMs = 0;
  /** Never later than #dueMs while #timer is set. */
  #armedForMs = 0;
  #timer: { cancel(): void } | undefined;

  constructor(clock: Clock, onReached: () => void) {
    this.#clock = clock;
    this.#onReached = onReached;
  }

  /** From now on `periodMs`; replaces what was set before. */
  set(periodMs: number): void {
    this.#periodMs = periodMs;
    this.#dueMs = this.#clock.now() + periodMs;
    if (this.#timer !== undefined && this.#armedForMs <= this.#dueMs) return;
    this.#timer?.cancel();
    this.#arm();
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const nowMs = this.#clock.now();
    // Further away than a whole period: the clock was set back.
    this.#dueMs = Math.min(this.#dueMs, nowMs + this.#periodMs);
    this.#armedForMs = this.#dueMs;
    this.#timer = this.#clock.after(this.#dueMs - nowMs, () => this.#look());
  }

  #look(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.now();
    if (nowMs - this.#armedForMs > stallMs) this.#dueMs = nowMs + this.#periodMs;
    if (nowMs < this.#dueMs) this.#arm();
    else this.#onReached();
  }
}
