/**
 * Heartbeats of one connection: sends one when nothing else was written for half the negotiated interval, and reports the
 * peer dead when two intervals have passed without a byte from it.
 */
import type { Clock } from '../../core/clock.ts';
import { heartbeatFrame } from './frames.ts';
import type { SocketOutput } from './socket-output.ts';

/** Ticks without a byte until the peer is dead: two intervals of two ticks, and the one that was cut short. */
const silentTicksMax = 5;

export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly output: SocketOutput;
  readonly intervalSeconds: number;
  /** True while we do not read: silence is not the peer's then. */
  readonly isReadingPaused: () => boolean;
  readonly onDead: () => void;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: { cancel(): void } | undefined;
  #silentTicks = 0;
  /** Something was received since the last tick. */
  received = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    if (options.intervalSeconds > 0) this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const { clock, intervalSeconds } = this.#options;
    this.#timer = clock.after(intervalSeconds * 500, () => this.#tick());
  }

  #tick(): void {
    const { output, isReadingPaused, onDead } = this.#options;
    this.#silentTicks = this.received || isReadingPaused() ? 0 : this.#silentTicks + 1;
    this.received = false;
    if (this.#silentTicks >= silentTicksMax) {
      onDead();
      return;
    }
    if (!output.wroteSinceTick) output.write(heartbeatFrame);
    output.wroteSinceTick = false;
    this.#arm();
  }
}
