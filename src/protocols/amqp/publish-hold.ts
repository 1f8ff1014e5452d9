/**
 * Publishes of one connection that arrived while the store had no room. They are kept, up to a bound, so that the frames
 * behind them can still be read: the acks that make room again may be among them. RabbitMQ stops reading instead.
 */
import { amqpLimits } from './amqp-limits.ts';
import type { Channel } from './channel.ts';
import { frameHeaderBytes } from './frames.ts';
import type { ContentFrames } from './publish-session.ts';

interface HeldPublish extends ContentFrames {
  readonly channel: Channel;
  readonly bytes: number;
}

/** basic.ack, reject, nack; they may overtake held publishes. */
const settlingCodes: ReadonlySet<number> = new Set([0x3c0050, 0x3c005a, 0x3c0078]);

export const maySettleAhead = (buffer: Buffer, at: number, payloadBytes: number): boolean =>
  payloadBytes >= 4 && settlingCodes.has(buffer.readUInt32BE(at + frameHeaderBytes));

export class PublishHold {
  #held: HeldPublish[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  get isFull(): boolean {
    return this.#bytes >= amqpLimits.heldPublishBytesMax;
  }

  /** Copies, so that no received chunk stays alive. */
  add(channel: Channel, frames: ContentFrames): void {
    const buffers = frames.buffers.map((buffer, index) =>
      Buffer.from(buffer.subarray(frames.ranges[index * 2]!, frames.ranges[index * 2 + 1]!)),
    );
    const ranges = buffers.flatMap((buffer) => [0, buffer.length]);
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    this.#held.push({ channel, buffers, ranges, bodyBytes: frames.bodyBytes, bytes });
    this.#bytes += bytes;
  }

  /** In order of arrival, each with its channel's memo set; those of channels that have closed are left out. */
  release(publish: (channel: Channel, frames: ContentFrames) => void): void {
    const held = this.#held;
    this.#held = [];
    this.#bytes = 0;
    for (const { channel, buffers, ranges, bodyBytes } of held) {
      if (channel.state === 'open') publish(channel, { buffers, ranges, bodyBytes });
    }
  }

  clear(): void {
    this.#held = [];
    this.#bytes = 0;
  }
}
