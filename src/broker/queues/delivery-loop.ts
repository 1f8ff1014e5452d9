/**
 * Runs subscriptions that have something to do, each for a slice, so that none starves another and sockets get their turn.
 */
export interface Pumpable {
  /** Delivers at most `count` messages; true if it could go on. */
  pump(count: number): boolean;
}

/** Messages a subscription may deliver before the next one has its turn. */
const sliceMessages = 512;
/** Messages per turn of the event loop. */
const turnMessages = 8192;

export class DeliveryLoop {
  #queue: Pumpable[] = [];
  readonly #queued = new Set<Pumpable>();
  #scheduled = false;

  schedule(subscription: Pumpable): void {
    if (this.#queued.has(subscription)) return;
    this.#queued.add(subscription);
    this.#queue.push(subscription);
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => this.#run());
  }

  #run(): void {
    let left = turnMessages;
    while (this.#queue.length > 0 && left > 0) {
      const queue = this.#queue;
      this.#queue = [];
      for (const subscription of queue) {
        this.#queued.delete(subscription);
        if (left <= 0 || subscription.pump(Math.min(left, sliceMessages))) {
          if (!this.#queued.has(subscription)) {
            this.#queued.add(subscription);
            this.#queue.push(subscription);
          }
        }
        left -= sliceMessages;
      }
    }
    this.#scheduled = false;
    if (this.#queue.length > 0) {
      this.#scheduled = true;
      setImmediate(() => this.#run());
    }
  }
}
