/**
 * What one connection reads. The chunks of its socket are cut into frames, one turn per chunk, until something speaks
 * against reading on: each reason is noted by itself, and the socket rests while there is any. What was received and not
 * read then is kept, and read first when it goes on.
 */
import type { Socket } from 'node:net';
import { amqpLimits } from './amqp-limits.ts';
import { type FrameHandler, FrameReader, type ReadingGate } from './frame-reader.ts';
import type { OutboxOwner } from './outbox.ts';

/**
 * Why the socket is not read. get: a basic.get is not answered. undurable: too much of what was published is not durable.
 * output: the peer does not read its replies. held: publishes wait for room in the store. discard: nothing is ever read
 * again; the socket is not paused then, its bytes are dropped as they come.
 */
const pauseBits = { get: 1, undurable: 2, output: 4, held: 8, discard: 16 } as const;
type PauseReason = Exclude<keyof typeof pauseBits, 'discard'>;

export interface InputOwner extends FrameHandler {
  /** The frame boundary is lost: no channel's fault, so its number is 0. */
  fail(error: unknown, channel: number): void;
  /** All is handled that this chunk brought; undefined: that was kept, or held. Its memory is used again from now on. */
  endTurn(chunk: Buffer | undefined): void;
}

export class SocketInput implements ReadingGate, OutboxOwner {
  readonly #socket: Socket;
  readonly #owner: InputOwner;
  readonly #reader: FrameReader;
  /** Bits of pauseBits. */
  #paused = 0;
  /** A turn is under way: it reads on by itself as soon as nothing speaks against it. */
  #inTurn = false;
  /** Received bytes that led to commits which are not durable. */
  #undurableBytes = 0;

  constructor(socket: Socket, owner: InputOwner) {
    this.#socket = socket;
    this.#owner = owner;
    this.#reader = new FrameReader(owner, this);
  }

  get stopped(): boolean {
    return this.#paused !== 0;
  }

  /** One socket chunk, or undefined: go on with what was kept of one. */
  read(chunk: Buffer | undefined): void {
    if ((this.#paused & pauseBits.discard) !== 0) return;
    this.#inTurn = true;
    try {
      if (chunk === undefined) this.#reader.resume();
      else this.#reader.feed(chunk);
    } catch (error) {
      this.discard();
      this.#owner.fail(error, 0);
    }
    this.#inTurn = false;
    this.#owner.endTurn(chunk);
  }

  /** A turn without reading, for what was read before. */
  turn(handle: () => void): void {
    this.#inTurn = true;
    handle();
    this.#inTurn = false;
    this.#owner.endTurn(undefined);
  }

  /** Reads nothing until unpause(). */
  pause(reason: PauseReason): void {
    if (this.#paused === 0) this.#socket.pause();
    this.#paused |= pauseBits[reason];
  }

  unpause(reason: PauseReason): void {
    if ((this.#paused & pauseBits[reason]) === 0) return;
    this.#paused &= ~pauseBits[reason];
    if (this.#paused === 0 && this.#inTurn) this.#socket.resume();
    else this.readOnSoon();
  }

  /** After the code that runs now, unless something speaks against it. */
  readOnSoon(): void {
    if (this.#paused === 0) process.nextTick(readOn, this);
  }

  /** Reads on, unless something else stopped it in the meantime. */
  readOn(): void {
    if (this.#paused !== 0 || this.#inTurn) return;
    this.read(undefined);
    if (this.#paused === 0) this.#socket.resume();
  }

  /** Drops all reasons to pause, and reads on: the answer to connection.close comes behind what was kept. */
  awaitCloseOk(): void {
    this.#paused &= pauseBits.discard;
    this.#socket.resume();
    this.readOnSoon();
  }

  /** Counts received bytes until becameDurable(). */
  addUndurable(bytes: number): void {
    this.#undurableBytes += bytes;
    if (this.#undurableBytes > amqpLimits.undurableBytesMax) this.pause('undurable');
  }

  becameDurable(bytes: number): void {
    this.#undurableBytes -= bytes;
    if (this.#undurableBytes <= amqpLimits.undurableBytesMax / 2) this.unpause('undurable');
  }

  /** Nothing is read any more: what comes is dropped unparsed, until the socket ends. */
  discard(): void {
    this.#paused |= pauseBits.discard;
    this.#socket.resume();
  }
}

const readOn = (input: SocketInput): void => input.readOn();
