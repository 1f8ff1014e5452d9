/**
 * The durable gate: nothing that is based on a commit leaves the process before that commit is durable.
 *
 * A ticket numbers the commits of all shards in the order in which they were made. A reply takes the ticket that is current
 * at its decide and waits until every commit up to it is durable, whichever shard it went to: one number is enough, and a
 * reply may be based on the state of several shards. Waiters are kept in rings of plain values; there is no promise and no
 * closure per message.
 */
export interface DurableWaiter {
  onDurable(): void;
}

const ringInitialLength = 1024;

/** First-in first-out queue of numbers over one typed array. */
class NumberRing {
  #values = new Float64Array(ringInitialLength);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Float64Array(this.#values.length * 2);
      for (let i = 0; i < this.#length; i++) grown[i] = this.#values[(this.#head + i) & (this.#values.length - 1)]!;
      this.#values = grown;
      this.#head = 0;
    }
    this.#values[(this.#head + this.#length) & (this.#values.length - 1)] = value;
    this.#length++;
  }

  /** The oldest value; only when length > 0. */
  first(): number {
    return this.#values[this.#head]!;
  }

  shift(): number {
    const value = this.#values[this.#head]!;
    this.#head = (this.#head + 1) & (this.#values.length - 1);
    this.#length--;
    return value;
  }
}

/** Commits of one shard that are not durable yet: end position and ticket, pairwise, both ascending. */
class Pending {
  readonly ends = new NumberRing();
  readonly tickets = new NumberRing();
}

export class DurableGate {
  #current = 0;
  #durable = 0;
  readonly #pending: Pending[] = [];
  /** Tickets waited for and who waits, pairwise, in order of registration. */
  #waitTickets: number[] = [];
  #waiters: DurableWaiter[] = [];
  #running = false;
  /** Of those that wait with durableNow(). */
  readonly #rejects = new Set<(error: Error) => void>();
  #failure: Error | undefined;

  constructor(shardCount: number) {
    for (let i = 0; i < shardCount; i++) this.#pending.push(new Pending());
  }

  /** Ticket of the last commit. */
  get current(): number {
    return this.#current;
  }

  /** Every commit with a ticket at or below it is durable. */
  get durable(): number {
    return this.#durable;
  }

  /** A commit was appended to a shard's log and ends at `end`. */
  committed(shardIndex: number, end: number): void {
    this.#current++;
    const pending = this.#pending[shardIndex]!;
    pending.ends.push(end);
    pending.tickets.push(this.#current);
  }

  /** A shard's log is durable up to `position`. Runs the waiters that this frees. */
  advance(shardIndex: number, position: number): void {
    const { ends, tickets } = this.#pending[shardIndex]!;
    while (ends.length > 0 && ends.first() <= position) {
      ends.shift();
      tickets.shift();
    }
    let durable = this.#current;
    for (const pending of this.#pending) {
      if (pending.tickets.length > 0) durable = Math.min(durable, pending.tickets.first() - 1);
    }
    this.#durable = durable;
    this.#run();
  }

  /**
   * Calls `waiter.onDurable()` once everything up to `ticket` is durable; at the next advance if it is already. Meant for
   * one registration per connection at a time: the connection keeps its outputs in order and waits for the oldest.
   */
  wait(ticket: number, waiter: DurableWaiter): void {
    this.#waitTickets.push(ticket);
    this.#waiters.push(waiter);
  }

  /** Resolves when all that is committed at the call is durable; rejects when a shard has failed. For what is rare. */
  durableNow(): Promise<void> {
    if (this.#durable >= this.#current) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject);
      const onDurable = (): void => {
        this.#rejects.delete(reject);
        resolve();
      };
      this.wait(this.#current, { onDurable });
    });
  }

  /** Nothing more is told: the broker is on its way to be opened again. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** A shard has failed: what is not durable will not be told of any more. */
  fail(error: Error): void {
    this.#failure ??= error;
    for (const reject of this.#rejects) reject(error);
    this.#rejects.clear();
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    // A waiter may register again while it runs. Tickets may come out of order (a waiter registers for the oldest of its
    // outputs), so everything is looked at; there is one registration per connection at most.
    const count = this.#waiters.length;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const ticket = this.#waitTickets[i]!;
      const waiter = this.#waiters[i]!;
      if (ticket <= this.#durable) {
        waiter.onDurable();
      } else {
        this.#waitTickets[kept] = ticket;
        this.#waiters[kept] = waiter;
        kept++;
      }
    }
    for (let i = count; i < this.#waiters.length; i++) {
      this.#waitTickets[kept] = this.#waitTickets[i]!;
      this.#waiters[kept] = this.#waiters[i]!;
      kept++;
    }
    this.#waitTickets.length = kept;
    this.#waiters.length = kept;
    this.#running = false;
  }
}
