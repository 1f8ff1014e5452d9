/**
 * What one connection writes. Small things are copied into pieces of memory that all connections share; large bodies are
 * handed to the socket from where they are stored. Everything written in one turn of the event loop leaves in one write.
 */
import type { Socket } from 'node:net';
import type { Chunk } from '../../shard/shard-log.ts';
import { amqpLimits } from './amqp-limits.ts';

/** Free memory for output, shared by all connections of a server. Only pieces of the standard size come back. */
export class OutputPieces {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(amqpLimits.outputPieceBytes);
  }

  give(piece: Buffer): void {
    if (piece.length === amqpLimits.outputPieceBytes && this.#free.length < amqpLimits.outputPiecesKept)
      this.#free.push(piece);
  }
}

/** Told that the peer has read on after hasRoom was false. */
export interface OutputOwner {
  outputDrained(): void;
}

export class SocketOutput {
  readonly #socket: Socket;
  readonly #pieces: OutputPieces;
  readonly #owner: OutputOwner;
  /** The piece being filled, its view, and how far it is filled. What lies before #readyTo is in #ready already. */
  #piece: Buffer | undefined;
  #view: DataView | undefined;
  #length = 0;
  #readyTo = 0;
  /** Ready for the socket, in order. */
  #ready: Buffer[] = [];
  /** To be given back or unpinned once written. */
  #owned: Buffer[] = [];
  #pinned: Chunk[] = [];
  #readyBytes = 0;
  /** Handed to the socket and not yet taken by the kernel. */
  #unsentBytes = 0;
  #scheduled = false;
  #congested = false;
  #closed = false;
  /** Bytes handed over since the last look of the heartbeat. */
  wroteSinceTick = false;

  constructor(socket: Socket, pieces: OutputPieces, owner: OutputOwner) {
    this.#socket = socket;
    this.#pieces = pieces;
    this.#owner = owner;
  }

  /** Bytes that the kernel has not taken. */
  get pendingBytes(): number {
    return this.#unsentBytes + this.#readyBytes + this.#length - this.#readyTo;
  }

  /** False: no more deliveries until outputDrained(). */
  get hasRoom(): boolean {
    if (this.#congested) return false;
    if (this.pendingBytes < amqpLimits.outputHighBytes) return true;
    this.#congested = true;
    return false;
  }

  /** Room for `bytes` at `buffer[position]`; follow with advance(). */
  reserve(bytes: number): number {
    const piece = this.#piece;
    if (piece !== undefined && this.#length + bytes <= piece.length) return this.#length;
    this.#finishPiece();
    const next = bytes <= amqpLimits.outputPieceBytes ? this.#pieces.take() : Buffer.allocUnsafeSlow(bytes);
    this.#piece = next;
    this.#view = new DataView(next.buffer, next.byteOffset, next.length);
    return 0;
  }

  /** The piece that reserve() found room in, and its view. */
  get buffer(): Buffer {
    return this.#piece!;
  }
  get view(): DataView {
    return this.#view!;
  }

  advance(bytes: number): void {
    this.#length += bytes;
    if (!this.#scheduled) this.#schedule();
    else if (this.#length - this.#readyTo + this.#readyBytes >= amqpLimits.outputFlushBytes) this.flush();
  }

  /** Copies. */
  write(bytes: Buffer): void {
    const at = this.reserve(bytes.length);
    this.#piece!.set(bytes, at);
    this.advance(bytes.length);
  }

  /** Sends the bytes from where they are; the chunk stays pinned until the kernel has them. */
  reference(chunk: Chunk, bytes: Buffer): void {
    this.#readyPiece();
    chunk.pin();
    this.#pinned.push(chunk);
    this.#ready.push(bytes);
    this.#readyBytes += bytes.length;
    if (!this.#scheduled) this.#schedule();
  }

  #schedule(): void {
    this.#scheduled = true;
    process.nextTick(flushScheduled, this);
  }

  /** What is in the piece is next for the socket; the piece is filled further. */
  #readyPiece(): void {
    if (this.#length === this.#readyTo) return;
    this.#ready.push(this.#piece!.subarray(this.#readyTo, this.#length));
    this.#readyBytes += this.#length - this.#readyTo;
    this.#readyTo = this.#length;
  }

  #finishPiece(): void {
    const piece = this.#piece;
    if (piece === undefined) return;
    this.#readyPiece();
    if (this.#length === 0) this.#pieces.give(piece);
    else this.#owned.push(piece);
    this.#piece = undefined;
    this.#view = undefined;
    this.#length = 0;
    this.#readyTo = 0;
  }

  /** Hands everything to the socket. */
  flush(): void {
    this.#finishPiece();
    if (this.#ready.length === 0) return;
    const ready = this.#ready;
    const owned = this.#owned;
    const pinned = this.#pinned;
    const bytes = this.#readyBytes;
    this.#ready = [];
    this.#owned = [];
    this.#pinned = [];
    this.#readyBytes = 0;
    if (this.#closed) {
      this.#release(owned, pinned);
      return;
    }
    this.#unsentBytes += bytes;
    this.wroteSinceTick = true;
    const done = (): void => {
      this.#release(owned, pinned);
      this.#sent(bytes);
    };
    const socket = this.#socket;
    if (ready.length === 1) {
      socket.write(ready[0]!, done);
      return;
    }
    socket.cork();
    for (let i = 0; i < ready.length - 1; i++) socket.write(ready[i]!);
    socket.write(ready[ready.length - 1]!, done);
    socket.uncork();
  }

  flushAtEndOfTurn(): void {
    this.#scheduled = false;
    this.flush();
  }

  #release(owned: Buffer[], pinned: Chunk[]): void {
    for (const piece of owned) this.#pieces.give(piece);
    for (const chunk of pinned) chunk.unpin();
  }

  #sent(bytes: number): void {
    this.#unsentBytes -= bytes;
    if (!this.#congested || this.#closed || this.pendingBytes > amqpLimits.outputLowBytes) return;
    this.#congested = false;
    this.#owner.outputDrained();
  }

  /** The socket is gone: nothing more is written. */
  close(): void {
    this.#closed = true;
    this.flush();
  }
}

const flushScheduled = (output: SocketOutput): void => output.flushAtEndOfTurn();
