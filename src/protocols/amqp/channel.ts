/**
 * One channel: what is being published on it, who consumes on it, what is out unsettled. Methods beside publish and the
 * settling ones are in the files `*-methods.ts`.
 */

import type { Delivery } from '../../broker/queues/delivery.ts';
import type { BrokerError } from '../../core/errors.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import { handleChannelMethod } from './channel-methods.ts';
import type { Connection } from './connection.ts';
import type { Consumer, ConsumingChannel } from './consumer.ts';
import { ContentAssembly } from './content-assembly.ts';
import { ackCode, frameHeaderBytes, frameType, publishCode } from './frames.ts';
import type { Method } from './generated/methods.ts';
import { decodeMethodFrame, encodeMethodFrame } from './method-frames.ts';
import type { ContentFrames, PublishingChannel } from './publish-session.ts';
import { PublishMemo } from './publish-target.ts';
import { writeDelivery } from './stored-content.ts';
import { Unacked } from './unacked.ts';

/** What becomes of a delivery. */
export type Settlement = 'ack' | 'requeue' | 'discard';

const ackPayloadBytes = 13;

export class Channel implements PublishingChannel, ConsumingChannel {
  readonly number: number;
  readonly connection: Connection;
  readonly memo: PublishMemo;
  readonly content: ContentAssembly;
  readonly unacked = new Unacked();
  readonly consumers = new Map<string, Consumer>();
  /** closing: channel.close was sent, close-ok is awaited. */
  state: 'open' | 'closing' | 'closed' = 'open';
  /** For methods that name no queue. */
  lastDeclaredQueue = '';
  /** For consumers to come. */
  prefetchCount = 0;
  /** The number of the next delivery. */
  nextDeliveryTag = 1;
  /** Class and method of the method being handled, for the error that it may cause. */
  currentMethod = 0;

  confirming = false;
  publishedTag = 0;
  gatedTag = 0;
  queuedTag = 0;
  nowTag = 0;
  inBlock = false;
  confirmedTag = 0;
  flushingTag = 0;

  constructor(connection: Connection, number: number) {
    this.connection = connection;
    this.number = number;
    this.memo = new PublishMemo(connection);
    this.content = new ContentAssembly(this.memo, connection.settings.max_message_size, connection.channels);
  }

  get silent(): boolean {
    return this.state !== 'open';
  }

  get frameBytesMax(): number {
    return this.connection.frameMax;
  }

  /** A publish may start here. */
  get acceptsPublish(): boolean {
    return this.state === 'open' && this.content.expects === 'method';
  }

  /** One whole frame. @throws AmqpError or BrokerError */
  frame(type: number, buffer: Buffer, at: number, payloadBytes: number): void {
    if (this.content.expects !== 'method') {
      this.currentMethod = publishCode;
      if (this.content.add(type, buffer, at, payloadBytes)) this.#finishContent();
      return;
    }
    this.currentMethod = 0;
    if (type !== frameType.method) throw new AmqpError(505, 'expected method frame, got non method frame instead');
    const code = payloadBytes < 4 ? 0 : buffer.readUInt32BE(at + frameHeaderBytes);
    this.currentMethod = code;
    if (code === publishCode) {
      this.content.begin(buffer, at, payloadBytes);
    } else if (code === ackCode && payloadBytes === ackPayloadBytes) {
      const tag = buffer.readUInt32BE(at + 11) * 4294967296 + buffer.readUInt32BE(at + 15);
      this.settle(tag, (buffer[at + 19]! & 1) !== 0, 'ack');
    } else {
      // What was published before must count for what is read now.
      this.connection.session.commit();
      handleChannelMethod(this, decodeMethodFrame(code, buffer, at, payloadBytes));
    }
  }

  /** After the state that was read has become durable. */
  reply(method: Method): void {
    this.connection.reply(this.number, method);
  }

  #finishContent(): void {
    const { content } = this;
    try {
      content.check();
      if (!this.connection.hold.holds(this, content)) this.publish(content);
    } finally {
      content.reset();
    }
  }

  /** A whole message; the memo has its method and header. */
  publish(frames: ContentFrames): void {
    const { session } = this.connection;
    const outcome = session.publish(this, frames);
    if (outcome === 'stored') return;
    if (outcome === 'returned') this.#return(frames);
    session.confirmUnrouted(this);
  }

  /** basic.return for a publish that was routed nowhere. */
  #return(frames: ContentFrames): void {
    const { exchange, routingKey } = this.memo.target;
    const method = encodeMethodFrame(this.number, {
      method: 'basic.return',
      replyCode: 312,
      replyText: 'NO_ROUTE',
      exchange,
      routingKey,
    });
    const parts = [method];
    for (let i = 1; i < frames.buffers.length; i++) {
      parts.push(frames.buffers[i]!.subarray(frames.ranges[i * 2]!, frames.ranges[i * 2 + 1]!));
    }
    this.connection.outbox.replyOwned(Buffer.concat(parts));
  }

  get canDeliver(): boolean {
    return this.unacked.count < amqpLimits.unackedPerChannelMax && this.connection.output.hasRoom;
  }

  deliverTo(consumer: Consumer, delivery: Delivery): void {
    const tag = this.nextDeliveryTag++;
    if (!consumer.autoAck) {
      consumer.unackedCount++;
      this.unacked.add(tag, delivery.part, delivery.offset, consumer);
    }
    writeDelivery(this.connection.output, consumer, delivery, tag);
  }

  /** Its queue is gone. */
  consumerCancelled(consumer: Consumer): void {
    this.consumers.delete(consumer.tag);
    if (this.state === 'open' && this.connection.client.cancelNotify) {
      this.reply({ method: 'basic.cancel', consumerTag: consumer.tag, nowait: true });
    }
  }

  /** Ends the channel: what it waits for will not come. The connection and its other channels go on, so it is not 541. */
  queueDamaged(queue: string, error: BrokerError): void {
    if (this.state !== 'open') return;
    const told = new AmqpError(406, `queue '${queue}' cannot be read on: ${error.message}`);
    this.connection.channels.closeWith(this, told, 0);
  }

  /** @throws AmqpError for a tag that is not out */
  settle(tag: number, multiple: boolean, settlement: Settlement): void {
    const { unacked } = this;
    this.connection.channels.noteSettled(this);
    if (multiple && tag === 0) {
      this.#settleUpTo(unacked.end - 1, settlement);
      return;
    }
    const index = unacked.indexOf(tag);
    if (index < 0) throw new AmqpError(406, `unknown delivery tag ${tag}`);
    if (multiple) this.#settleUpTo(index, settlement);
    else this.#settleOne(index, settlement);
  }

  #settleUpTo(last: number, settlement: Settlement): void {
    const { unacked } = this;
    if (unacked.count === 0) return;
    for (let index = unacked.first; index <= last; index++) {
      if (unacked.part(index) !== undefined) this.#settleOne(index, settlement);
    }
  }

  #settleOne(index: number, settlement: Settlement): void {
    const { unacked } = this;
    const { broker } = this.connection;
    const part = unacked.part(index)!;
    const offset = unacked.offset(index);
    const consumer = unacked.consumer(index);
    if (consumer !== undefined) consumer.unackedCount--;
    unacked.remove(index);
    if (settlement === 'ack') broker.ack(part, offset);
    else if (settlement === 'requeue') broker.requeue(part, offset);
    else broker.discard(part, offset);
  }

  /** Consumers that were left without credit ask again. */
  wakeConsumers(): void {
    for (const consumer of this.consumers.values()) consumer.wake();
  }

  /** Consumers go, deliveries that are out return to their queues, what is half received is dropped. */
  stop(state: 'closing' | 'closed'): void {
    const wasOpen = this.state === 'open';
    this.state = state;
    this.content.reset();
    if (!wasOpen) return;
    const consumers = [...this.consumers.values()];
    this.consumers.clear();
    for (const consumer of consumers) consumer.stop();
    this.#settleUpTo(this.unacked.end - 1, 'requeue');
  }
}
