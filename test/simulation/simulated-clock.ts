// The time of a simulation: it stands still until it is told to go on. Timers belong to a process and end with it.
import type { Clock } from '../../src/core/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

export class SimulatedClock {
  #nowMs = 1_700_000_000_000;
  #timers = new Set<Timer>();

  get nowMs(): number {
    return this.#nowMs;
  }

  /** The clock as the next process sees it; the timers of the one before are gone. */
  startProcess(): Clock {
    const timers = new Set<Timer>();
    this.#timers = timers;
    return {
      now: () => this.#nowMs,
      after: (delayMs, callback) => {
        const timer = { atMs: this.#nowMs + delayMs, callback };
        timers.add(timer);
        return { cancel: () => timers.delete(timer) };
      },
    };
  }

  /** Runs what is due on the way, in order of time. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    const timers = this.#timers;
    for (let next = earliest(timers, endMs); next !== undefined; next = earliest(timers, endMs)) {
      timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
    }
    this.#nowMs = endMs;
  }
}

const earliest = (timers: ReadonlySet<Timer>, endMs: number): Timer | undefined => {
  let found: Timer | undefined;
  for (const timer of timers) {
    if (timer.atMs <= endMs && (found === undefined || timer.atMs < found.atMs)) found = timer;
  }
  return found;
};
