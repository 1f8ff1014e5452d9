/** Member ids that were given out and have not come back with a JoinGroup (KIP-394), each for as long as a session. */
import type { Clock } from '../../core/clock.ts';

export class PendingJoins {
  readonly #clock: Clock;
  readonly #onExpired: (memberId: string) => void;
  readonly #timers = new Map<string, ReturnType<Clock['after']>>();

  /** @param onExpired must take the id out */
  constructor(clock: Clock, onExpired: (memberId: string) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
  }

  get size(): number {
    return this.#timers.size;
  }

  has(memberId: string): boolean {
    return this.#timers.has(memberId);
  }

  add(memberId: string, sessionTimeoutMs: number): void {
    this.#timers.set(
      memberId,
      this.#clock.after(sessionTimeoutMs, () => this.#onExpired(memberId)),
    );
  }

  /** False: it was not there. */
  remove(memberId: string): boolean {
    this.#timers.get(memberId)?.cancel();
    return this.#timers.delete(memberId);
  }

  clear(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }
}
