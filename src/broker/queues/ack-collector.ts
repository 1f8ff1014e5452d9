/**
 * Gathers settlements and commits them together, once per turn at the latest. Neighbouring offsets become one range, so a
 * consumer that settles in order costs a few bytes per commit and not per message.
 */
import { ackBytes, type LogStore } from '../../log/log-store.ts';
import { recordType } from '../../shard/shard.ts';
import type { SubscriptionPart } from './subscription-part.ts';

/** A commit is made at this many ranges even within a turn. */
const rangesMax = 65_536;

export class AckCollector {
  readonly #store: LogStore;
  readonly #parts: SubscriptionPart[] = [];
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  #scheduled = false;

  constructor(store: LogStore) {
    this.#store = store;
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
    else if (!this.#scheduled) {
      this.#scheduled = true;
      process.nextTick(() => {
        this.#scheduled = false;
        this.flush();
      });
    }
  }

  flush(): void {
    const count = this.#parts.length;
    if (count === 0) return;
    const shard = this.#store.shard;
    let at = shard.beginCommit(recordType.ack, 1, count * ackBytes);
    const buffer = shard.log.reservedBuffer;
    for (let i = 0; i < count; i++, at += ackBytes) {
      const part = this.#parts[i]!;
      buffer.writeUInt32LE(part.log.id, at);
      buffer.writeUInt32LE(part.subscriptionId, at + 4);
      buffer.writeDoubleLE(this.#from[i]!, at + 8);
      buffer.writeDoubleLE(this.#to[i]!, at + 16);
      part.inFlightCount -= this.#to[i]! - this.#from[i]!;
    }
    this.#parts.length = 0;
    this.#from.length = 0;
    this.#to.length = 0;
    shard.endCommit();
  }
}
