/**
 * What one connection publishes. All publishes of a socket chunk go into one block, which is committed when the chunk is
 * done; then each channel gets at most one entry in the outbox for its confirms.
 *
 * A message is stored as the frames in which it was received: the block builder copies them once, from the socket's chunk
 * into the arena, and a chunk full of whole messages is a single copy.
 */
import type { Broker } from '../../broker/broker.ts';
import type { Topic } from '../../broker/topic.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import type { BlockBuilder } from '../../log/block-builder.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpFormId } from './amqp-form.ts';
import { amqpLimits } from './amqp-limits.ts';
import { headerOffset } from './content-header.ts';
import { frameEnd, frameOverheadBytes, frameType } from './frames.ts';
import type { ConfirmingChannel, Outbox } from './outbox.ts';
import { type Destinations, isBasicHeader, type PublishMemo, wholeFrameEnd } from './publish-target.ts';

/** The publisher's side of a channel. */
export interface PublishingChannel extends ConfirmingChannel {
  readonly memo: PublishMemo;
  /** confirm.select was seen. */
  readonly confirming: boolean;
  /** Tag of the last publish since confirm.select. */
  publishedTag: number;
  /** Last publish that waits, or waited, for the disk. */
  gatedTag: number;
  /** Highest gated tag that is in the outbox. */
  queuedTag: number;
  /** Last publish of this block to be confirmed without the disk; 0: none. */
  nowTag: number;
  /** It has published into the block that is open. */
  inBlock: boolean;
}

/** returned: routed nowhere, and mandatory. */
export type PublishOutcome = 'stored' | 'dropped' | 'returned';

/** A publish in whole frames: method, content header, bodies. */
export interface ContentFrames {
  readonly buffers: readonly Buffer[];
  /** Ranges in the buffers, from and to pairwise. */
  readonly ranges: readonly number[];
  readonly bodyBytes: number;
}

export interface PublishSessionOptions {
  readonly broker: Broker;
  readonly vhost: VirtualHost;
  readonly outbox: Outbox;
  readonly maxMessageBytes: number;
  /** Negotiated; 0 in frame_max means the server's own. */
  readonly frameBytesMax: number;
}

export class PublishSession {
  readonly #broker: Broker;
  readonly #outbox: Outbox;
  readonly #builder: BlockBuilder;
  readonly #maxMessageBytes: number;
  readonly #frameBytesMax: number;
  /** The builder is ours until commit(). */
  #open = false;
  readonly #channels: PublishingChannel[] = [];

  constructor({ broker, vhost, outbox, maxMessageBytes, frameBytesMax }: PublishSessionOptions) {
    this.#broker = broker;
    this.#outbox = outbox;
    this.#builder = broker.blockBuilder(vhost);
    this.#maxMessageBytes = maxMessageBytes;
    this.#frameBytesMax = frameBytesMax;
  }

  /**
   * Publishes the message that starts at `at` if it lies whole in the chunk and needs nothing unusual. Returns the
   * position behind it, else `at`: then it must go frame by frame. Never throws.
   */
  publishInPlace(channel: PublishingChannel, chunk: Buffer, view: DataView, at: number, end: number): number {
    const { memo } = channel;
    let header = at + memo.methodBytes;
    if (!memo.sameMethod(view, at, end)) {
      header = loadMethod(memo, chunk, view, at, end);
      if (header < 0) return at;
    }
    let body = header + memo.headerBytes;
    if (!memo.sameHeader(view, header, end)) {
      body = loadHeader(memo, chunk, view, header, end, channel.number);
      if (body < 0) return at;
    }
    const bodyBytes = view.getUint32(header + headerOffset.bodySizeLow);
    if (view.getUint32(header + headerOffset.bodySizeHigh) !== 0 || bodyBytes > this.#maxMessageBytes) return at;
    let next = body;
    if (bodyBytes > 0) {
      next = body + bodyBytes + frameOverheadBytes;
      if (
        next > end ||
        bodyBytes > this.#frameBytesMax ||
        view.getUint8(body) !== frameType.body ||
        view.getUint16(body + 1) !== channel.number ||
        view.getUint32(body + 3) !== bodyBytes ||
        view.getUint8(next - 1) !== frameEnd
      ) {
        return at;
      }
    }
    if (memo.isStale && !resolves(memo)) return at;
    const destinations = memo.destinations!;
    if (destinations.isEmpty || destinations.topics.length > 0 || memo.facts.strippedFrame !== undefined) return at;

    const builder = this.#begin();
    builder.beginMessage();
    builder.piece(chunk, at, next);
    this.#deliver(channel, destinations, builder.endMessage());
    return next;
  }

  /** Publishes a message that was collected frame by frame. Confirm what is not stored with confirmUnrouted(). */
  publish(channel: PublishingChannel, frames: ContentFrames): PublishOutcome {
    const { memo } = channel;
    if (memo.target.immediate) throw new AmqpError(540, 'immediate=true');
    if (frames.bodyBytes > this.#maxMessageBytes) {
      throw new AmqpError(
        406,
        `message size ${frames.bodyBytes} is larger than configured max size ${this.#maxMessageBytes}`,
      );
    }
    const destinations = memo.isStale || memo.facts.problem !== undefined ? memo.resolve() : memo.destinations!;
    if (destinations.isEmpty) return memo.target.mandatory ? 'returned' : 'dropped';
    if (destinations.topics.length > 0) requireFits(destinations.topics, frames);
    const builder = this.#begin();
    builder.beginMessage();
    const stripped = memo.facts.strippedFrame;
    for (let i = 0; i < frames.buffers.length; i++) {
      if (i === 1 && stripped !== undefined) builder.piece(stripped, 0, stripped.length);
      else builder.piece(frames.buffers[i]!, frames.ranges[i * 2]!, frames.ranges[i * 2 + 1]!);
    }
    this.#deliver(channel, destinations, builder.endMessage());
    return 'stored';
  }

  /** The message went nowhere: its confirm is due at once, behind the basic.return if there was one. */
  confirmUnrouted(channel: PublishingChannel): void {
    if (channel.confirming) this.#confirm(channel, false);
  }

  /** Makes everything so far one commit and queues the confirms. */
  commit(): void {
    if (this.#open) {
      this.#open = false;
      this.#builder.commit();
    }
    for (let i = 0; i < this.#channels.length; i++) {
      const channel = this.#channels[i]!;
      channel.inBlock = false;
      if (channel.nowTag > 0) {
        this.#outbox.confirmNow(channel, channel.nowTag, channel.nowTag > channel.confirmedTag + 1);
        channel.nowTag = 0;
      }
      if (channel.gatedTag > channel.queuedTag) {
        channel.queuedTag = channel.gatedTag;
        this.#outbox.confirm(channel, channel.gatedTag);
      }
    }
    this.#channels.length = 0;
  }

  /** Forgets what was not committed; for a connection that failed. */
  abandon(): void {
    if (this.#open) this.#builder.reset();
    this.#open = false;
    this.#channels.length = 0;
  }

  #begin(): BlockBuilder {
    const builder = this.#builder;
    if (this.#open && builder.sizeBytes < amqpLimits.blockBytesMax) return builder;
    if (this.#open) this.commit();
    builder.begin(amqpFormId, this.#broker.clock.now());
    this.#open = true;
    return builder;
  }

  #deliver(channel: PublishingChannel, destinations: Destinations, message: number): void {
    const { logs, durable, topics } = destinations;
    const { memo } = channel;
    const { persistent } = memo.facts;
    let gated = false;
    for (let i = 0; i < logs.length; i++) {
      const kept = persistent && durable[i]!;
      this.#builder.deliver(logs[i]!, message, !kept);
      if (kept) gated = true;
    }
    if (topics.length > 0) {
      // A topic keeps every message: its readers count on offsets without holes.
      const key = memo.recordKey();
      for (const topic of topics)
        this.#builder.deliver(topic.partitionFor(key, memo.target.routingKey), message, false);
      gated = true;
    }
    if (channel.confirming) this.#confirm(channel, gated);
  }

  #confirm(channel: PublishingChannel, gated: boolean): void {
    const tag = ++channel.publishedTag;
    if (!channel.inBlock) {
      channel.inBlock = true;
      this.#channels.push(channel);
    }
    if (gated) channel.gatedTag = tag;
    else if (channel.gatedTag <= channel.confirmedTag) channel.nowTag = tag;
    else this.#outbox.confirmNow(channel, tag, false);
  }
}

/** @throws AmqpError when the message is larger than a topic takes, counted by its content header frame and its body */
const requireFits = (topics: readonly Topic[], { ranges, bodyBytes }: ContentFrames): void => {
  const bytes = ranges[3]! - ranges[2]! + bodyBytes;
  for (const { name, messageBytesMax } of topics) {
    if (messageBytesMax === undefined || bytes <= messageBytesMax) continue;
    throw new AmqpError(
      406,
      `message size ${bytes} is larger than max.message.bytes ${messageBytesMax} of topic '${name}'`,
    );
  }
};

/** Position behind the method frame at `at`, now remembered; -1: not whole, or not well formed. */
const loadMethod = (memo: PublishMemo, chunk: Buffer, view: DataView, at: number, end: number): number => {
  const next = wholeFrameEnd(view, at, end);
  if (next < 0) return -1;
  try {
    memo.loadMethod(chunk, at, next);
  } catch {
    return -1;
  }
  return next;
};

const loadHeader = (
  memo: PublishMemo,
  chunk: Buffer,
  view: DataView,
  at: number,
  end: number,
  channel: number,
): number => {
  if (!isBasicHeader(view, at, end, channel)) return -1;
  const next = wholeFrameEnd(view, at, end);
  if (next < 0) return -1;
  try {
    memo.loadHeader(chunk, at, next);
  } catch {
    return -1;
  }
  return next;
};

/** False: refused; the error is found again, and told, when the message is published frame by frame. */
const resolves = (memo: PublishMemo): boolean => {
  try {
    memo.resolve();
    return true;
  } catch {
    return false;
  }
};
