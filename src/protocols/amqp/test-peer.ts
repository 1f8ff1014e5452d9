/** For tests: a peer that hands a connection exactly the chunks it is given, and reads what comes back frame by frame. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { frameEnd, frameType, protocolHeader } from './frames.ts';
import { decodeMethod, encodeMethod, type Method, type MethodName } from './generated/methods.ts';
import { MethodReader } from './method-reader.ts';
import { MethodWriter } from './method-writer.ts';

export interface ReceivedFrame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
  readonly method: Method | undefined;
}

export const methodFrame = (channel: number, method: Method): Buffer => {
  const writer = new MethodWriter();
  const frame = writer.beginMethodFrame(channel);
  encodeMethod(writer, method);
  writer.endFrame(frame);
  return Buffer.from(writer.bytes());
};

export const rawFrame = (type: number, channel: number, payload: Buffer): Buffer => {
  const header = Buffer.alloc(7);
  header[0] = type;
  header.writeUInt16BE(channel, 1);
  header.writeUInt32BE(payload.length, 3);
  return Buffer.concat([header, payload, Buffer.from([frameEnd])]);
};

/** Content header with the given flags and property octets. */
export const headerFrame = (
  channel: number,
  bodyBytes: number,
  flags = 0,
  properties: Buffer = Buffer.alloc(0),
): Buffer => {
  const fixed = Buffer.alloc(14);
  fixed.writeUInt16BE(60, 0);
  fixed.writeUInt32BE(bodyBytes, 8);
  fixed.writeUInt16BE(flags, 12);
  return rawFrame(frameType.header, channel, Buffer.concat([fixed, properties]));
};

export const publishFrame = (channel: number, routingKey: string, exchange = '', mandatory = false): Buffer =>
  methodFrame(channel, { method: 'basic.publish', ticket: 0, exchange, routingKey, mandatory, immediate: false });

export const persistentFlags = 0x1000;
export const persistentOctet = Buffer.from([2]);

export const startOk = (password = 'guest', capabilities: Record<string, boolean> = {}): Method => ({
  method: 'connection.start-ok',
  clientProperties: new Map([
    [
      'capabilities',
      { authentication_failure_close: true, consumer_cancel_notify: true, 'connection.blocked': true, ...capabilities },
    ],
  ]),
  mechanism: 'PLAIN',
  response: Buffer.from(`\0guest\0${password}`),
  locale: 'en_US',
});

/** Everything up to connection.open in one piece. */
export const opening = (frameMax = 131_072): Buffer =>
  Buffer.concat([
    protocolHeader,
    methodFrame(0, startOk()),
    methodFrame(0, { method: 'connection.tune-ok', channelMax: 2047, frameMax, heartbeat: 0 }),
    methodFrame(0, { method: 'connection.open', virtualHost: '/', capabilities: '', insist: false }),
  ]);

export class TestPeer extends Duplex {
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 1;
  #received = Buffer.alloc(0);
  /** Parsed so far; octets before the first frame are in `prologue`. */
  readonly frames: ReceivedFrame[] = [];
  prologue = Buffer.alloc(0);
  #waiting: (() => void)[] = [];
  /** connection.close is answered as clients do. */
  answersClose = true;

  constructor() {
    super({ allowHalfOpen: false });
  }

  /** As what the server's head takes. */
  get socket(): Socket {
    return this as unknown as Socket;
  }

  setNoDelay(): this {
    return this;
  }

  /** One socket chunk. */
  send(chunk: Buffer): void {
    this.emit('data', chunk);
  }

  method(channel: number, method: Method): void {
    this.send(methodFrame(channel, method));
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    this.#parse();
    for (const wake of this.#waiting.splice(0)) wake();
    done();
  }

  override _final(done: () => void): void {
    done();
    this.destroy();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    done(error);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #parse(): void {
    if (this.frames.length === 0 && this.#received.toString('latin1', 0, 4) === 'AMQP') {
      this.prologue = this.#received.subarray(0, 8);
      this.#received = this.#received.subarray(8);
    }
    while (this.#received.length >= 8) {
      const bytes = this.#received.readUInt32BE(3) + 8;
      if (this.#received.length < bytes) return;
      const type = this.#received[0]!;
      const payload = Buffer.from(this.#received.subarray(7, bytes - 1));
      if (this.#received[bytes - 1] !== frameEnd) throw new Error('bad frame from the server');
      const method = decodePayload(type, payload);
      this.frames.push({ type, channel: this.#received.readUInt16BE(1), payload, method });
      if (method?.method === 'connection.close' && this.answersClose) {
        setImmediate(() => this.method(0, { method: 'connection.close-ok' }));
      }
      this.#received = this.#received.subarray(bytes);
    }
  }

  methods(): Method[] {
    return this.frames.flatMap(({ method }) => (method === undefined ? [] : [method]));
  }

  /** Waits until the condition holds or the connection is gone. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.destroyed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async expect<Name extends MethodName>(name: Name): Promise<Extract<Method, { method: Name }>> {
    const find = (): Method | undefined => this.methods().find(({ method }) => method === name);
    await this.until(() => find() !== undefined);
    const found = find();
    if (found === undefined) throw new Error(`no ${name}, but ${JSON.stringify(this.methods())}`);
    return found as Extract<Method, { method: Name }>;
  }
}

const decodePayload = (type: number, payload: Buffer): Method | undefined => {
  if (type !== frameType.method) return undefined;
  const reader = new MethodReader();
  reader.reset(payload, 4, payload.length);
  return decodeMethod(payload.readUInt32BE(0), reader);
};
