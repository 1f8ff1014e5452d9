// Publishes as fast as the window or the socket allows. The messages are encoded once, side by side in one buffer; every write is a
// slice of it, so the cost per message is next to nothing and the broker is what is measured.

import { contentFrames, FRAME_METHOD, METHOD, methodFrame, octet, shortString, uint16 } from './codec.ts';
import { ConfirmWindow } from './confirm-window.ts';
import { CHANNEL, type RawConnection } from './connection.ts';

/** Without confirms: how many writes before other sockets get their turn. */
const WRITES_PER_TURN = 16;

export interface PublishOptions {
  /** Published to in turn. */
  readonly queues: readonly string[];
  /** Messages in a row for one queue before the next has its turn. */
  readonly run: number;
  readonly sizeBytes: number;
  readonly isPersistent: boolean;
  /** Most unconfirmed messages; 0 publishes without confirms. */
  readonly window: number;
  /** Most messages in one write. */
  readonly batch: number;
}

export class Publisher {
  publishedCount = 0;
  rejectedCount = 0;
  /** Of each confirm, in microseconds; kept only for a window of 1. */
  readonly latenciesUs: number[] = [];
  readonly #connection: RawConnection;
  readonly #options: PublishOptions;
  readonly #confirms: ConfirmWindow;
  /** Whole messages, one after the other; message i is the bytes from #starts[i] to #starts[i + 1]. */
  readonly #encoded: Buffer;
  readonly #starts: readonly number[];
  #next = 0;
  #writtenAtNs = 0n;
  #isStopped = false;
  #onAllConfirmed: (() => void) | undefined;

  constructor(connection: RawConnection, options: PublishOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#confirms = new ConfirmWindow(Math.max(options.window, 1));
    const content = contentFrames(CHANNEL, Buffer.alloc(options.sizeBytes, 'x'), options.isPersistent);
    const round = options.queues.flatMap((queue) => {
      const args = [uint16(0), shortString(''), shortString(queue), octet(0)];
      const message = Buffer.concat([methodFrame(CHANNEL, METHOD.publish, ...args), content]);
      return Array.from({ length: options.run }, () => message);
    });
    const repeats = Math.ceil(options.batch / round.length);
    const messages = Array.from({ length: repeats }, () => round).flat();
    this.#encoded = Buffer.concat(messages);
    const starts = [0];
    for (const message of messages) starts.push(starts.at(-1)! + message.length);
    this.#starts = starts;
  }

  /** Confirmed by the broker, rejected ones included. */
  get confirmedCount(): number {
    return this.#confirms.settledCount;
  }

  start(): void {
    if (this.#options.window === 0) {
      this.#publishFlatOut();
      return;
    }
    this.#connection.onFrame = (type, bytes, at) => this.#settle(type, bytes, at);
    this.#connection.onChunkEnd = () => this.#fillWindow();
    this.#fillWindow();
  }

  /** Publishes nothing more; returns when everything published is confirmed, or written if there are no confirms. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#options.window === 0 || this.confirmedCount === this.publishedCount) return;
    await new Promise<void>((resolve) => {
      this.#onAllConfirmed = resolve;
    });
  }

  #settle(type: number, bytes: Buffer, at: number): void {
    if (type !== FRAME_METHOD) return;
    const method = bytes.readUInt32BE(at);
    if (method !== METHOD.ack && method !== METHOD.nack) return;
    const before = this.confirmedCount;
    const tag = bytes.readUInt32BE(at + 4) * 2 ** 32 + bytes.readUInt32BE(at + 8);
    const multiple = (bytes[at + 12]! & 1) === 1;
    if (tag > this.publishedCount) throw new Error(`tag ${tag} was confirmed but not published`);
    this.#confirms.settle(tag, multiple);
    if (method === METHOD.nack) this.rejectedCount += this.confirmedCount - before;
    if (this.#options.window === 1) this.latenciesUs.push(Number(process.hrtime.bigint() - this.#writtenAtNs) / 1000);
  }

  /** Waits for a quarter of the window to be free, so that writes stay large when confirms trickle in. */
  #fillWindow(): void {
    const { window, batch } = this.#options;
    if (this.#isStopped) {
      if (this.confirmedCount === this.publishedCount) this.#onAllConfirmed?.();
      return;
    }
    const worthWriting = Math.max(1, Math.min(batch, window >> 2));
    for (;;) {
      const free = window - (this.publishedCount - this.confirmedCount);
      if (free < worthWriting) return;
      this.#write(Math.min(free, batch));
    }
  }

  #publishFlatOut(): void {
    for (let writes = 0; writes < WRITES_PER_TURN; writes += 1) {
      if (this.#isStopped) return;
      if (!this.#write(this.#options.batch)) {
        this.#connection.socket.once('drain', () => this.#publishFlatOut());
        return;
      }
    }
    setImmediate(() => this.#publishFlatOut());
  }

  /** Writes up to `count` messages; false when the socket wants a pause. */
  #write(count: number): boolean {
    const messageCount = this.#starts.length - 1;
    const end = Math.min(this.#next + count, messageCount);
    this.publishedCount += end - this.#next;
    const bytes = this.#encoded.subarray(this.#starts[this.#next], this.#starts[end]);
    this.#next = end === messageCount ? 0 : end;
    if (this.#options.window === 1) this.#writtenAtNs = process.hrtime.bigint();
    return this.#connection.socket.write(bytes);
  }
}
