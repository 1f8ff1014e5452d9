/**
 * From a stored message back to frames for a peer. Messages that were published through AMQP are stored as frames: their
 * content is copied as it is, with the peer's channel number in place of the publisher's. Large bodies are not copied but
 * sent from where they are stored, between small pieces that carry the frame headers.
 */
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Topic } from '../../broker/topic.ts';
import { amqpFormId, frameEndAt } from './amqp-form.ts';
import { amqpLimits } from './amqp-limits.ts';
import { headerOffset } from './content-header.ts';
import { encodeForeignContent } from './foreign-content.ts';
import { deliverCode, frameEnd, frameHeaderBytes, frameOverheadBytes, frameType } from './frames.ts';
import type { SocketOutput } from './socket-output.ts';

/** Position of the exchange in a stored basic.publish frame, from its start. */
const exchangeAt = frameHeaderBytes + 6;
/** What a publish payload holds beside exchange and routing key: class, method, ticket, bits. */
const publishFixedBytes = 7;
/** What a deliver payload holds beside consumer tag, exchange and routing key. */
const deliverFixedBytes = 4 + 8 + 1;

/** Where content goes, and where it comes from. */
export interface ContentAddress {
  readonly channel: number;
  /** Negotiated; the largest whole frame. */
  readonly frameBytesMax: number;
  /** What it is read from, for messages of other protocols. */
  readonly topic: Topic;
}

/** Who the deliveries of one consumer go to. */
export interface DeliverAddress extends ContentAddress {
  /** Short string with its length octet. */
  readonly consumerTag: Buffer;
}

/** Writes basic.deliver with its content. */
export const writeDelivery = (output: SocketOutput, to: DeliverAddress, delivery: Delivery, tag: number): void => {
  if (delivery.form !== amqpFormId) {
    writeForeignDelivery(output, to, delivery, tag);
    return;
  }
  const { buffer, start, end } = delivery;
  const nameBytes = readUInt32(buffer, start + 3) - publishFixedBytes;
  const contentAt = start + frameHeaderBytes + nameBytes + publishFixedBytes + 1;
  const contentBytes = end - contentAt;
  const methodBytes = frameOverheadBytes + deliverFixedBytes + to.consumerTag.length + nameBytes;
  const isLarge = contentBytes >= amqpLimits.referenceBodyBytes;
  const at = output.reserve(methodBytes + (isLarge ? 0 : contentBytes));
  writeDeliverMethod(output, at, to, tag, delivery.redelivered, buffer, start + exchangeAt, nameBytes);
  if (isLarge) {
    output.advance(methodBytes);
    writeLargeContent(output, to, delivery, contentAt);
    return;
  }
  const target = output.buffer;
  buffer.copy(target, at + methodBytes, contentAt, end);
  const targetEnd = at + methodBytes + contentBytes;
  let frame = at + methodBytes;
  while (frame < targetEnd) {
    target[frame + 1] = to.channel >>> 8;
    target[frame + 2] = to.channel;
    const payloadBytes = readUInt32(target, frame + 3);
    const next = frame + payloadBytes + frameOverheadBytes;
    // Clients may count on body frames that are full, all but the last: rabbitmq-client computes their number.
    const isOdd = next < targetEnd ? next - frame !== to.frameBytesMax : next - frame > to.frameBytesMax;
    if (isOdd && target[frame] === frameType.body) {
      output.advance(methodBytes);
      output.write(reframed(buffer, contentAt, end, to));
      return;
    }
    frame = next;
  }
  output.advance(methodBytes + contentBytes);
};

const readUInt32 = (buffer: Buffer, at: number): number =>
  buffer[at]! * 16777216 + ((buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!);

const writeDeliverMethod = (
  output: SocketOutput,
  start: number,
  to: DeliverAddress,
  tag: number,
  redelivered: boolean,
  names: Buffer,
  namesAt: number,
  nameBytes: number,
): void => {
  const { buffer, view } = output;
  const { consumerTag } = to;
  view.setUint8(start, frameType.method);
  view.setUint16(start + 1, to.channel);
  view.setUint32(start + 3, deliverFixedBytes + consumerTag.length + nameBytes);
  view.setUint32(start + 7, deliverCode);
  let at = start + 11;
  for (let i = 0; i < consumerTag.length; i++) buffer[at++] = consumerTag[i]!;
  view.setUint32(at, Math.floor(tag / 4294967296));
  view.setUint32(at + 4, tag % 4294967296);
  buffer[at + 8] = redelivered ? 1 : 0;
  at += 9;
  for (let i = 0; i < nameBytes; i++) buffer[at++] = names[namesAt + i]!;
  buffer[at] = frameEnd;
};

/** Header and bodies of a message whose body is worth sending from where it is stored. */
const writeLargeContent = (output: SocketOutput, to: DeliverAddress, delivery: Delivery, contentAt: number): void => {
  const { buffer, end, chunk } = delivery;
  const bodyAt = frameEndAt(buffer, contentAt);
  const headerBytes = bodyAt - contentAt;
  const at = output.reserve(headerBytes);
  buffer.copy(output.buffer, at, contentAt, bodyAt);
  output.view.setUint16(at + 1, to.channel);
  output.advance(headerBytes);
  const pieceBytesMax = to.frameBytesMax - frameOverheadBytes;
  let remaining = bodyBytesOf(buffer, contentAt);
  let room = 0;
  for (let frame = bodyAt; frame < end; ) {
    const next = frameEndAt(buffer, frame);
    for (let from = frame + frameHeaderBytes; from < next - 1; ) {
      if (room === 0) {
        room = Math.min(pieceBytesMax, remaining);
        const position = output.reserve(frameHeaderBytes);
        writeFrameHeader(output.view, position, to.channel, room);
        output.advance(frameHeaderBytes);
      }
      const bytes = Math.min(room, next - 1 - from);
      output.reference(chunk, buffer.subarray(from, from + bytes));
      from += bytes;
      room -= bytes;
      remaining -= bytes;
      if (room === 0) output.write(endOctet);
    }
    frame = next;
  }
};

const bodyBytesOf = (buffer: Buffer, headerFrameAt: number): number =>
  readUInt32(buffer, headerFrameAt + headerOffset.bodySizeHigh) * 4294967296 +
  readUInt32(buffer, headerFrameAt + headerOffset.bodySizeLow);

const writeFrameHeader = (view: DataView, at: number, channel: number, payloadBytes: number): void => {
  view.setUint8(at, frameType.body);
  view.setUint16(at + 1, channel);
  view.setUint32(at + 3, payloadBytes);
};

const writeForeignDelivery = (output: SocketOutput, to: DeliverAddress, delivery: Delivery, tag: number): void => {
  const foreign = encodeForeignContent(delivery, to);
  const methodBytes = frameOverheadBytes + deliverFixedBytes + to.consumerTag.length + foreign.names.length;
  const at = output.reserve(methodBytes);
  writeDeliverMethod(output, at, to, tag, delivery.redelivered, foreign.names, 0, foreign.names.length);
  output.advance(methodBytes);
  output.write(foreign.content);
};

/** A message's exchange and routing key as two short strings, and its content as frames: copies for rare uses. */
export interface ContentCopy {
  readonly names: Buffer;
  readonly content: Buffer;
}

export const copyContent = (delivery: Delivery, to: ContentAddress): ContentCopy => {
  if (delivery.form !== amqpFormId) return encodeForeignContent(delivery, to);
  const { buffer, start, end } = delivery;
  const contentAt = frameEndAt(buffer, start);
  const names = Buffer.from(buffer.subarray(start + exchangeAt, contentAt - 2));
  return { names, content: reframed(buffer, contentAt, end, to) };
};

/** Header and body frames for another channel, the body cut anew. */
const reframed = (buffer: Buffer, contentAt: number, end: number, to: ContentAddress): Buffer => {
  const bodyAt = frameEndAt(buffer, contentAt);
  const payloads: Buffer[] = [];
  for (let frame = bodyAt; frame < end; ) {
    const next = frameEndAt(buffer, frame);
    payloads.push(buffer.subarray(frame + frameHeaderBytes, next - 1));
    frame = next;
  }
  const body = Buffer.concat(payloads);
  const header = buffer.subarray(contentAt + frameHeaderBytes, bodyAt - 1);
  const parts: Buffer[] = frameAround(frameType.header, to.channel, header);
  const pieceBytesMax = to.frameBytesMax - frameOverheadBytes;
  for (let from = 0; from < body.length; from += pieceBytesMax) {
    parts.push(...frameAround(frameType.body, to.channel, body.subarray(from, from + pieceBytesMax)));
  }
  return Buffer.concat(parts);
};

const endOctet = Buffer.from([frameEnd]);

const frameAround = (type: number, channel: number, payload: Buffer): Buffer[] => {
  const header = Buffer.allocUnsafe(frameHeaderBytes);
  header[0] = type;
  header.writeUInt16BE(channel, 1);
  header.writeUInt32BE(payload.length, 3);
  return [header, payload, endOctet];
};
