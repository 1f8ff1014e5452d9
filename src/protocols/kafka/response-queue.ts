/**
 * Responses of one connection, strictly in the order of the requests. A slot is taken when a request arrives and filled when
 * its outcome is decided; it leaves when all before it have left and what it is based on is durable. All that can leave at
 * once leaves in one write.
 *
 * A slot may be deferred: its work starts only when it is the oldest and the peer takes what it gets. So a connection holds
 * the records of one Fetch at a time, however many it has sent.
 */
import type { Socket } from 'node:net';
import type { DurableGate, DurableWaiter } from '../../shard/gate.ts';
import type { Chunk } from '../../shard/shard-log.ts';
import { kafkaLimits } from './kafka-limits.ts';

export interface ResponseSlot {
  /** Undefined until the outcome is known. */
  pieces: readonly Buffer[] | undefined;
  /** Memory that the pieces point into; pinned, unpinned when the socket has let go of them. */
  pins: readonly Chunk[];
  /** What the outcome is based on must be durable up to here. */
  ticket: number;
  /** Work to start when the slot is the oldest. */
  deferred: (() => void) | undefined;
  requestBytes: number;
}

export interface ResponseQueueOwner {
  /** Requests were answered, or the peer has taken what was sent. */
  answered(requestBytes: number): void;
}

const noPins: readonly Chunk[] = [];
/** Several small responses are cheaper as one copy than as a vectored write. */
const copiedBytesMax = 16 * 1024;
/** Answered slots at the head of the list before they are cut off. */
const headMax = 64;

export class ResponseQueue implements DurableWaiter {
  readonly #socket: Socket;
  readonly #gate: DurableGate;
  readonly #owner: ResponseQueueOwner;
  /** Those before #head have left. */
  #slots: (ResponseSlot | undefined)[] = [];
  #head = 0;
  #waiting = false;
  #flushing = false;
  #held = false;
  #congested = false;
  #closed = false;
  /** Pins of writes that the socket has not finished. */
  readonly #pinned = new Set<readonly Chunk[]>();

  constructor(socket: Socket, gate: DurableGate, owner: ResponseQueueOwner) {
    this.#socket = socket;
    this.#gate = gate;
    this.#owner = owner;
  }

  /** Requests without a response. */
  get length(): number {
    return this.#slots.length - this.#head;
  }

  /** The peer does not take what it gets. */
  get congested(): boolean {
    return this.#congested;
  }

  /** Takes the next place. */
  push(requestBytes: number, deferred?: () => void): ResponseSlot {
    const slot: ResponseSlot = { pieces: undefined, pins: noPins, ticket: 0, deferred, requestBytes };
    this.#slots.push(slot);
    return slot;
  }

  /** @param ticket of the gate; 0 if the response is based on nothing that could get lost */
  fill(slot: ResponseSlot, pieces: readonly Buffer[], ticket: number, pins: readonly Chunk[] = noPins): void {
    slot.pieces = pieces;
    slot.ticket = ticket;
    slot.pins = pins;
    if (this.#closed) unpin(pins);
    else if (!this.#held) this.flush();
  }

  /** Between hold() and release() nothing is written, so that one write serves all requests of a chunk. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.flush();
  }

  onDurable(): void {
    this.#waiting = false;
    this.flush();
  }

  /** The socket has taken everything. */
  drained(): void {
    if (!this.#congested) return;
    this.#congested = false;
    this.flush();
    this.#owner.answered(0);
  }

  /** Writes what may leave. */
  flush(): void {
    if (this.#flushing || this.#closed) return;
    this.#flushing = true;
    const pieces: Buffer[] = [];
    let pins: Chunk[] | undefined;
    let requestBytes = 0;
    let left = false;
    while (this.#head < this.#slots.length && !this.#congested) {
      const slot = this.#slots[this.#head]!;
      const { deferred } = slot;
      if (deferred !== undefined) {
        // What is ready goes first: the deferred work may take its time.
        if (pieces.length > 0) this.#write(pieces.splice(0), pins);
        pins = undefined;
        if (this.#congested) break;
        slot.deferred = undefined;
        deferred();
      }
      if (this.#closed || slot.pieces === undefined) break;
      if (slot.ticket > this.#gate.durable) {
        this.#await(slot.ticket);
        break;
      }
      for (const piece of slot.pieces) pieces.push(piece);
      if (slot.pins.length > 0) (pins ??= []).push(...slot.pins);
      requestBytes += slot.requestBytes;
      left = true;
      this.#slots[this.#head++] = undefined;
    }
    if (this.#head === this.#slots.length) {
      this.#slots.length = this.#head = 0;
    } else if (this.#head >= headMax) {
      this.#slots = this.#slots.slice(this.#head);
      this.#head = 0;
    }
    if (pieces.length > 0) this.#write(pieces, pins);
    this.#flushing = false;
    if (left && !this.#closed) this.#owner.answered(requestBytes);
  }

  /** The socket is gone. Returns the bytes of the requests that stay without an answer. */
  close(): number {
    if (this.#closed) return 0;
    this.#closed = true;
    for (const pins of this.#pinned) unpin(pins);
    this.#pinned.clear();
    let requestBytes = 0;
    for (let at = this.#head; at < this.#slots.length; at++) {
      const slot = this.#slots[at]!;
      requestBytes += slot.requestBytes;
      unpin(slot.pins);
    }
    this.#slots = [];
    this.#head = 0;
    return requestBytes;
  }

  #await(ticket: number): void {
    if (this.#waiting) return;
    this.#waiting = true;
    this.#gate.wait(ticket, this);
  }

  #write(pieces: readonly Buffer[], pins: readonly Chunk[] | undefined): void {
    const socket = this.#socket;
    const last = pieces.length - 1;
    const done = pins === undefined ? undefined : this.#untilWritten(pins);
    if (last === 0) {
      socket.write(pieces[0]!, done);
    } else if (pins === undefined && totalBytes(pieces) <= copiedBytesMax) {
      socket.write(Buffer.concat(pieces));
    } else {
      socket.cork();
      for (let index = 0; index < last; index++) socket.write(pieces[index]!);
      socket.write(pieces[last]!, done);
      socket.uncork();
    }
    if (socket.writableLength > kafkaLimits.outputBytesMax && socket.writableNeedDrain) this.#congested = true;
  }

  #untilWritten(pins: readonly Chunk[]): () => void {
    this.#pinned.add(pins);
    return () => {
      if (this.#pinned.delete(pins)) unpin(pins);
    };
  }
}

const totalBytes = (pieces: readonly Buffer[]): number => {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  return bytes;
};

const unpin = (pins: readonly Chunk[]): void => {
  for (const chunk of pins) chunk.unpin();
};
