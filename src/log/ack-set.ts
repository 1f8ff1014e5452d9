/**
 * What one subscription has settled in one log: everything below the floor, and ranges above it. Sorted, disjoint, never
 * touching; the floor swallows a range that reaches it.
 */
export class AckSet {
  /** Where the subscription began in this log. */
  #startFloor: number;
  /** All offsets below are settled. */
  #floor: number;
  /** Settled ranges above the floor, [from, to) pairwise, ascending, with a gap before each. */
  readonly #ranges: number[] = [];
  /** How many offsets are in them. */
  #rangedCount = 0;
  /** Offsets below have been delivered at least once, as far as is logged. */
  deliveredMark: number;
  /** The same, as far as is known; what is above deliveredMark waits for a commit to ride on. */
  pendingMark: number;

  constructor(floor: number) {
    this.#startFloor = floor;
    this.#floor = floor;
    this.deliveredMark = floor;
    this.pendingMark = floor;
  }

  get startFloor(): number {
    return this.#startFloor;
  }

  get floor(): number {
    return this.#floor;
  }

  get ranges(): readonly number[] {
    return this.#ranges;
  }

  /** Nothing at or above it is settled. */
  get end(): number {
    return this.#ranges.at(-1) ?? this.#floor;
  }

  has(offset: number): boolean {
    if (offset < this.#floor) return true;
    if (this.#ranges.length === 0) return false;
    const index = this.#lastStartingAtOrBelow(offset);
    return index >= 0 && offset < this.#ranges[index + 1]!;
  }

  /** First offset at or after `offset` that is not settled. */
  nextOpen(offset: number): number {
    if (offset < this.#floor) return this.nextOpen(this.#floor);
    if (this.#ranges.length === 0) return offset;
    const index = this.#lastStartingAtOrBelow(offset);
    return index >= 0 && offset < this.#ranges[index + 1]! ? this.#ranges[index + 1]! : offset;
  }

  /** First offset at or after `offset` that is settled; Infinity if none is. */
  nextSettled(offset: number): number {
    if (offset < this.#floor) return offset;
    if (this.#ranges.length === 0) return Number.POSITIVE_INFINITY;
    const index = this.#lastStartingAtOrBelow(offset);
    if (index >= 0 && offset < this.#ranges[index + 1]!) return offset;
    return index + 2 < this.#ranges.length ? this.#ranges[index + 2]! : Number.POSITIVE_INFINITY;
  }

  /** How many of [from, to) are settled. */
  countWithin(from: number, to: number): number {
    let count = Math.max(0, Math.min(to, this.#floor) - from);
    for (
      let i = Math.max(0, this.#lastStartingAtOrBelow(from));
      i < this.#ranges.length && this.#ranges[i]! < to;
      i += 2
    ) {
      count += Math.max(0, Math.min(to, this.#ranges[i + 1]!) - Math.max(from, this.#ranges[i]!));
    }
    return count;
  }

  /** How many at or above `from`, which is not below the floor, are settled. Looks at the ranges on one side of it, the fewer. */
  countFrom(from: number): number {
    const ranges = this.#ranges;
    const index = this.#lastStartingAtOrBelow(from);
    const within = index < 0 ? 0 : Math.max(0, ranges[index + 1]! - from);
    let count = 0;
    if (index + 2 > ranges.length / 2) {
      for (let i = index + 2; i < ranges.length; i += 2) count += ranges[i + 1]! - ranges[i]!;
      return count + within;
    }
    for (let i = 0; i <= index; i += 2) count += ranges[i + 1]! - ranges[i]!;
    return this.#rangedCount - count + within;
  }

  /** Settles [from, to). Offsets that were settled before stay so. */
  add(from: number, to: number): void {
    if (to <= this.#floor) return;
    if (from <= this.#floor) {
      this.#floor = to;
      this.#swallow();
      return;
    }
    const ranges = this.#ranges;
    // First range that ends at or after `from`: everything from there that starts at or before `to` melts into one.
    let first = Math.max(0, this.#lastStartingAtOrBelow(from));
    if (first < ranges.length && ranges[first + 1]! < from) first += 2;
    let last = first;
    let start = from;
    let end = to;
    while (last < ranges.length && ranges[last]! <= to) {
      start = Math.min(start, ranges[last]!);
      end = Math.max(end, ranges[last + 1]!);
      this.#rangedCount -= ranges[last + 1]! - ranges[last]!;
      last += 2;
    }
    this.#rangedCount += end - start;
    if (last === first + 2) {
      ranges[first] = start;
      ranges[first + 1] = end;
    } else {
      ranges.splice(first, last - first, start, end);
    }
  }

  /** The log starts here now: everything below counts as settled. */
  raiseFloor(floor: number): void {
    if (floor <= this.#floor) return;
    this.#floor = floor;
    this.#swallow();
  }

  /** The subscription begins lower, at what turned out to be the end of the log; nothing was settled after its start. */
  beginAt(floor: number): void {
    this.#startFloor = floor;
    this.#floor = floor;
    this.deliveredMark = floor;
    this.pendingMark = floor;
  }

  #swallow(): void {
    const ranges = this.#ranges;
    let gone = 0;
    while (gone < ranges.length && ranges[gone]! <= this.#floor) {
      if (ranges[gone + 1]! > this.#floor) this.#floor = ranges[gone + 1]!;
      this.#rangedCount -= ranges[gone + 1]! - ranges[gone]!;
      gone += 2;
    }
    if (gone > 0) ranges.splice(0, gone);
  }

  /** Index of the last range that starts at or below `offset`, -2 if none. */
  #lastStartingAtOrBelow(offset: number): number {
    let low = 0;
    let high = this.#ranges.length >> 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ranges[middle * 2]! <= offset) low = middle + 1;
      else high = middle;
    }
    return low * 2 - 2;
  }
}
