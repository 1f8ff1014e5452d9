/** Collects the frames of one publish that could not be taken in one go: method, content header, bodies. */
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import { headerOffset } from './content-header.ts';
import { basicClass, frameHeaderBytes, frameOverheadBytes, frameType } from './frames.ts';
import type { ContentFrames } from './publish-session.ts';
import type { PublishMemo } from './publish-target.ts';

/** Counts what all channels of a connection hold. */
export interface UnfinishedContent {
  unfinishedBytes: number;
}

export class ContentAssembly implements ContentFrames {
  /** What the next frame must be. */
  expects: 'method' | 'header' | 'body' = 'method';
  buffers: Buffer[] = [];
  ranges: number[] = [];
  bodyBytes = 0;
  #remaining = 0;
  /** The body is too large to be published: it is read and dropped. */
  #dropping = false;
  /** The header's problem is told when the content is complete, as RabbitMQ does. */
  #problem: unknown;
  #heldBytes = 0;
  /** Frames before it lie in memory of their own, or of the chunk that is being read. */
  #ownedFrames = 0;
  readonly #memo: PublishMemo;
  readonly #maxMessageBytes: number;
  readonly #counter: UnfinishedContent;

  constructor(memo: PublishMemo, maxMessageBytes: number, counter: UnfinishedContent) {
    this.#memo = memo;
    this.#maxMessageBytes = maxMessageBytes;
    this.#counter = counter;
  }

  /** A publish frame. */
  begin(buffer: Buffer, at: number, payloadBytes: number): void {
    this.#memo.loadMethod(buffer, at, at + payloadBytes + frameOverheadBytes);
    this.#keep(buffer, at, payloadBytes);
    this.expects = 'header';
  }

  /** The next frame of the content; true when it is complete. @throws AmqpError for a frame out of place */
  add(type: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    return this.expects === 'header'
      ? this.#addHeader(type, buffer, at, payloadBytes)
      : this.#addBody(type, buffer, at, payloadBytes);
  }

  /** Throws what is wrong with the complete content. */
  check(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  /** The memory of the chunk in which the last frames came is about to be used again: what lies in it is copied. */
  leaveChunk(chunk: Buffer): void {
    for (let i = this.#ownedFrames; i < this.buffers.length; i++) {
      if (this.buffers[i]!.buffer !== chunk.buffer) continue;
      const copy = Buffer.from(this.buffers[i]!.subarray(this.ranges[i * 2]!, this.ranges[i * 2 + 1]!));
      this.buffers[i] = copy;
      this.ranges[i * 2] = 0;
      this.ranges[i * 2 + 1] = copy.length;
    }
    this.#ownedFrames = this.buffers.length;
  }

  reset(): void {
    this.expects = 'method';
    this.buffers = [];
    this.ranges = [];
    this.bodyBytes = 0;
    this.#remaining = 0;
    this.#dropping = false;
    this.#problem = undefined;
    this.#counter.unfinishedBytes -= this.#heldBytes;
    this.#heldBytes = 0;
    this.#ownedFrames = 0;
  }

  #addHeader(type: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    if (type !== frameType.header || payloadBytes < headerOffset.flags - frameHeaderBytes) {
      throw new AmqpError(505, `expected content header for class ${basicClass}, got non content header frame instead`);
    }
    const classId = buffer.readUInt16BE(at + headerOffset.classId);
    if (classId !== basicClass) {
      throw new AmqpError(505, `expected content header for class ${basicClass}, got one for class ${classId} instead`);
    }
    const bodyBytes =
      buffer.readUInt32BE(at + headerOffset.bodySizeHigh) * 4294967296 +
      buffer.readUInt32BE(at + headerOffset.bodySizeLow);
    if (bodyBytes > amqpLimits.announcedBodyBytesMax) {
      throw new AmqpError(
        501,
        `content body size ${bodyBytes} exceeds maximum allowed size ${amqpLimits.announcedBodyBytesMax}`,
      );
    }
    try {
      this.#memo.loadHeader(buffer, at, at + payloadBytes + frameOverheadBytes);
    } catch (error) {
      this.#problem = error;
    }
    this.bodyBytes = bodyBytes;
    this.#remaining = bodyBytes;
    this.#dropping = bodyBytes > this.#maxMessageBytes;
    this.#keep(buffer, at, payloadBytes);
    this.expects = 'body';
    return bodyBytes === 0;
  }

  #addBody(type: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    if (type !== frameType.body) throw new AmqpError(505, 'expected content body, got non content body frame instead');
    if (payloadBytes > this.#remaining) throw new AmqpError(501, 'content body frame exceeds remaining content size');
    this.#remaining -= payloadBytes;
    // Empty body frames carry nothing and are not stored.
    if (!this.#dropping && payloadBytes > 0) this.#keep(buffer, at, payloadBytes);
    return this.#remaining === 0;
  }

  #keep(buffer: Buffer, at: number, payloadBytes: number): void {
    const bytes = payloadBytes + frameOverheadBytes;
    this.buffers.push(buffer);
    this.ranges.push(at, at + bytes);
    this.#heldBytes += bytes;
    this.#counter.unfinishedBytes += bytes;
    if (this.#counter.unfinishedBytes > amqpLimits.unfinishedBytesMax) {
      throw new AmqpError(506, `unfinished messages of this connection exceed ${amqpLimits.unfinishedBytesMax} bytes`);
    }
  }
}
