// Which commits a restart has kept, as far as it can be seen: of each shard a beginning, each of them whole.
import assert from 'node:assert/strict';

export class Survivors {
  /** Everything up to this ticket was told as durable. */
  readonly durableTicket: number;
  /** Of each shard the last commit that is there, and the first that is not. */
  readonly #lastKept: number[] = [];
  readonly #firstLost: number[] = [];

  constructor(durableTicket: number) {
    this.durableTicket = durableTicket;
  }

  kept(shard: number, ticket: number): void {
    this.#lastKept[shard] = Math.max(this.#lastKept[shard] ?? 0, ticket);
  }

  lost(shard: number, ticket: number, what: string): void {
    assert.ok(ticket > this.durableTicket, `${what} was told as durable and is lost`);
    this.#firstLost[shard] = Math.min(this.#firstLost[shard] ?? Number.POSITIVE_INFINITY, ticket);
  }

  check(): void {
    for (const [shard, ticket] of this.#lastKept.entries()) {
      const lost = this.#firstLost[shard] ?? Number.POSITIVE_INFINITY;
      assert.ok((ticket ?? 0) < lost, `shard ${shard} has kept commit ${ticket}, and not all of commit ${lost}`);
    }
  }
}

/** One value with what was asked of it since it was last known for certain. */
export class Register<Value extends string | number | boolean | undefined> {
  readonly #shard: number;
  /** The first is durable; tickets of the others ascend. */
  #history: { readonly value: Value; readonly ticket: number }[];

  constructor(value: Value, shard = 0) {
    this.#shard = shard;
    this.#history = [{ value, ticket: 0 }];
  }

  /** As the process sees it. */
  get value(): Value {
    return this.#history.at(-1)!.value;
  }

  /** All that a restart might find. */
  get values(): Value[] {
    return this.#history.map(({ value }) => value);
  }

  set(value: Value, ticket: number): void {
    this.#history.push({ value, ticket });
  }

  /** A restart has found `observed`. */
  recover(observed: Value, survivors: Survivors, what: string): void {
    const history = this.#history;
    const first = history.findLastIndex(({ ticket }) => ticket <= survivors.durableTicket);
    const matches = history.flatMap(({ value }, index) => (index >= first && value === observed ? [index] : []));
    const possible = history.slice(first).map(({ value }) => value);
    assert.ok(matches.length > 0, `${what} is ${String(observed)}, and should be one of ${possible.join(', ')}`);
    for (const [index, { ticket }] of history.entries()) {
      if (index > 0 && index <= matches[0]!) survivors.kept(this.#shard, ticket);
      if (index > matches.at(-1)!) survivors.lost(this.#shard, ticket, what);
    }
    this.#history = [{ value: observed, ticket: 0 }];
  }
}
