/**
 * The channels of one connection by number: frames find their channel here, channels open and close here, and what they
 * leave for the end of a turn is noted here.
 */
import { AmqpError } from './amqp-errors.ts';
import { Channel } from './channel.ts';
import type { Connection } from './connection.ts';
import type { UnfinishedContent } from './content-assembly.ts';
import { frameType } from './frames.ts';
import { methodCodes } from './generated/methods.ts';
import { methodCodeAt } from './method-frames.ts';
import { maySettleAhead } from './publish-hold.ts';

export class ChannelTable implements UnfinishedContent {
  readonly #connection: Connection;
  /** Open, or waiting for close-ok. None before the connection is open, none once it closes. */
  readonly #byNumber = new Map<number, Channel>();
  /** The channel of the frame before. */
  #last: Channel | undefined;
  /** Negotiated: how many may be open at a time. */
  channelMax = 0;
  unfinishedBytes = 0;
  /** In the middle of a publish, some of which may lie in the chunk that is being read. */
  readonly #assembling = new Set<Channel>();
  /** Something was settled on them in this turn. */
  readonly #settled = new Set<Channel>();

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get(number: number): Channel | undefined {
    if (this.#last?.number === number) return this.#last;
    const channel = this.#byNumber.get(number);
    if (channel !== undefined) this.#last = channel;
    return channel;
  }

  /** One whole frame. Returns false to have it offered again when reading goes on. @throws AmqpError or BrokerError */
  frame(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    const channel = this.get(number);
    const code = type === frameType.method ? methodCodeAt(buffer, at, payloadBytes) : 0;
    if (channel === undefined) {
      this.#open(number, type, code);
      return true;
    }
    if (channel.state === 'closing') {
      if (code === methodCodes['channel.close']) channel.reply({ method: 'channel.close-ok' });
      else if (code === methodCodes['channel.close-ok']) this.#forget(channel);
      return true;
    }
    const connection = this.#connection;
    if (!connection.hold.isEmpty && type === frameType.method && code !== methodCodes['basic.publish']) {
      if (!maySettleAhead(buffer, at, payloadBytes)) {
        connection.input.pause('held');
        return false;
      }
    }
    channel.frame(type, buffer, at, payloadBytes);
    if (channel.content.expects !== 'method') this.#assembling.add(channel);
    return true;
  }

  #open(number: number, type: number, code: number): void {
    if (type !== frameType.method) throw new AmqpError(505, 'expected method frame, got non method frame instead');
    this.#connection.currentMethod = code;
    const { size } = this.#byNumber;
    if (size >= this.channelMax) {
      throw new AmqpError(
        530,
        `number of channels opened (${size}) has reached the negotiated channel_max (${this.channelMax})`,
      );
    }
    if (code !== methodCodes['channel.open']) throw new AmqpError(504, "expected 'channel.open'");
    const channel = new Channel(this.#connection, number);
    this.#byNumber.set(number, channel);
    channel.reply({ method: 'channel.open-ok', channelId: '' });
  }

  /** The client has closed it. */
  closedByClient(channel: Channel): void {
    this.#forget(channel);
    channel.reply({ method: 'channel.close-ok' });
  }

  /** Tells the client why and waits for its close-ok. `method`: class and method that caused the error. */
  closeWith(channel: Channel, { code, message }: AmqpError, method: number): void {
    channel.stop('closing');
    this.#assembling.delete(channel);
    const [classId, methodId] = [method >>> 16, method & 0xffff];
    channel.reply({ method: 'channel.close', replyCode: code, replyText: message, classId, methodId });
  }

  /** The connection ends. */
  closeAll(): void {
    for (const channel of this.#byNumber.values()) channel.stop('closed');
    this.#byNumber.clear();
    this.#assembling.clear();
    this.#last = undefined;
  }

  #forget(channel: Channel): void {
    channel.stop('closed');
    this.#byNumber.delete(channel.number);
    this.#assembling.delete(channel);
    if (this.#last === channel) this.#last = undefined;
  }

  /** Something was settled on it: its consumers are asked at the end of the turn. */
  noteSettled(channel: Channel): void {
    this.#settled.add(channel);
  }

  /** Asks the consumers of channels where something was settled in this turn. */
  wakeSettled(): void {
    for (const channel of this.#settled) channel.wakeConsumers();
    this.#settled.clear();
  }

  /** The memory of this chunk is about to be used again; undefined: there was none in this turn. */
  leaveChunk(chunk: Buffer | undefined): void {
    for (const channel of this.#assembling) {
      if (channel.content.expects === 'method') this.#assembling.delete(channel);
      else if (chunk !== undefined) channel.content.leaveChunk(chunk);
    }
  }

  wakeConsumers(): void {
    for (const channel of this.#byNumber.values()) channel.wakeConsumers();
  }
}
