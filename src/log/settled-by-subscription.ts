/** The ack sets of a log by subscription id. A map from the second one on: most logs are of queues and have one. */
import type { AckSet } from './ack-set.ts';

export class SettledBySubscription {
  #firstId = -1;
  #first: AckSet | undefined;
  /** All but the first one. */
  #others: Map<number, AckSet> | undefined;

  get size(): number {
    return (this.#first === undefined ? 0 : 1) + (this.#others?.size ?? 0);
  }

  get(id: number): AckSet | undefined {
    return id === this.#firstId ? this.#first : this.#others?.get(id);
  }

  set(id: number, acks: AckSet): void {
    if (id === this.#firstId || (this.#first === undefined && this.#others?.has(id) !== true)) {
      this.#firstId = id;
      this.#first = acks;
      return;
    }
    this.#others ??= new Map();
    this.#others.set(id, acks);
  }

  delete(id: number): void {
    if (id === this.#firstId) {
      this.#firstId = -1;
      this.#first = undefined;
    } else {
      this.#others?.delete(id);
    }
  }

  *values(): Generator<AckSet> {
    if (this.#first !== undefined) yield this.#first;
    if (this.#others !== undefined) yield* this.#others.values();
  }

  *[Symbol.iterator](): Generator<[id: number, acks: AckSet]> {
    if (this.#first !== undefined) yield [this.#firstId, this.#first];
    if (this.#others !== undefined) yield* this.#others;
  }
}
