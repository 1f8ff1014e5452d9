/**
 * Cuts the byte stream of one connection into frames. Frames that lie whole in a chunk are handed over in place. A frame
 * that straddles chunks is collected in a buffer of its own: one copy per straddling frame, bounded by frame_max, and no
 * received chunk is kept alive by an unfinished frame. (Keeping views of the chunks instead was rejected: a peer that
 * sends one byte at a time would turn every byte into a buffer.)
 *
 * The gate may stop the reader at any frame; what was received and not read is kept until resume().
 */
import { AmqpError, erlangBinary } from './amqp-errors.ts';
import { frameEnd, frameHeaderBytes, frameOverheadBytes, frameType, publishCode } from './frames.ts';

export interface FrameHandler {
  /** Largest frame, everything included, that is accepted now. */
  readonly frameBytesMax: number;
  /**
   * A basic.publish may start at `at`. Returns the position behind its content if it was handled as a whole, else `at`.
   * Never throws.
   */
  publishInPlace(chunk: Buffer, view: DataView, at: number, end: number): number;
  /** One whole frame that starts at `at`. Returns false to have it offered again after resume(). Never throws. */
  frame(type: number, channel: number, buffer: Buffer, at: number, payloadBytes: number): boolean;
}

export interface ReadingGate {
  /** True: no further frame for now. Asked after each frame. */
  readonly stopped: boolean;
}

const snippetBytes = 16;

/** How RabbitMQ shows the payload of a frame it could not use. */
export const payloadSnippet = (payload: Buffer): string =>
  payload.length <= snippetBytes
    ? `all octets = ${erlangBinary(payload)}`
    : `first 16 octets = ${erlangBinary(payload.subarray(0, snippetBytes))}`;

export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #gate: ReadingGate;
  /** Start of a frame whose rest has not come: its header first, then a buffer of its exact size. */
  #partial: Buffer = Buffer.alloc(frameHeaderBytes);
  /** Bytes of #partial that are filled; 0: no frame is open. */
  #filled = 0;
  /** Size of the open frame, once its header is known; else 0. */
  #frameBytes = 0;
  /** Received but not read, because the reader was stopped. Whole frames first. */
  #rest: Buffer | undefined;

  constructor(handler: FrameHandler, gate: ReadingGate) {
    this.#handler = handler;
    this.#gate = gate;
  }

  /** Throws AmqpError when the frame boundary is lost. */
  feed(chunk: Buffer): void {
    if (this.#rest !== undefined) {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      return;
    }
    this.#read(chunk);
    // The chunk's memory is valid in this turn only.
    if (this.#rest !== undefined) this.#rest = Buffer.from(this.#rest);
  }

  /** Goes on with what was kept. */
  resume(): void {
    const rest = this.#rest;
    if (rest === undefined) return;
    this.#rest = undefined;
    this.#read(rest);
  }

  #read(chunk: Buffer): void {
    let at = 0;
    if (this.#filled > 0) {
      at = this.#complete(chunk);
      if (this.#filled > 0 || this.#rest !== undefined) return;
    }
    if (at < chunk.length) this.#readFrames(chunk, at);
  }

  #readFrames(chunk: Buffer, start: number): void {
    const handler = this.#handler;
    const gate = this.#gate;
    const end = chunk.length;
    const view = new DataView(chunk.buffer, chunk.byteOffset, end);
    let at = start;
    while (at < end) {
      if (gate.stopped) {
        this.#rest = chunk.subarray(at);
        return;
      }
      if (end - at < frameHeaderBytes) break;
      const type = view.getUint8(at);
      const payloadBytes = view.getUint32(at + 3);
      if (payloadBytes + frameOverheadBytes > handler.frameBytesMax) throw this.#tooLarge(type, payloadBytes);
      if (type === frameType.method && end - at >= 11 && view.getUint32(at + 7) === publishCode) {
        const next = handler.publishInPlace(chunk, view, at, end);
        if (next !== at) {
          at = next;
          continue;
        }
      }
      const next = at + payloadBytes + frameOverheadBytes;
      if (next > end) break;
      checkEnd(type, chunk, at, payloadBytes);
      if (!handler.frame(type, view.getUint16(at + 1), chunk, at, payloadBytes)) {
        this.#rest = chunk.subarray(at);
        return;
      }
      at = next;
    }
    if (at < end) this.#open(chunk, at);
  }

  /** Keeps the beginning of a frame. */
  #open(chunk: Buffer, at: number): void {
    const bytes = chunk.length - at;
    if (bytes < frameHeaderBytes) {
      this.#partial = Buffer.allocUnsafe(frameHeaderBytes);
    } else {
      this.#frameBytes = chunk.readUInt32BE(at + 3) + frameOverheadBytes;
      this.#partial = Buffer.allocUnsafe(this.#frameBytes);
    }
    chunk.copy(this.#partial, 0, at);
    this.#filled = bytes;
  }

  /** Fills the open frame from the chunk and hands it over when it is whole. Returns the bytes taken. */
  #complete(chunk: Buffer): number {
    let at = 0;
    if (this.#frameBytes === 0) {
      at = this.#fill(chunk, 0, frameHeaderBytes);
      if (this.#filled < frameHeaderBytes) return at;
      const payloadBytes = this.#partial.readUInt32BE(3);
      this.#frameBytes = payloadBytes + frameOverheadBytes;
      if (this.#frameBytes > this.#handler.frameBytesMax) throw this.#tooLarge(this.#partial[0]!, payloadBytes);
      const frame = Buffer.allocUnsafe(this.#frameBytes);
      this.#partial.copy(frame);
      this.#partial = frame;
    }
    at += this.#fill(chunk, at, this.#frameBytes);
    if (this.#filled < this.#frameBytes) return at;

    const frame = this.#partial;
    this.#filled = 0;
    this.#frameBytes = 0;
    const payloadBytes = frame.length - frameOverheadBytes;
    checkEnd(frame[0]!, frame, 0, payloadBytes);
    const handled =
      !this.#gate.stopped && this.#handler.frame(frame[0]!, frame.readUInt16BE(1), frame, 0, payloadBytes);
    if (!handled) this.#rest = Buffer.concat([frame, chunk.subarray(at)]);
    return at;
  }

  #fill(chunk: Buffer, at: number, target: number): number {
    const bytes = Math.min(target - this.#filled, chunk.length - at);
    chunk.copy(this.#partial, this.#filled, at, at + bytes);
    this.#filled += bytes;
    return bytes;
  }

  #tooLarge(type: number, payloadBytes: number): AmqpError {
    const limit = this.#handler.frameBytesMax - 2 * frameOverheadBytes;
    return new AmqpError(501, `type ${type}, all octets = <<>>: {frame_too_large,${payloadBytes},${limit}}`, {
      fatalFraming: true,
    });
  }
}

const checkEnd = (type: number, buffer: Buffer, at: number, payloadBytes: number): void => {
  const start = at + frameHeaderBytes;
  const marker = buffer[start + payloadBytes]!;
  if (marker === frameEnd) return;
  const snippet = payloadSnippet(buffer.subarray(start, start + payloadBytes));
  throw new AmqpError(501, `type ${type}, ${snippet}: {invalid_frame_end_marker,${marker}}`, { fatalFraming: true });
};
