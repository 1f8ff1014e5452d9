/**
 * Gathers settlements and commits them together. They cause no commit of their own for a while: they go along with the next
 * one of their shard, or after `settleDelayMs`. So a queue that is consumed as fast as it is published to costs no write for
 * its acks. Neighbouring offsets become one range, so a consumer that settles in order costs a few bytes per commit and not
 * per message.
 *
 * Nobody waits for a settlement, with one exception: whoever replies to a client that settled before calls flush() first.
 */
import type { Clock } from '../../core/clock.ts';
import { limits } from '../../core/limits.ts';
import { ackBytes } from '../../log/log-records.ts';
import type { LogStore } from '../../log/log-store.ts';
import { type Rider, recordHeaderBytes, recordType, writeRecordHeader } from '../../shard/shard.ts';
import type { SubscriptionPart } from './subscription-part.ts';

/** A commit is made at this many ranges at once. */
const rangesMax = 65_536;

export interface AckCollectorOptions {
  readonly store: LogStore;
  readonly clock: Clock;
  /** The shard took no commit when the delay was over. */
  readonly onFailed: (error: Error) => void;
}

export class AckCollector implements Rider {
  readonly #options: AckCollectorOptions;
  readonly #parts: SubscriptionPart[] = [];
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  #isScheduled = false;

  constructor(options: AckCollectorOptions) {
    this.#options = options;
    options.store.shard.addRider(this);
  }

  add(part: SubscriptionPart, from: number, to: number): void {
    const last = this.#parts.length - 1;
    if (last >= 0 && this.#parts[last] === part) {
      if (this.#to[last] === from) {
        this.#to[last] = to;
        return;
      }
      if (this.#from[last] === to) {
        this.#from[last] = from;
        return;
      }
    }
    this.#parts.push(part);
    this.#from.push(from);
    this.#to.push(to);
    if (last + 2 >= rangesMax) this.flush();
    else if (!this.#isScheduled) this.#schedule();
  }

  /** Commits what was settled until now. */
  flush(): void {
    if (this.#parts.length > 0) this.#options.store.shard.commitRiders();
  }

  sizeBytes(): number {
    return this.#parts.length === 0 ? 0 : recordHeaderBytes + ackBytes * this.#parts.length;
  }

  write(buffer: Buffer, start: number): void {
    const count = this.#parts.length;
    let at = writeRecordHeader(buffer, start, recordType.ack, 1, count * ackBytes);
    for (let i = 0; i < count; i++, at += ackBytes) {
      const part = this.#parts[i]!;
      buffer.writeUInt32LE(part.log.id, at);
      buffer.writeUInt32LE(part.subscriptionId, at + 4);
      buffer.writeDoubleLE(this.#from[i]!, at + 8);
      buffer.writeDoubleLE(this.#to[i]!, at + 16);
    }
  }

  committed(): void {
    for (let i = 0; i < this.#parts.length; i++) this.#parts[i]!.inFlightCount -= this.#to[i]! - this.#from[i]!;
    this.#parts.length = 0;
    this.#from.length = 0;
    this.#to.length = 0;
  }

  #schedule(): void {
    this.#isScheduled = true;
    this.#options.clock.after(limits.settleDelayMs, this.#onDelayOver);
  }

  readonly #onDelayOver = (): void => {
    this.#isScheduled = false;
    try {
      this.flush();
    } catch (error) {
      this.#options.onFailed(error as Error);
    }
  };
}
