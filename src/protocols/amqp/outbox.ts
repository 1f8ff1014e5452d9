/**
 * Replies of one connection in the order in which they were decided. Each waits for its ticket of the durable gate; one
 * that waits holds back all behind it. Deliveries do not pass through here: the broker hands out only what may be seen.
 *
 * Confirms are entries of two numbers, and those that become durable together leave as one ack per channel.
 */
import type { DurableGate, DurableWaiter } from '../../shard/gate.ts';
import { ackCode, frameEnd, frameType } from './frames.ts';
import type { SocketOutput } from './socket-output.ts';

/** The publisher's side of a channel, as far as confirms go. */
export interface ConfirmingChannel {
  readonly number: number;
  /** Its end is queued or written: nothing may be put behind that. What was queued before it leaves before it. */
  readonly silent: boolean;
  /** Every publish up to here is confirmed. */
  confirmedTag: number;
  /** Highest tag to confirm in the running flush; 0 outside of one. */
  flushingTag: number;
}

export interface OutboxOwner {
  /** Bytes that became durable after having been counted with addUndurable(). */
  becameDurable(bytes: number): void;
}

const kind = { bytes: 0, confirm: 1, credit: 2, action: 3 } as const;
type Item = Buffer | ConfirmingChannel | (() => void) | undefined;

const initialLength = 16;
const ackFrameBytes = 21;

export class Outbox implements DurableWaiter {
  readonly #gate: DurableGate;
  readonly #output: SocketOutput;
  readonly #owner: OutboxOwner;
  /** Ring of entries; length is a power of two. Tickets never decrease from head to tail. */
  #tickets = new Float64Array(initialLength);
  #kinds = new Uint8Array(initialLength);
  /** Confirm: the tag. Credit: bytes. */
  #numbers = new Float64Array(initialLength);
  #items: Item[] = new Array(initialLength).fill(undefined);
  #head = 0;
  #length = 0;
  /** Entries that are replies, not confirms or credit. */
  #replies = 0;
  #waiting = false;
  #closed = false;
  readonly #acking: ConfirmingChannel[] = [];

  constructor(gate: DurableGate, output: SocketOutput, owner: OutboxOwner) {
    this.#gate = gate;
    this.#output = output;
    this.#owner = owner;
  }

  /** True while a reply waits; what must not overtake it has to queue up too. */
  get hasReplies(): boolean {
    return this.#replies > 0;
  }

  /** Everything committed so far must be durable first. The bytes are copied. */
  reply(bytes: Buffer): void {
    if (this.#mayPass()) this.#output.write(bytes);
    else this.#pushReply(kind.bytes, Buffer.from(bytes));
  }

  /** Like reply(), but takes over the buffer. */
  replyOwned(bytes: Buffer): void {
    if (this.#mayPass()) this.#output.write(bytes);
    else this.#pushReply(kind.bytes, bytes);
  }

  /** Runs when all replies before it have been written. */
  afterReplies(action: () => void): void {
    if (this.#mayPass()) action();
    else this.#pushReply(kind.action, action);
  }

  /** Confirms every publish of the channel up to `tag`, once all that was committed so far is durable. */
  confirm(channel: ConfirmingChannel, tag: number): void {
    if (channel.silent) return;
    if (this.#mayPass()) this.#ack(channel, tag, tag > channel.confirmedTag + 1);
    else this.#push(kind.confirm, tag, channel);
  }

  /** Confirms without waiting for the disk. `multiple`: all up to the tag. */
  confirmNow(channel: ConfirmingChannel, tag: number, multiple: boolean): void {
    if (channel.silent) return;
    if (this.#replies > 0) this.#push(kind.confirm, multiple ? tag : -tag, channel);
    else this.#ack(channel, tag, multiple);
  }

  /** Counts received bytes until what they led to is durable. Returns false if nothing has to be awaited. */
  addUndurable(bytes: number): boolean {
    if (this.#gate.durable >= this.#gate.current) return false;
    this.#push(kind.credit, bytes, undefined);
    return true;
  }

  onDurable(): void {
    this.#waiting = false;
    if (this.#closed) return;
    const durable = this.#gate.durable;
    let credit = 0;
    while (this.#length > 0 && this.#tickets[this.#head]! <= durable) {
      const entry = this.#kinds[this.#head]!;
      const number = this.#numbers[this.#head]!;
      const item = this.#shift();
      if (entry === kind.confirm) {
        this.#collectConfirm(item as ConfirmingChannel, number);
      } else if (entry === kind.credit) {
        credit += number;
      } else {
        this.#replies--;
        this.#flushConfirms();
        if (entry === kind.bytes) this.#output.write(item as Buffer);
        else (item as () => void)();
      }
    }
    this.#flushConfirms();
    this.#wait();
    if (credit > 0) this.#owner.becameDurable(credit);
  }

  /** Drops everything; actions do not run. */
  close(): void {
    this.#closed = true;
    this.#length = 0;
    this.#items = [];
  }

  #mayPass(): boolean {
    return this.#length === 0 && this.#gate.durable >= this.#gate.current;
  }

  #collectConfirm(channel: ConfirmingChannel, tag: number): void {
    if (tag < 0) {
      this.#ack(channel, -tag, false);
      return;
    }
    if (channel.flushingTag === 0) this.#acking.push(channel);
    channel.flushingTag = tag;
  }

  #flushConfirms(): void {
    for (let i = 0; i < this.#acking.length; i++) {
      const channel = this.#acking[i]!;
      const tag = channel.flushingTag;
      channel.flushingTag = 0;
      this.#ack(channel, tag, tag > channel.confirmedTag + 1);
    }
    this.#acking.length = 0;
  }

  #ack(channel: ConfirmingChannel, tag: number, multiple: boolean): void {
    if (multiple || tag === channel.confirmedTag + 1) channel.confirmedTag = tag;
    const at = this.#output.reserve(ackFrameBytes);
    const view = this.#output.view;
    view.setUint8(at, frameType.method);
    view.setUint16(at + 1, channel.number);
    view.setUint32(at + 3, 13);
    view.setUint32(at + 7, ackCode);
    view.setUint32(at + 11, Math.floor(tag / 4294967296));
    view.setUint32(at + 15, tag % 4294967296);
    view.setUint8(at + 19, multiple ? 1 : 0);
    view.setUint8(at + 20, frameEnd);
    this.#output.advance(ackFrameBytes);
  }

  #pushReply(entry: number, item: Item): void {
    this.#replies++;
    this.#push(entry, 0, item);
  }

  #push(entry: number, number: number, item: Item): void {
    if (this.#closed) return;
    if (this.#length === this.#kinds.length) this.#grow();
    const at = (this.#head + this.#length) & (this.#kinds.length - 1);
    this.#tickets[at] = this.#gate.current;
    this.#kinds[at] = entry;
    this.#numbers[at] = number;
    this.#items[at] = item;
    this.#length++;
    this.#wait();
  }

  #shift(): Item {
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#kinds.length - 1);
    this.#length--;
    return item;
  }

  #wait(): void {
    if (this.#waiting || this.#length === 0 || this.#closed) return;
    this.#waiting = true;
    this.#gate.wait(this.#tickets[this.#head]!, this);
  }

  #grow(): void {
    const length = this.#kinds.length;
    const tickets = new Float64Array(length * 2);
    const kinds = new Uint8Array(length * 2);
    const numbers = new Float64Array(length * 2);
    const items: Item[] = new Array(length * 2).fill(undefined);
    for (let i = 0; i < length; i++) {
      const from = (this.#head + i) & (length - 1);
      tickets[i] = this.#tickets[from]!;
      kinds[i] = this.#kinds[from]!;
      numbers[i] = this.#numbers[from]!;
      items[i] = this.#items[from];
    }
    this.#tickets = tickets;
    this.#kinds = kinds;
    this.#numbers = numbers;
    this.#items = items;
    this.#head = 0;
  }
}
