// What a queue or a subscription owes its consumers of one log: each message is ready, out or settled.
import assert from 'node:assert/strict';
import type { SeenCommit } from '../model/stand.ts';
import type { LogModel } from './log-model.ts';

/** Ticket of a settlement that may be stored by now, or not. */
const unknownTicket = Number.POSITIVE_INFINITY;

export interface SeenDelivery {
  readonly offset: number;
  readonly body: string;
  readonly redelivered: boolean;
  /** Of the last commit before it. */
  readonly ticket: number;
  /** Where the log starts now. */
  readonly logStart: number;
}

export class PartModel {
  readonly log: LogModel;
  /** Where it began. */
  #from: number;
  /** Settled offsets: all is durable from this ticket on. */
  #settled = new Map<number, number>();
  readonly #out = new Set<number>();
  /** Was out in this process, and came back. */
  readonly #returned = new Set<number>();
  /** No ready message lies below. */
  #lowest: number;
  /** Below the first, all was delivered by earlier processes for certain; from the second on nothing was. */
  #certainMark: number;
  #perhapsMark: number;
  #marks: { readonly mark: number; readonly afterTicket: number }[] = [];

  constructor(log: LogModel, from: number) {
    this.log = log;
    this.#from = from;
    this.#lowest = from;
    this.#certainMark = from;
    this.#perhapsMark = from;
  }

  get outCount(): number {
    return this.#out.size;
  }

  isSettled(offset: number): boolean {
    return offset < this.#from || this.#settled.has(offset);
  }

  /** Ready offsets that are in a log which starts at `logStart`. */
  ready(logStart: number): number[] {
    const found: number[] = [];
    for (let offset = Math.max(this.#lowest, logStart); offset < this.log.end; offset++) {
      if (!this.#settled.has(offset) && !this.#out.has(offset)) found.push(offset);
    }
    return found;
  }

  /** A delivery: of the first message that is ready, and as promised. */
  take({ offset, body, redelivered, ticket, logStart }: SeenDelivery): void {
    const what = `${this.log.name}: delivery of ${offset}`;
    assert.ok(!this.isSettled(offset), `${what}, which was settled`);
    assert.ok(!this.#out.has(offset), `${what}, which is out already`);
    this.log.checkBody(offset, body);
    assert.equal(this.#firstReady(logStart), offset, `${what}, which is not the first that is ready`);
    const wasOut = this.#returned.has(offset) || offset < this.#certainMark;
    if (wasOut) assert.ok(redelivered, `${what} must be marked as redelivered`);
    else if (offset >= this.#perhapsMark) assert.ok(!redelivered, `${what} must not be marked as redelivered`);
    this.#out.add(offset);
    this.#marks.push({ mark: offset + 1, afterTicket: ticket });
    // What is not transient must be there after any crash, now that someone has seen it.
    if (!this.log.isQueue || !this.log.sent[offset]!.transient) this.log.noteToldEnd(offset + 1);
  }

  #firstReady(logStart: number): number {
    let offset = Math.max(this.#lowest, logStart);
    while (this.#settled.has(offset) || this.#out.has(offset)) offset++;
    this.#lowest = offset;
    return offset;
  }

  giveBack(offset: number): void {
    assert.ok(this.#out.delete(offset));
    this.#returned.add(offset);
    this.#lowest = Math.min(this.#lowest, offset);
  }

  /** Asked for; noteFlushed() says when it is stored. */
  settle(offset: number): void {
    this.#out.delete(offset);
    if (!this.#settled.has(offset)) this.#settled.set(offset, unknownTicket);
  }

  /** All that was settled until now is stored with this ticket. */
  noteFlushed(ticket: number): void {
    for (const [offset, settled] of this.#settled) if (settled === unknownTicket) this.#settled.set(offset, ticket);
  }

  /**
   * A restart has found which offsets are settled, in a log of [startOffset, endOffset). The model of the log has recovered
   * before.
   */
  recover(
    isSettled: (offset: number) => boolean,
    startOffset: number,
    { commits, durableTicket, nowMs }: { commits: readonly SeenCommit[]; durableTicket: number; nowMs: number },
  ): void {
    const { log } = this;
    this.#from = Math.min(this.#from, log.end);
    const settled = new Map<number, number>();
    for (let offset = this.#from; offset < log.end; offset++) {
      const what = `${log.name}: message ${offset}`;
      const isThere = !isSettled(offset) && offset >= startOffset;
      const isTransient = log.isQueue && log.sent[offset]!.transient;
      if (isThere) {
        assert.ok(!isTransient, `${what} is transient and came back`);
        assert.ok(
          (this.#settled.get(offset) ?? unknownTicket) > durableTicket,
          `${what} was settled for good and came back`,
        );
        continue;
      }
      const mayBeGone = isTransient || this.#settled.has(offset) || (!log.isQueue && log.mayBeDeleted(offset, nowMs));
      assert.ok(mayBeGone, `${what} was not settled and is lost`);
      settled.set(offset, 0);
    }
    this.#settled = settled;
    this.#renewMarks(commits, durableTicket);
    this.#out.clear();
    this.#returned.clear();
    this.#lowest = this.#from;
  }

  /** A mark goes along with the next commit of its shard. */
  #renewMarks(commits: readonly SeenCommit[], durableTicket: number): void {
    for (const { mark, afterTicket } of this.#marks) {
      this.#perhapsMark = Math.max(this.#perhapsMark, mark);
      const carrier = commits.find(({ ticket, shard }) => ticket > afterTicket && shard === this.log.shard);
      if (carrier !== undefined && carrier.ticket <= durableTicket)
        this.#certainMark = Math.max(this.#certainMark, mark);
    }
    this.#perhapsMark = Math.min(this.#perhapsMark, this.log.end);
    this.#certainMark = Math.min(this.#certainMark, this.log.end);
    this.#marks = [];
  }
}
