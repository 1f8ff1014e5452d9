// A queue as a naive list. One part is one log as one subscription sees it: the list of its messages by offset, each
// ready, out or settled, with what a crash may and may not undo.
import assert from 'node:assert/strict';
import type { SeenCommit } from './stand.ts';

export type MessageState = 'ready' | 'out' | 'settled';

export interface QueuedMessage {
  readonly offset: number;
  readonly body: string;
  readonly transient: boolean;
  /** Of its commit; 0 for what an earlier process published. */
  readonly publishTicket: number;
  state: MessageState;
  /** Was out in this process. */
  isReturned: boolean;
  /** All commits up to it are durable: so is its settlement. Undefined while that is not committed. */
  settledTicket: number | undefined;
}

export interface ObservedDelivery {
  readonly offset: number;
  readonly body: string;
  readonly redelivered: boolean;
  /** That of the last commit before it. */
  readonly ticket: number;
  /** Whether the commit with a ticket is on disk. */
  readonly isDurable: (ticket: number) => boolean;
}

interface DeliveredMark {
  readonly mark: number;
  /** It goes along with the first commit of the shard after this ticket. */
  readonly afterTicket: number;
}

export class PartModel {
  readonly shard: number;
  readonly isQueue: boolean;
  /** By offset; those below the first are settled. */
  messages: QueuedMessage[] = [];
  endOffset: number;
  /** Offsets below were delivered before this process, for certain; offsets from `perhapsMark` on never. */
  certainMark: number;
  perhapsMark: number;
  #marks: DeliveredMark[] = [];
  #readyCount = 0;
  #outCount = 0;

  constructor(shard: number, isQueue: boolean, endOffset: number) {
    this.shard = shard;
    this.isQueue = isQueue;
    this.endOffset = endOffset;
    this.certainMark = endOffset;
    this.perhapsMark = endOffset;
  }

  get readyCount(): number {
    return this.#readyCount;
  }

  get outCount(): number {
    return this.#outCount;
  }

  publish(body: string, transient: boolean, ticket: number): void {
    this.messages.push({
      offset: this.endOffset++,
      body,
      transient: transient && this.isQueue,
      publishTicket: ticket,
      state: 'ready',
      isReturned: false,
      settledTicket: undefined,
    });
    this.#readyCount++;
  }

  at(offset: number): QueuedMessage {
    const message = this.messages.find((each) => each.offset === offset);
    assert.ok(message !== undefined, `offset ${offset} was never published`);
    return message;
  }

  firstReady(): QueuedMessage | undefined {
    return this.messages.find(({ state }) => state === 'ready');
  }

  /** A delivery of this offset: it must be the first that is ready. */
  take({ offset, body, redelivered, ticket, isDurable }: ObservedDelivery): QueuedMessage {
    const message = this.firstReady();
    assert.equal(offset, message?.offset, 'messages come in order, returned ones in their place');
    assert.equal(body, message!.body);
    if (message!.isReturned || offset < this.certainMark) {
      assert.equal(redelivered, true, `offset ${offset} was delivered before`);
    } else if (offset >= this.perhapsMark) {
      assert.equal(redelivered, false, `offset ${offset} was never delivered before`);
    }
    if (!message!.transient) {
      assert.ok(isDurable(message!.publishTicket), `offset ${offset} is delivered before it is durable`);
    }
    message!.state = 'out';
    this.#readyCount--;
    this.#outCount++;
    this.#marks.push({ mark: offset + 1, afterTicket: ticket });
    return message!;
  }

  giveBack(offset: number): void {
    const message = this.at(offset);
    assert.equal(message.state, 'out');
    message.state = 'ready';
    message.isReturned = true;
    this.#outCount--;
    this.#readyCount++;
  }

  settle(offset: number): QueuedMessage {
    const message = this.at(offset);
    if (message.state === 'out') this.#outCount--;
    if (message.state === 'ready') this.#readyCount--;
    message.state = 'settled';
    return message;
  }

  /** Settles all that is ready. */
  purge(ticket: number): number {
    const ready = this.messages.filter(({ state }) => state === 'ready');
    for (const { offset } of ready) this.settle(offset).settledTicket = ticket;
    return ready.length;
  }

  /**
   * The process died and another found `present` (bodies by offset) below `endOffset`. Checks it against what was durable
   * and goes on from it.
   */
  restart(
    present: ReadonlyMap<number, string>,
    endOffset: number,
    commits: readonly SeenCommit[],
    durable: number,
  ): void {
    for (const [offset, body] of present) {
      const message = this.at(offset);
      assert.equal(body, message.body, `body at ${offset}`);
      assert.ok(!message.transient, `transient offset ${offset} came back`);
      assert.ok(
        message.settledTicket === undefined || message.settledTicket > durable,
        `offset ${offset} was settled for good and came back`,
      );
    }
    for (const { offset, publishTicket, state, transient } of this.messages) {
      if (state === 'settled' || transient || present.has(offset)) continue;
      assert.ok(publishTicket > durable, `offset ${offset} was durable and not settled, and is lost`);
      assert.ok(offset >= endOffset, `offset ${offset} is missing below the end ${endOffset}`);
    }
    this.#renewMarks(commits, durable, endOffset);
    this.messages = [...present].map(([offset, body]) => ({
      ...this.at(offset),
      offset,
      body,
      publishTicket: 0,
      state: 'ready',
      isReturned: false,
      settledTicket: undefined,
    }));
    this.endOffset = endOffset;
    this.#readyCount = this.messages.length;
    this.#outCount = 0;
  }

  #renewMarks(commits: readonly SeenCommit[], durable: number, endOffset: number): void {
    for (const { mark, afterTicket } of this.#marks) {
      this.perhapsMark = Math.max(this.perhapsMark, mark);
      const carrier = commits.find(({ ticket, shard }) => shard === this.shard && ticket > afterTicket);
      if (carrier !== undefined && carrier.ticket <= durable) this.certainMark = Math.max(this.certainMark, mark);
    }
    this.perhapsMark = Math.min(this.perhapsMark, endOffset);
    this.certainMark = Math.min(this.certainMark, endOffset);
    this.#marks = [];
  }
}
