/**
 * Publishes of one connection that arrived while the store had no room. They are kept, up to a bound, so that the frames
 * behind them can still be read: the acks that make room again may be among them. RabbitMQ stops reading instead.
 */
import { amqpLimits } from './amqp-limits.ts';
import type { Channel } from './channel.ts';
import type { Connection } from './connection.ts';
import { frameHeaderBytes } from './frames.ts';
import type { ContentFrames } from './publish-session.ts';

interface HeldPublish extends ContentFrames {
  readonly channel: Channel;
}

/** basic.ack, reject, nack; they may overtake held publishes. */
const settlingCodes: ReadonlySet<number> = new Set([0x3c0050, 0x3c005a, 0x3c0078]);

export const maySettleAhead = (buffer: Buffer, at: number, payloadBytes: number): boolean =>
  payloadBytes >= 4 && settlingCodes.has(buffer.readUInt32BE(at + frameHeaderBytes));

export class PublishHold {
  readonly #connection: Connection;
  /** The store takes no messages. */
  isBlocked = false;
  /** connection.blocked was sent, and connection.unblocked was not. */
  #isTold = false;
  #held: HeldPublish[] = [];
  #bytes = 0;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get isEmpty(): boolean {
    return this.#held.length === 0;
  }

  /** Takes the publish if there is no room for it now. */
  holds(channel: Channel, frames: ContentFrames): boolean {
    if (!this.isBlocked) return false;
    this.#add(channel, frames);
    const { client, input } = this.#connection;
    if (!this.#isTold && client.blocked) {
      this.#isTold = true;
      this.#connection.reply(0, { method: 'connection.blocked', reason: 'low on disk' });
    }
    if (this.#bytes >= amqpLimits.heldPublishBytesMax) input.pause('held');
    return true;
  }

  /** Publishes in order of arrival, and reads on; what channels left that have closed is dropped. */
  release(): void {
    const { input } = this.#connection;
    const held = this.#held;
    this.clear();
    input.turn(() => {
      for (const publish of held) if (publish.channel.state === 'open') this.#publish(publish);
    });
    if (this.#isTold) this.#connection.reply(0, { method: 'connection.unblocked' });
    this.#isTold = false;
    input.unpause('held');
    input.readOnSoon();
  }

  clear(): void {
    this.#held = [];
    this.#bytes = 0;
  }

  /** Copies, so that no received chunk stays alive. */
  #add(channel: Channel, frames: ContentFrames): void {
    const buffers = frames.buffers.map((buffer, index) =>
      Buffer.from(buffer.subarray(frames.ranges[index * 2]!, frames.ranges[index * 2 + 1]!)),
    );
    const ranges = buffers.flatMap((buffer) => [0, buffer.length]);
    this.#held.push({ channel, buffers, ranges, bodyBytes: frames.bodyBytes });
    this.#bytes += buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  }

  #publish(held: HeldPublish): void {
    const { channel, buffers } = held;
    const [method, header] = buffers;
    try {
      channel.memo.loadMethod(method!, 0, method!.length);
      channel.memo.loadHeader(header!, 0, header!.length);
      channel.publish(held);
    } catch (error) {
      this.#connection.fail(error, channel.number);
    }
  }
}
