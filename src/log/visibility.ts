/** What of the logs may be seen: moves their ends as commits become durable, and tells their watchers once per group. */
import type { Position } from '../core/ids.ts';
import type { Log } from './log.ts';

/** The queues of what is durable are squeezed when so many places at their head are free. */
const squeezeFrom = 4096;

export class Visibility {
  /** Runs and batches that are not durable yet, in order: end position in the shard's log, log, end offset. */
  #positions: number[] = [];
  #logs: Log[] = [];
  #ends: number[] = [];
  #head = 0;
  /** Logs whose watchers must be told. */
  #changed: Log[] = [];
  #isNotifyScheduled = false;

  /** Messages from `firstOffset` to the log's end were appended by a commit that ends at `position`. */
  appended(position: Position, log: Log, firstOffset: number, isTransient: boolean): void {
    this.#positions.push(position);
    this.#logs.push(log);
    this.#ends.push(log.endOffset);
    if (!isTransient || log.visibleEnd !== firstOffset) return;
    log.visibleEnd = log.endOffset;
    this.#noteChanged(log);
    if (this.#isNotifyScheduled) return;
    this.#isNotifyScheduled = true;
    process.nextTick(() => this.#notifyChanged());
  }

  durableUpTo(position: Position): void {
    let at = this.#head;
    const count = this.#positions.length;
    while (at < count && this.#positions[at]! <= position) {
      const log = this.#logs[at]!;
      log.durableEnd = this.#ends[at]!;
      if (log.visibleEnd < log.durableEnd) log.visibleEnd = log.durableEnd;
      this.#noteChanged(log);
      at++;
    }
    this.#head = at;
    if (at === count) {
      this.#head = this.#positions.length = this.#logs.length = this.#ends.length = 0;
    } else if (at > squeezeFrom && at * 2 > count) {
      this.#positions = this.#positions.slice(at);
      this.#logs = this.#logs.slice(at);
      this.#ends = this.#ends.slice(at);
      this.#head = 0;
    }
    this.#notifyChanged();
  }

  #notifyChanged(): void {
    this.#isNotifyScheduled = false;
    const changed = this.#changed;
    if (changed.length === 0) return;
    this.#changed = [];
    for (const log of changed) log.changeNoted = false;
    for (const log of changed) log.notifyWatchers();
  }

  #noteChanged(log: Log): void {
    if (log.changeNoted) return;
    log.changeNoted = true;
    this.#changed.push(log);
  }
}
