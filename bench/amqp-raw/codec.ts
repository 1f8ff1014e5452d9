// The part of AMQP 0-9-1's wire format that the raw generator and its sink need: frames, methods, and a reader that walks frames.

export const FRAME_METHOD = 1;
const FRAME_HEADER = 2;
export const FRAME_BODY = 3;
const FRAME_END = 0xce;
/** Type, channel and size before the payload. */
const FRAME_HEADER_BYTES = 7;
/** The header and the end octet. */
const FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + 1;
const BASIC_CLASS = 60;
const DELIVERY_MODE_FLAG = 0x1000;

export const PROTOCOL_HEADER = Buffer.from('AMQP\x00\x00\x09\x01', 'latin1');

/** Class id in the upper, method id in the lower sixteen bits: what a method frame's payload starts with. */
const methodId = (classId: number, method: number): number => classId * 0x10000 + method;

export const METHOD = {
  connectionStart: methodId(10, 10),
  connectionStartOk: methodId(10, 11),
  connectionTune: methodId(10, 30),
  connectionTuneOk: methodId(10, 31),
  connectionOpen: methodId(10, 40),
  connectionOpenOk: methodId(10, 41),
  connectionClose: methodId(10, 50),
  connectionCloseOk: methodId(10, 51),
  channelOpen: methodId(20, 10),
  channelOpenOk: methodId(20, 11),
  channelClose: methodId(20, 40),
  queueDeclare: methodId(50, 10),
  queueDeclareOk: methodId(50, 11),
  queueDelete: methodId(50, 40),
  queueDeleteOk: methodId(50, 41),
  qos: methodId(BASIC_CLASS, 10),
  qosOk: methodId(BASIC_CLASS, 11),
  consume: methodId(BASIC_CLASS, 20),
  consumeOk: methodId(BASIC_CLASS, 21),
  publish: methodId(BASIC_CLASS, 40),
  deliver: methodId(BASIC_CLASS, 60),
  ack: methodId(BASIC_CLASS, 80),
  nack: methodId(BASIC_CLASS, 120),
  confirmSelect: methodId(85, 10),
  confirmSelectOk: methodId(85, 11),
} as const;

export const octet = (value: number): Buffer => Buffer.from([value]);

export const uint16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export const uint64 = (value: number): Buffer =>
  Buffer.concat([uint32(Math.floor(value / 2 ** 32)), uint32(value >>> 0)]);

export const shortString = (text: string): Buffer => Buffer.concat([octet(Buffer.byteLength(text)), Buffer.from(text)]);

export const longString = (text: string): Buffer => Buffer.concat([uint32(Buffer.byteLength(text)), Buffer.from(text)]);

/** A field table of string values. */
export const table = (entries: Readonly<Record<string, string>>): Buffer => {
  const fields = Object.entries(entries).flatMap(([key, value]) => [
    shortString(key),
    Buffer.from('S'),
    longString(value),
  ]);
  const body = Buffer.concat(fields);
  return Buffer.concat([uint32(body.length), body]);
};

const frame = (type: number, channel: number, payload: Buffer): Buffer =>
  Buffer.concat([octet(type), uint16(channel), uint32(payload.length), payload, octet(FRAME_END)]);

export const methodFrame = (channel: number, method: number, ...args: readonly Buffer[]): Buffer =>
  frame(FRAME_METHOD, channel, Buffer.concat([uint32(method), ...args]));

/** basic.ack of everything up to `tag`. */
export const multipleAckFrame = (channel: number, tag: number): Buffer =>
  methodFrame(channel, METHOD.ack, uint64(tag), octet(1));

/** Where the delivery tag stands in a frame whose arguments before it take `bytesBefore`. */
export const tagOffset = (bytesBefore: number): number => FRAME_HEADER_BYTES + 4 + bytesBefore;

/** Copies of one encoded frame, or of several that belong together, that differ in the delivery tag alone and are written at once. */
export class TaggedBatch {
  readonly #bytes: Buffer;
  readonly #stride: number;
  readonly #tagAt: number;
  #size = 0;

  constructor(template: Buffer, tagAt: number, capacity: number) {
    this.#bytes = Buffer.concat(Array.from({ length: capacity }, () => template));
    this.#stride = template.length;
    this.#tagAt = tagAt;
  }

  get isFull(): boolean {
    return this.#size === this.#bytes.length;
  }

  add(tag: number): void {
    const at = this.#size + this.#tagAt;
    this.#bytes.writeUInt32BE(Math.floor(tag / 2 ** 32), at);
    this.#bytes.writeUInt32BE(tag >>> 0, at + 4);
    this.#size += this.#stride;
  }

  /** A copy of what was added, or undefined if nothing was; the batch is empty afterwards. */
  take(): Buffer | undefined {
    if (this.#size === 0) return undefined;
    const taken = Buffer.from(this.#bytes.subarray(0, this.#size));
    this.#size = 0;
    return taken;
  }
}

/** The header and body frames of a message. */
export const contentFrames = (channel: number, body: Buffer, isPersistent: boolean): Buffer =>
  Buffer.concat([
    frame(
      FRAME_HEADER,
      channel,
      Buffer.concat([
        ...[uint16(BASIC_CLASS), uint16(0), uint64(body.length)],
        ...[uint16(DELIVERY_MODE_FLAG), octet(isPersistent ? 2 : 1)],
      ]),
    ),
    frame(FRAME_BODY, channel, body),
  ]);

/** Called for each whole frame; `bytes` is valid during the call only. */
export type OnFrame = (type: number, bytes: Buffer, payloadAt: number, payloadEnd: number) => void;

/** Cuts a byte stream into frames. */
export class FrameReader {
  onFrame: OnFrame;
  /** The start of a frame whose rest has not come yet; a copy, since chunks are reused. */
  #carry: Buffer = Buffer.alloc(0);

  constructor(onFrame: OnFrame) {
    this.onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    const bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    let at = 0;
    while (bytes.length - at >= FRAME_OVERHEAD_BYTES) {
      const payloadAt = at + FRAME_HEADER_BYTES;
      const payloadEnd = payloadAt + bytes.readUInt32BE(at + 3);
      if (payloadEnd >= bytes.length) break;
      if (bytes[payloadEnd] !== FRAME_END) throw new Error('a frame without its end octet');
      this.onFrame(bytes[at]!, bytes, payloadAt, payloadEnd);
      at = payloadEnd + 1;
    }
    this.#carry = Buffer.from(bytes.subarray(at));
  }
}
