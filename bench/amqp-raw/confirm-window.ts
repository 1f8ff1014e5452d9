// Which of the published messages are confirmed. Brokers confirm one by one, in groups (`multiple`), and mix both out of order.

/** A ring of flags over delivery tags; every tag up to `#floor` is settled. */
export class ConfirmWindow {
  settledCount = 0;
  #floor = 0;
  readonly #isSettled: Uint8Array;
  readonly #mask: number;

  /** `size`: the most messages that are ever unconfirmed at once. */
  constructor(size: number) {
    const capacity = 2 ** Math.ceil(Math.log2(size + 1));
    this.#isSettled = new Uint8Array(capacity);
    this.#mask = capacity - 1;
  }

  settle(tag: number, multiple: boolean): void {
    if (multiple) {
      while (this.#floor < tag) this.#advance();
      return;
    }
    if (tag <= this.#floor || this.#isSettled[tag & this.#mask] === 1)
      throw new Error(`tag ${tag} was confirmed twice`);
    this.#isSettled[tag & this.#mask] = 1;
    this.settledCount += 1;
    while (this.#isSettled[(this.#floor + 1) & this.#mask] === 1) this.#advance();
  }

  #advance(): void {
    this.#floor += 1;
    const slot = this.#floor & this.#mask;
    if (this.#isSettled[slot] === 0) this.settledCount += 1;
    this.#isSettled[slot] = 0;
  }
}
