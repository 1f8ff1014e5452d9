// A log as the list of what was sent to it, and what of that is promised: acknowledged, or shown to anyone.
import assert from 'node:assert/strict';
import type { Survivors } from './survivors.ts';

export interface SentMessage {
  readonly body: string;
  readonly timestampMs: number;
  /** A restart drops it. */
  readonly transient: boolean;
}

export interface LogModelOptions {
  /** For people. */
  readonly name: string;
  readonly shard: number;
  readonly isQueue: boolean;
  /** Retention may delete what is older; of a queue, what is older and settled. */
  readonly ageMs: number;
}

/** What a restart has found of a log. */
export interface FoundLog {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly messages: ReadonlyMap<number, string>;
}

export class LogModel {
  readonly name: string;
  readonly shard: number;
  readonly isQueue: boolean;
  readonly #ageMs: number;
  /** By offset. */
  sent: SentMessage[] = [];
  /** Messages below are acknowledged, or were shown to someone. */
  toldEnd = 0;
  /** Told as the start, or found as it. */
  #toldStart = 0;
  /** Commits of this process: where each begins and ends. */
  #appends: { readonly ticket: number; readonly begin: number; readonly end: number }[] = [];
  /** Deletions of what is below an offset, likewise. */
  #starts: { readonly ticket: number; readonly offset: number }[] = [];

  constructor({ name, shard, isQueue, ageMs }: LogModelOptions) {
    this.name = name;
    this.shard = shard;
    this.isQueue = isQueue;
    this.#ageMs = ageMs;
  }

  get end(): number {
    return this.sent.length;
  }

  /** Nothing below is in the log for certain. */
  get toldStart(): number {
    return this.#toldStart;
  }

  append(messages: readonly SentMessage[], ticket: number): void {
    const begin = this.sent.length;
    this.sent.push(...messages);
    this.#appends.push({ ticket, begin, end: this.sent.length });
  }

  moveStart(offset: number, ticket: number): void {
    this.#starts.push({ ticket, offset });
  }

  noteToldEnd(end: number): void {
    this.toldEnd = Math.max(this.toldEnd, Math.min(end, this.sent.length));
  }

  /** Someone was allowed to delete the message at this offset: a client, or retention. */
  mayBeDeleted(offset: number, nowMs: number): boolean {
    if (offset < this.#toldStart || this.#starts.some((start) => offset < start.offset)) return true;
    return nowMs - this.sent[offset]!.timestampMs >= this.#ageMs;
  }

  /** A queue need not keep the message at this offset once it is settled. */
  mayGoWhenSettled(offset: number, nowMs: number): boolean {
    const { transient, timestampMs } = this.sent[offset]!;
    return transient || nowMs - timestampMs >= this.#ageMs;
  }

  /** What was seen at an offset is what was sent there, now and for ever. */
  checkBody(offset: number, body: string): void {
    const expected = this.sent[offset]?.body;
    if (body === expected) return;
    const first = this.sent.findIndex((message) => message.body === body);
    const where = first < 0 ? 'which was never sent or is lost' : `which is the message at ${first}`;
    assert.fail(`${this.name}: at offset ${offset} is ${shorten(body)}, ${where}, and not ${shorten(expected ?? '')}`);
  }

  /** `found` was read from [from, to); `isDropped` says which messages need not be in it. */
  checkRead(
    found: ReadonlyMap<number, string>,
    { from, to }: { from: number; to: number },
    isDropped: (offset: number) => boolean,
  ): void {
    for (const [offset, body] of found) {
      assert.ok(offset >= from && offset < to, `${this.name}: a read of [${from}, ${to}) brings ${offset}`);
      this.checkBody(offset, body);
    }
    for (let offset = from; offset < to; offset++) {
      assert.ok(found.has(offset) || isDropped(offset), `${this.name}: the message at ${offset} is missing`);
    }
  }

  /** A restart has found this. Messages that may be missing are the caller's matter for a queue. */
  recover({ startOffset, endOffset, messages }: FoundLog, survivors: Survivors, nowMs: number): void {
    assert.ok(
      endOffset >= this.toldEnd,
      `${this.name} ends at ${endOffset}, and was seen or told up to ${this.toldEnd}`,
    );
    assert.ok(endOffset <= this.end, `${this.name} ends at ${endOffset}, behind all that was sent (${this.end})`);
    for (const { ticket, begin, end } of this.#appends) {
      assert.ok(
        endOffset <= begin || endOffset >= end,
        `${this.name}: a commit [${begin}, ${end}) was cut at ${endOffset}`,
      );
      if (endOffset >= end) survivors.kept(this.shard, ticket);
      else survivors.lost(this.shard, ticket, `what was sent to ${this.name}`);
    }
    if (!this.isQueue) this.#recoverStart(startOffset, endOffset, survivors, nowMs);
    this.sent.length = endOffset;
    for (const [offset, body] of messages) this.checkBody(offset, body);
    this.#toldStart = startOffset;
    this.toldEnd = endOffset;
    this.#appends = [];
    this.#starts = [];
  }

  #recoverStart(startOffset: number, endOffset: number, survivors: Survivors, nowMs: number): void {
    for (let offset = this.#toldStart; offset < Math.min(startOffset, endOffset); offset++) {
      assert.ok(
        this.mayBeDeleted(offset, nowMs),
        `${this.name} starts at ${startOffset}: nobody has deleted ${offset}`,
      );
    }
    assert.ok(startOffset >= this.#toldStart, `${this.name} starts at ${startOffset}, below ${this.#toldStart}`);
    for (const { ticket, offset } of this.#starts) {
      if (startOffset < offset) survivors.lost(this.shard, ticket, `the deletion below ${offset} of ${this.name}`);
    }
  }
}

const shorten = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}…` : text);
