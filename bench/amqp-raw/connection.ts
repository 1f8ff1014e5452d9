// One AMQP connection with one channel: the handshake and a few synchronous methods, then frames in and bytes out, untouched.
import { connect, type Socket, type TcpNetConnectOpts } from 'node:net';
import type { DuplexOptions } from 'node:stream';
import {
  FRAME_METHOD,
  FrameReader,
  longString,
  METHOD,
  methodFrame,
  type OnFrame,
  octet,
  PROTOCOL_HEADER,
  shortString,
  table,
  uint16,
  uint32,
} from './codec.ts';

export const CHANNEL = 1;
const READ_BUFFER_BYTES = 256 * 1024;
const WRITE_BUFFER_BYTES = 1024 * 1024;

export type QueueType = 'classic' | 'quorum';

export class RawConnection {
  readonly socket: Socket;
  /** Receives every frame that no `call` waits for. */
  onFrame: OnFrame = () => {};
  /** Called after all frames of one read have been handed out. */
  onChunkEnd: () => void = () => {};
  /** Rejects when the connection or its channel ends, whoever ended it. */
  readonly failed: Promise<never>;
  #waiting: { method: number; resolve: (args: Buffer) => void } | undefined;
  #fail: (error: Error) => void = () => {};

  private constructor(host: string, port: number) {
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {}); // it may fail when nobody is waiting any more
    const reader = new FrameReader((type, bytes, at, end) => this.#dispatch(type, bytes, at, end));
    const readBuffer = Buffer.allocUnsafe(READ_BUFFER_BYTES);
    const options: TcpNetConnectOpts & DuplexOptions = {
      host,
      port,
      noDelay: true,
      writableHighWaterMark: WRITE_BUFFER_BYTES,
      onread: {
        buffer: readBuffer,
        callback: (size) => {
          reader.push(readBuffer.subarray(0, size));
          this.onChunkEnd();
          return true;
        },
      },
    };
    this.socket = connect(options);
    this.socket.on('error', (error) => this.#fail(error));
    this.socket.on('close', () => this.#fail(new Error('connection closed')));
  }

  /** `address` is host:port. Rejects when the broker refuses, or ends the connection during the handshake. */
  static async open(address: string): Promise<RawConnection> {
    const [host, port] = address.split(':') as [string, string];
    const connection = new RawConnection(host, Number(port));
    try {
      await connection.#handshake();
    } catch (error) {
      connection.socket.destroy();
      throw error;
    }
    return connection;
  }

  async #handshake(): Promise<void> {
    this.socket.write(PROTOCOL_HEADER);
    await this.#wait(METHOD.connectionStart);
    const login = [shortString('PLAIN'), longString('\0guest\0guest'), shortString('en_US')];
    this.socket.write(methodFrame(0, METHOD.connectionStartOk, table({ product: 'amqp-raw' }), ...login));
    const limits = await this.#wait(METHOD.connectionTune);
    const noHeartbeat = uint16(0);
    this.socket.write(methodFrame(0, METHOD.connectionTuneOk, limits.subarray(0, 6), noHeartbeat));
    const open = methodFrame(0, METHOD.connectionOpen, shortString('/'), shortString(''), octet(0));
    await this.call(open, METHOD.connectionOpenOk);
    await this.call(methodFrame(CHANNEL, METHOD.channelOpen, shortString('')), METHOD.channelOpenOk);
  }

  /** Sends a method and waits for its answer. */
  async call(bytes: Buffer, answer: number): Promise<Buffer> {
    this.socket.write(bytes);
    return this.#wait(answer);
  }

  #wait(method: number): Promise<Buffer> {
    const answer = new Promise<Buffer>((resolve) => {
      this.#waiting = { method, resolve };
    });
    return Promise.race([answer, this.failed]);
  }

  #dispatch(type: number, bytes: Buffer, at: number, end: number): void {
    if (type === FRAME_METHOD) {
      const method = bytes.readUInt32BE(at);
      if (method === METHOD.connectionClose || method === METHOD.channelClose) {
        const textEnd = at + 7 + bytes[at + 6]!;
        this.#fail(
          new Error(`closed by the broker: ${bytes.readUInt16BE(at + 4)} ${bytes.toString('utf8', at + 7, textEnd)}`),
        );
        this.socket.destroy();
        return;
      }
      if (method === this.#waiting?.method) {
        const { resolve } = this.#waiting;
        this.#waiting = undefined;
        resolve(Buffer.from(bytes.subarray(at + 4, end)));
        return;
      }
    }
    this.onFrame(type, bytes, at, end);
  }

  async declareQueue(queue: string, type: QueueType): Promise<void> {
    const durable = 2;
    const args = [uint16(0), shortString(queue), octet(durable), table({ 'x-queue-type': type })];
    await this.call(methodFrame(CHANNEL, METHOD.queueDeclare, ...args), METHOD.queueDeclareOk);
  }

  async deleteQueue(queue: string): Promise<void> {
    const args = [uint16(0), shortString(queue), octet(0)];
    await this.call(methodFrame(CHANNEL, METHOD.queueDelete, ...args), METHOD.queueDeleteOk);
  }

  async selectConfirms(): Promise<void> {
    await this.call(methodFrame(CHANNEL, METHOD.confirmSelect, octet(0)), METHOD.confirmSelectOk);
  }

  /** Manual acknowledgement unless `prefetch` is 0: then the broker takes a delivery as its acknowledgement. */
  async consume(queue: string, prefetch: number): Promise<void> {
    await this.call(methodFrame(CHANNEL, METHOD.qos, uint32(0), uint16(prefetch), octet(0)), METHOD.qosOk);
    const noAck = prefetch === 0 ? 2 : 0;
    const args = [uint16(0), shortString(queue), shortString(`c-${queue}`), octet(noAck), table({})];
    await this.call(methodFrame(CHANNEL, METHOD.consume, ...args), METHOD.consumeOk);
  }

  /** Ends the connection without ceremony; the broker requeues what is unacknowledged. */
  close(): void {
    this.socket.destroy();
  }
}
