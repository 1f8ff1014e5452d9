/**
 * One AMQP 0-9-1 connection: handshake, channels, errors and the end. Everything that one socket chunk holds is handled in
 * one go: its publishes become one commit, its acks another, and what is written leaves in one write.
 */
import type { Socket } from 'node:net';
import type { Principal } from '../../broker/access.ts';
import type { Broker } from '../../broker/broker.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import { BrokerError } from '../../core/errors.ts';
import { receive } from '../../wire/receive.ts';
import { AmqpError, toAmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import type { Logger } from './amqp-logger.ts';
import type { AmqpSettings } from './amqp-settings.ts';
import { Channel } from './channel.ts';
import { type FrameHandler, FrameReader, payloadSnippet } from './frame-reader.ts';
import { frameHeaderBytes, frameType, protocolHeader } from './frames.ts';
import { decodeMethod, encodeMethod, type Method, methodCodes } from './generated/methods.ts';
import {
  authenticate,
  type ClientCapabilities,
  capabilitiesOf,
  checkTuning,
  noCapabilities,
  refusedLogin,
  requireVhost,
  startMethod,
} from './handshake.ts';
import { Heartbeat } from './heartbeat.ts';
import { MethodReader } from './method-reader.ts';
import { MethodWriter } from './method-writer.ts';
import { Outbox, type OutboxOwner } from './outbox.ts';
import { maySettleAhead, PublishHold } from './publish-hold.ts';
import { type ContentFrames, PublishSession } from './publish-session.ts';
import { type OutputOwner, type OutputPieces, SocketOutput } from './socket-output.ts';

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly broker: Broker;
  readonly settings: AmqpSettings;
  readonly logger: Logger;
  readonly pieces: OutputPieces;
  readonly onClosed: (connection: Connection) => void;
}

/** closing: connection.close was sent or received, only its end is awaited. */
type ConnectionState = 'header' | 'starting' | 'tuning' | 'opening' | 'running' | 'closing' | 'closed';

/** Why the socket is not read. */
const pauseBits = { get: 1, undurable: 2, output: 4, held: 8 } as const;
type PauseReason = keyof typeof pauseBits;

/** Shared by all connections: both are used within one call only. */
const reader = new MethodReader();
const writer = new MethodWriter();

const isLoopback = (address: string | undefined): boolean =>
  address === undefined || address === '::1' || /^(::ffff:)?127\./.test(address);

export class Connection implements FrameHandler, OutboxOwner, OutputOwner {
  readonly broker: Broker;
  readonly settings: AmqpSettings;
  readonly output: SocketOutput;
  readonly outbox: Outbox;
  readonly #socket: Socket;
  readonly #logger: Logger;
  readonly #onClosed: (connection: Connection) => void;
  readonly #peer: string;
  readonly #reader: FrameReader;
  readonly #channels = new Map<number, Channel>();
  /** The channel of the frame before. */
  #lastChannel: Channel | undefined;
  readonly #hold = new PublishHold();
  #state: ConnectionState = 'header';
  /** First octets of the stream, until there are eight. */
  #header = Buffer.alloc(0);
  client: ClientCapabilities = noCapabilities;
  #principal: Principal | undefined;
  #vhost: VirtualHost | undefined;
  #session: PublishSession | undefined;
  #heartbeat: Heartbeat | undefined;
  #timer: { cancel(): void } | undefined;
  /** Negotiated: the largest whole frame. */
  frameMax: number = amqpLimits.initialFrameBytesMax;
  #channelMax = 0;
  /** Bits of pauseBits. */
  #paused = 0;
  #reading = false;
  #undurableBytes = 0;
  /** Body and header bytes of publishes that are not complete, over all channels. */
  unfinishedBytes = 0;
  readonly #assembling = new Set<Channel>();
  readonly #settled = new Set<Channel>();
  /** The store takes no messages. */
  #blocked = false;
  #toldBlocked = false;
  /** Class and method on channel 0, for the error that it may cause. */
  #currentMethod = 0;

  constructor({ socket, broker, settings, logger, pieces, onClosed }: ConnectionOptions) {
    this.#socket = socket;
    this.broker = broker;
    this.settings = settings;
    this.#logger = logger;
    this.#onClosed = onClosed;
    this.#peer = `${socket.remoteAddress ?? 'unix'}:${socket.remotePort ?? 0}`;
    this.output = new SocketOutput(socket, pieces, this);
    this.outbox = new Outbox(broker.gate, this.output, this);
    this.#reader = new FrameReader(this);
    socket.setNoDelay(true);
    receive(socket, (chunk) => this.#onData(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClose());
    this.#arm(settings.handshake_timeout, 'handshake_timeout');
  }

  get vhost(): VirtualHost {
    return this.#vhost!;
  }
  get principal(): Principal {
    return this.#principal!;
  }
  get session(): PublishSession {
    return this.#session!;
  }

  // ---- what goes out

  /** A frame with this method; a view, valid until the next one. */
  encode(channel: number, method: Method): Buffer {
    writer.reset();
    const frame = writer.beginMethodFrame(channel);
    encodeMethod(writer, method);
    writer.endFrame(frame);
    return writer.bytes();
  }

  /** Whoever has the reply knows that what it settled before stays settled. */
  reply(channel: number, method: Method): void {
    this.broker.flushAcks();
    this.outbox.reply(this.encode(channel, method));
  }

  /** basic.return for a publish that was routed nowhere. */
  returnMessage(channel: Channel, frames: ContentFrames): void {
    const { exchange, routingKey } = channel.memo.target;
    const method = this.encode(channel.number, {
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
    this.outbox.replyOwned(Buffer.concat(parts));
  }

  // ---- what comes in

  #onData(chunk: Buffer): void {
    if (this.#heartbeat !== undefined) this.#heartbeat.received = true;
    if (this.#state === 'closed') return;
    const rest = this.#state === 'header' ? this.#negotiate(chunk) : chunk;
    if (rest.length > 0) this.#read(rest);
  }

  /** Takes the protocol header off the stream. Returns what follows it. */
  #negotiate(chunk: Buffer): Buffer {
    const bytes = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    const known = Math.min(bytes.length, 4);
    const isOther = bytes.compare(protocolHeader, 0, known, 0, known) !== 0;
    if (!isOther && bytes.length < protocolHeader.length) {
      this.#header = Buffer.from(bytes);
      return Buffer.alloc(0);
    }
    const version = bytes.subarray(4, 8).join('.');
    // 1.1.0.9 is how 0-9 announces itself; it is close enough.
    if (isOther || (version !== '0.0.9.1' && version !== '1.1.0.9')) {
      this.#refuseProtocol(bytes, isOther);
      return Buffer.alloc(0);
    }
    this.#header = Buffer.alloc(0);
    this.#state = 'starting';
    this.reply(0, startMethod(this.settings));
    return bytes.subarray(8);
  }

  #refuseProtocol(bytes: Buffer, isOther: boolean): void {
    let reason = isOther ? 'client did not start with an AMQP protocol header' : 'unsupported AMQP version';
    if (bytes.toString('latin1', 0, 4) === 'GET ') reason = 'HTTP request on an AMQP port';
    if (bytes[0] === 0x16 && bytes[1] === 0x03) reason = 'TLS client on an AMQP port without TLS';
    this.#logger.warn({ peer: this.#peer, reason }, 'refused AMQP connection');
    this.#state = 'closing';
    this.output.write(protocolHeader);
    this.#end();
  }

  /** One socket chunk, or undefined: go on with what was left of one. */
  #read(chunk: Buffer | undefined): void {
    this.#reading = true;
    try {
      if (chunk === undefined) this.#reader.resume();
      else this.#reader.feed(chunk);
    } catch (error) {
      this.#fail(error, 0);
    }
    this.#reading = false;
    this.#finishTurn(chunk);
  }

  /** Commits what the chunk brought. */
  #finishTurn(chunk: Buffer | undefined): void {
    try {
      this.#session?.commit();
      for (const channel of this.#settled) channel.wakeConsumers();
      this.#settled.clear();
    } catch (error) {
      this.#fail(error, 0);
    }
    for (const channel of this.#assembling) {
      if (channel.content.expects === 'method') this.#assembling.delete(channel);
      else if (chunk !== undefined) channel.content.leaveChunk(chunk);
    }
    const chunkBytes = chunk?.length ?? 0;
    if (chunkBytes > 0 && this.outbox.addUndurable(chunkBytes)) {
      this.#undurableBytes += chunkBytes;
      if (this.#undurableBytes > amqpLimits.undurableBytesMax) this.pause('undurable');
    }
    if (this.output.pendingBytes > amqpLimits.outputStopBytes && !this.output.hasRoom) this.pause('output');
  }

  becameDurable(bytes: number): void {
    this.#undurableBytes -= bytes;
    if (this.#undurableBytes <= amqpLimits.undurableBytesMax / 2) this.unpause('undurable');
  }

  outputDrained(): void {
    this.unpause('output');
    for (const channel of this.#channels.values()) channel.wakeConsumers();
  }

  get frameBytesMax(): number {
    return this.frameMax + amqpLimits.frameFudgeBytes;
  }

  get stopped(): boolean {
    return this.#paused !== 0 || this.#state === 'closed';
  }

  /** Reads nothing until unpause(). */
  pause(reason: PauseReason): void {
    if (this.#paused === 0) this.#socket.pause();
    this.#paused |= pauseBits[reason];
  }

  unpause(reason: PauseReason): void {
    if ((this.#paused & pauseBits[reason]) === 0) return;
    this.#paused &= ~pauseBits[reason];
    if (this.#paused === 0 && !this.#reading) process.nextTick(goOn, this);
    else if (this.#paused === 0) this.#socket.resume();
  }

  /** Reads on, unless something else stopped it in the meantime. */
  goOn(): void {
    if (this.#paused !== 0 || this.#reading || this.#state === 'closed') return;
    this.#read(undefined);
    if (this.#paused === 0) this.#socket.resume();
  }

  publishInPlace(chunk: Buffer, view: DataView, at: number, end: number): number {
    if (this.#state !== 'running' || this.#blocked) return at;
    const channel = this.#channelOf(view.getUint16(at + 1));
    if (channel === undefined || !channel.acceptsPublish) return at;
    return this.session.publishInPlace(channel, chunk, view, at, end);
  }

  frame(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    try {
      return this.#dispatch(type, number, buffer, at, payloadBytes);
    } catch (error) {
      this.#fail(error, number);
      return true;
    }
  }

  #dispatch(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    this.#currentMethod = 0;
    if (this.#state === 'closing') {
      if (number === 0 && type === frameType.method) this.#methodWhileClosing(buffer, at, payloadBytes);
      return true;
    }
    const start = at + frameHeaderBytes;
    if (type === frameType.heartbeat && number === 0 && payloadBytes === 0) return true;
    const isKnown = type >= frameType.method && type <= frameType.body;
    if (!isKnown || number === 0 || this.#state !== 'running') {
      const shown = `type ${type}, ${payloadSnippet(buffer.subarray(start, start + payloadBytes))}`;
      if (!isKnown && type !== frameType.heartbeat) throw new AmqpError(501, `${shown}: unknown_frame`);
      if (number !== 0 || type !== frameType.method) throw new AmqpError(505, shown);
      this.#currentMethod = payloadBytes < 4 ? 0 : buffer.readUInt32BE(start);
      this.#connectionMethod(this.decode(this.#currentMethod, buffer, at, payloadBytes));
      return true;
    }
    return this.#channelFrame(type, number, buffer, at, payloadBytes);
  }

  #channelFrame(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    const channel = this.#channelOf(number);
    const code = type === frameType.method && payloadBytes >= 4 ? buffer.readUInt32BE(at + frameHeaderBytes) : 0;
    if (channel === undefined) {
      this.#openChannel(number, type, code);
      return true;
    }
    if (channel.state === 'closing') {
      if (code === methodCodes['channel.close']) this.reply(number, { method: 'channel.close-ok' });
      else if (code === methodCodes['channel.close-ok']) this.#forget(channel);
      return true;
    }
    if (!this.#hold.isEmpty && type === frameType.method && code !== methodCodes['basic.publish']) {
      if (!maySettleAhead(buffer, at, payloadBytes)) {
        this.pause('held');
        return false;
      }
    }
    channel.frame(type, buffer, at, payloadBytes);
    if (channel.content.expects !== 'method') this.#assembling.add(channel);
    return true;
  }

  decode(code: number, buffer: Buffer, at: number, payloadBytes: number): Method {
    const start = at + frameHeaderBytes;
    reader.reset(buffer, start + 4, start + payloadBytes);
    const method = decodeMethod(code, reader);
    if (method === undefined) {
      throw new AmqpError(503, `unknown method: class ${code >>> 16}, method ${code & 0xffff}`);
    }
    reader.finish();
    return method;
  }

  // ---- channels

  #channelOf(number: number): Channel | undefined {
    if (this.#lastChannel?.number === number) return this.#lastChannel;
    const channel = this.#channels.get(number);
    if (channel !== undefined) this.#lastChannel = channel;
    return channel;
  }

  #openChannel(number: number, type: number, code: number): void {
    if (type !== frameType.method) throw new AmqpError(505, 'expected method frame, got non method frame instead');
    this.#currentMethod = code;
    if (this.#channels.size >= this.#channelMax) {
      throw new AmqpError(
        530,
        `number of channels opened (${this.#channels.size}) has reached the negotiated channel_max (${this.#channelMax})`,
      );
    }
    if (code !== methodCodes['channel.open']) throw new AmqpError(504, "expected 'channel.open'");
    this.#channels.set(number, new Channel(this, number));
    this.reply(number, { method: 'channel.open-ok', channelId: '' });
  }

  /** The client has closed it. */
  closeChannel(channel: Channel): void {
    channel.stop('closed');
    this.#forget(channel);
    this.reply(channel.number, { method: 'channel.close-ok' });
  }

  #forget(channel: Channel): void {
    channel.stop('closed');
    this.#channels.delete(channel.number);
    this.#assembling.delete(channel);
    if (this.#lastChannel === channel) this.#lastChannel = undefined;
  }

  /** Something was settled on it: its consumers are asked at the end of the turn. */
  noteSettled(channel: Channel): void {
    this.#settled.add(channel);
  }

  // ---- blocking

  /** The store has room again, or none any more. */
  roomChanged(hasRoom: boolean): void {
    this.#blocked = !hasRoom;
    if (!hasRoom || this.#state !== 'running') return;
    this.#reading = true;
    this.#hold.release((channel, frames) => this.#publishHeld(channel, frames));
    this.#reading = false;
    this.#finishTurn(undefined);
    if (this.#toldBlocked) this.reply(0, { method: 'connection.unblocked' });
    this.#toldBlocked = false;
    this.unpause('held');
    if (this.#paused === 0) process.nextTick(goOn, this);
  }

  #publishHeld(channel: Channel, frames: ContentFrames): void {
    const [method, header] = frames.buffers;
    try {
      channel.memo.loadMethod(method!, 0, method!.length);
      channel.memo.loadHeader(header!, 0, header!.length);
      channel.publish(frames);
    } catch (error) {
      this.#fail(error, channel.number);
    }
  }

  /** Takes the publish if there is no room for it now. */
  holdsPublish(channel: Channel, frames: ContentFrames): boolean {
    if (!this.#blocked) return false;
    this.#hold.add(channel, frames);
    if (!this.#toldBlocked && this.client.blocked) {
      this.#toldBlocked = true;
      this.reply(0, { method: 'connection.blocked', reason: 'low on disk' });
    }
    if (this.#hold.isFull) this.pause('held');
    return true;
  }

  // ---- channel 0

  #connectionMethod(method: Method): void {
    const state = this.#state;
    if (method.method === 'connection.close' && state === 'running') {
      this.#closedByClient();
    } else if (method.method === 'connection.start-ok' && state === 'starting') {
      this.#startOk(method);
    } else if (method.method === 'connection.tune-ok' && state === 'tuning') {
      this.#tuneOk(method);
    } else if (method.method === 'connection.open' && state === 'opening') {
      this.#open(method.virtualHost);
    } else if (method.method === 'connection.update-secret' && state === 'running') {
      this.#updateSecret(method.newSecret);
    } else {
      throw new AmqpError(504, `unexpected method in connection state ${state}`);
    }
  }

  #startOk(method: Extract<Method, { method: 'connection.start-ok' }>): void {
    this.client = capabilitiesOf(method);
    const principal = authenticate(this.broker, method, isLoopback(this.#socket.remoteAddress));
    if (principal === undefined) {
      this.#refuseLogin(method.mechanism);
      return;
    }
    this.#principal = principal;
    this.#state = 'tuning';
    const { channel_max, frame_max, heartbeat } = this.settings;
    this.reply(0, { method: 'connection.tune', channelMax: channel_max, frameMax: frame_max, heartbeat });
  }

  /** Clients that cannot take the error wait for the end of the connection, and not for nothing. */
  #refuseLogin(mechanism: string): void {
    const error = refusedLogin(mechanism);
    this.#logger.warn({ peer: this.#peer, error: error.message }, 'refused AMQP login');
    this.#state = 'closing';
    if (this.client.authenticationFailureClose) this.#sendClose(error, this.#currentMethod);
    this.#arm(amqpLimits.silentCloseMs);
  }

  #tuneOk(method: Extract<Method, { method: 'connection.tune-ok' }>): void {
    checkTuning(method, this.settings);
    this.frameMax = method.frameMax;
    this.#channelMax = method.channelMax;
    this.#state = 'opening';
    this.#heartbeat = new Heartbeat({
      clock: this.broker.clock,
      output: this.output,
      intervalSeconds: method.heartbeat,
      isReadingPaused: () => this.#paused !== 0,
      onDead: () => {
        this.#logger.warn(
          { peer: this.#peer, heartbeatSeconds: method.heartbeat },
          'missed heartbeats from AMQP client',
        );
        this.#socket.destroy();
      },
    });
  }

  #open(name: string): void {
    this.#vhost = requireVhost(this.broker, name);
    this.#session = new PublishSession({
      broker: this.broker,
      vhost: this.#vhost,
      outbox: this.outbox,
      maxMessageBytes: this.settings.max_message_size,
      frameBytesMax: this.frameMax,
    });
    this.#blocked = !this.broker.hasRoom;
    this.#state = 'running';
    this.#timer?.cancel();
    this.reply(0, { method: 'connection.open-ok', knownHosts: '' });
  }

  #updateSecret(secret: Buffer): void {
    const peer = { loopback: isLoopback(this.#socket.remoteAddress) };
    const principal = this.broker.access.authenticate(this.principal.user, secret.toString('utf8'), peer);
    if (principal === undefined) throw new AmqpError(530, 'New secret was refused by one of the backends');
    this.reply(0, { method: 'connection.update-secret-ok' });
  }

  // ---- the end

  #methodWhileClosing(buffer: Buffer, at: number, payloadBytes: number): void {
    const code = payloadBytes < 4 ? 0 : buffer.readUInt32BE(at + frameHeaderBytes);
    if (code === methodCodes['connection.close']) this.reply(0, { method: 'connection.close-ok' });
    if (code === methodCodes['connection.close'] || code === methodCodes['connection.close-ok']) {
      this.outbox.afterReplies(() => this.#end());
    }
  }

  #closedByClient(): void {
    this.#session?.commit();
    this.#stopChannels();
    this.#state = 'closing';
    this.reply(0, { method: 'connection.close-ok' });
    this.#arm(amqpLimits.closeTimeoutMs);
    this.outbox.afterReplies(() => this.#end());
  }

  /** Tells the client why and waits for its close-ok. */
  closeWith(error: AmqpError, method = 0): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    if (this.#state === 'header') {
      this.#socket.destroy();
      return;
    }
    this.#stopChannels();
    this.#state = 'closing';
    this.#sendClose(error, method);
    this.#arm(error.fatalFraming ? amqpLimits.silentCloseMs : amqpLimits.closeTimeoutMs);
    // Behind a lost frame boundary nothing makes sense any more.
    if (error.fatalFraming) this.#socket.removeAllListeners('data').resume();
    // While reading is paused its close-ok could not be seen.
    this.#paused = 0;
    this.#socket.resume();
  }

  #sendClose(error: AmqpError, method: number): void {
    const { code, message } = error;
    const [classId, methodId] = [method >>> 16, method & 0xffff];
    this.reply(0, { method: 'connection.close', replyCode: code, replyText: message, classId, methodId });
  }

  #fail(error: unknown, number: number): void {
    if (!(error instanceof AmqpError || error instanceof BrokerError)) {
      this.#logger.error({ peer: this.#peer, err: error }, 'internal error on AMQP connection');
    }
    const channel = this.#channels.get(number);
    try {
      this.#session?.commit();
    } catch {
      this.#session?.abandon();
    }
    const told = toAmqpError(error);
    const method = channel?.currentMethod ?? this.#currentMethod;
    if (told.closesConnection || channel === undefined || this.#state !== 'running') {
      this.#logger.warn({ peer: this.#peer, channel: number, error: told.message }, 'closing AMQP connection');
      this.closeWith(told, method);
      return;
    }
    this.#logger.debug({ peer: this.#peer, channel: number, error: told.message }, 'closing AMQP channel');
    channel.stop('closing');
    this.#assembling.delete(channel);
    const [classId, methodId] = [method >>> 16, method & 0xffff];
    this.reply(number, { method: 'channel.close', replyCode: told.code, replyText: told.message, classId, methodId });
  }

  #stopChannels(): void {
    for (const channel of this.#channels.values()) channel.stop('closed');
    this.#channels.clear();
    this.#assembling.clear();
    this.#lastChannel = undefined;
    this.#hold.clear();
    this.#vhost?.releaseOwner(this);
  }

  /** All is said: the rest is written and the socket closed. */
  #end(): void {
    this.output.flush();
    this.#socket.end();
    this.#arm(amqpLimits.silentCloseMs);
  }

  /** Drops the connection after this time, whatever happens. */
  #arm(delayMs: number, reason?: string): void {
    this.#timer?.cancel();
    this.#timer = this.broker.clock.after(delayMs, () => {
      if (reason !== undefined) this.#logger.warn({ peer: this.#peer, reason }, 'closing AMQP connection');
      this.#socket.destroy();
    });
  }

  #onClose(): void {
    if (this.#state === 'closed') return;
    try {
      if (this.#state === 'running') this.#logger.debug({ peer: this.#peer }, 'AMQP client closed the TCP connection');
      this.#stopChannels();
    } catch (error) {
      this.#logger.error({ peer: this.#peer, err: error }, 'internal error on AMQP connection');
    }
    this.#state = 'closed';
    this.#timer?.cancel();
    this.#heartbeat?.stop();
    this.outbox.close();
    this.output.close();
    this.#onClosed(this);
  }

  /** Without a word; for a server that goes down. */
  destroy(): void {
    this.#socket.destroy();
  }
}

const goOn = (connection: Connection): void => connection.goOn();
