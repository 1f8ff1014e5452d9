/**
 * Deliveries of one channel that the client has not settled, in order of delivery tag: parallel arrays, no object per
 * delivery. Settled ones leave gaps, which are squeezed out when the arrays are full; so memory follows what is out, not
 * how far apart the tags are.
 */
import type { SubscriptionPart } from '../../broker/queues/subscription-part.ts';
import type { Consumer } from './consumer.ts';

const initialLength = 64;

export class Unacked {
  #tags = new Float64Array(initialLength);
  #offsets = new Float64Array(initialLength);
  /** Undefined: settled. */
  #parts: (SubscriptionPart | undefined)[] = [];
  /** Undefined: from basic.get. */
  #consumers: (Consumer | undefined)[] = [];
  /** Entries lie in [#head, #tail); the one at #head is not settled. */
  #head = 0;
  #tail = 0;
  #count = 0;

  /** Deliveries that are out. */
  get count(): number {
    return this.#count;
  }

  /** Index of the oldest delivery that is out; only when count > 0. */
  get first(): number {
    return this.#head;
  }

  /** One past the youngest. */
  get end(): number {
    return this.#tail;
  }

  add(tag: number, part: SubscriptionPart, offset: number, consumer: Consumer | undefined): void {
    if (this.#tail === this.#tags.length) this.#makeRoom();
    const at = this.#tail++;
    this.#tags[at] = tag;
    this.#offsets[at] = offset;
    this.#parts[at] = part;
    this.#consumers[at] = consumer;
    this.#count++;
  }

  /** Index of the delivery with this tag; -1 if it is not out. */
  indexOf(tag: number): number {
    if (this.#count === 0) return -1;
    // Tags mostly follow one another, so the place can be guessed.
    const guess = this.#head + (tag - this.#tags[this.#head]!);
    const at = guess < this.#tail && this.#tags[guess] === tag ? guess : this.#search(tag);
    return at >= 0 && this.#parts[at] !== undefined ? at : -1;
  }

  /** Undefined when the entry is settled. */
  part(index: number): SubscriptionPart | undefined {
    return this.#parts[index];
  }

  offset(index: number): number {
    return this.#offsets[index]!;
  }

  consumer(index: number): Consumer | undefined {
    return this.#consumers[index];
  }

  /** The entry is settled. Indexes of others stay. */
  remove(index: number): void {
    this.#parts[index] = undefined;
    this.#consumers[index] = undefined;
    this.#count--;
    if (index !== this.#head) return;
    if (this.#count === 0) {
      this.#head = 0;
      this.#tail = 0;
      return;
    }
    while (this.#parts[this.#head] === undefined) this.#head++;
  }

  #search(tag: number): number {
    let low = this.#head;
    let high = this.#tail - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.#tags[middle]!;
      if (found === tag) return middle;
      if (found < tag) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Squeezes out the gaps; twice the room if more than half would still be taken. */
  #makeRoom(): void {
    const grows = this.#count > this.#tags.length / 2;
    const length = grows ? this.#tags.length * 2 : this.#tags.length;
    const tags = grows ? new Float64Array(length) : this.#tags;
    const offsets = grows ? new Float64Array(length) : this.#offsets;
    let to = 0;
    for (let from = this.#head; from < this.#tail; from++) {
      const part = this.#parts[from];
      if (part === undefined) continue;
      tags[to] = this.#tags[from]!;
      offsets[to] = this.#offsets[from]!;
      this.#parts[to] = part;
      this.#consumers[to] = this.#consumers[from];
      to++;
    }
    this.#tags = tags;
    this.#offsets = offsets;
    this.#parts.length = to;
    this.#consumers.length = to;
    this.#head = 0;
    this.#tail = to;
  }
}
