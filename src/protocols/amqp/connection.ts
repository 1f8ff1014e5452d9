/**
 * One AMQP 0-9-1 connection: its way from the first octet to the last, channel 0, errors and the end. Everything that one
 * socket chunk holds is handled in one go: its publishes become one commit, its acks another, and what is written leaves
 * in one write.
 *
 * Its parts own the rest: `socket-input.ts` when it is read, `channel-table.ts` its channels, `handshake.ts` what is agreed
 * first and `closing-handshake.ts` how it ends, `publish-hold.ts` the publishes that wait for room, `outbox.ts` and
 * `socket-output.ts` what goes out.
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
import { ChannelTable } from './channel-table.ts';
import { ClosingHandshake } from './closing-handshake.ts';
import { payloadSnippet } from './frame-reader.ts';
import { frameHeaderBytes, frameType, protocolHeader } from './frames.ts';
import type { Method } from './generated/methods.ts';
import { type ClientCapabilities, Handshake, type Tuning, unexpectedMethod } from './handshake.ts';
import { Heartbeat } from './heartbeat.ts';
import { isLoopbackAddress, requireSecret } from './login.ts';
import { decodeMethodFrame, encodeMethodFrame, methodCodeAt } from './method-frames.ts';
import { Outbox } from './outbox.ts';
import { ProtocolHeaderReader } from './protocol-header.ts';
import { PublishHold } from './publish-hold.ts';
import { PublishSession } from './publish-session.ts';
import { type InputOwner, SocketInput } from './socket-input.ts';
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
type ConnectionState = 'header' | 'handshake' | 'running' | 'closing' | 'closed';

export class Connection implements InputOwner, OutputOwner {
  readonly broker: Broker;
  readonly settings: AmqpSettings;
  readonly input: SocketInput;
  readonly output: SocketOutput;
  readonly outbox: Outbox;
  readonly channels: ChannelTable;
  readonly hold: PublishHold;
  readonly #socket: Socket;
  readonly #logger: Logger;
  readonly #onClosed: (connection: Connection) => void;
  readonly #peer: string;
  readonly #isLoopback: boolean;
  readonly #header = new ProtocolHeaderReader();
  readonly #handshake: Handshake;
  readonly #closing: ClosingHandshake;
  #state: ConnectionState = 'header';
  /** Negotiated: the largest whole frame. */
  frameMax: number = amqpLimits.initialFrameBytesMax;
  #heartbeat: Heartbeat | undefined;
  /** Set when the connection begins to run. */
  #vhost: VirtualHost | undefined;
  #session: PublishSession | undefined;
  /** Class and method on channel 0, or of what opens a channel, for the error that it may cause. */
  currentMethod = 0;

  constructor({ socket, broker, settings, logger, pieces, onClosed }: ConnectionOptions) {
    this.#socket = socket;
    this.broker = broker;
    this.settings = settings;
    this.#logger = logger;
    this.#onClosed = onClosed;
    this.#peer = `${socket.remoteAddress ?? 'unix'}:${socket.remotePort ?? 0}`;
    this.#isLoopback = isLoopbackAddress(socket.remoteAddress);
    this.#handshake = new Handshake({ broker, settings, isLoopback: this.#isLoopback });
    this.input = new SocketInput(socket, this);
    this.output = new SocketOutput(socket, pieces, this);
    this.outbox = new Outbox(broker.gate, this.output, this.input);
    this.channels = new ChannelTable(this);
    this.hold = new PublishHold(this);
    this.#closing = new ClosingHandshake(this, socket);
    socket.setNoDelay(true);
    receive(socket, (chunk) => this.#onData(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#onClose());
    this.#closing.dropAfter(settings.handshake_timeout, () =>
      logger.warn({ peer: this.#peer, reason: 'handshake_timeout' }, 'closing AMQP connection'),
    );
  }

  get client(): ClientCapabilities {
    return this.#handshake.capabilities;
  }
  get principal(): Principal {
    return this.#handshake.principal;
  }
  get vhost(): VirtualHost {
    return this.#vhost!;
  }
  get session(): PublishSession {
    return this.#session!;
  }

  /** After all that was committed so far has become durable, settlements too: what the client settled before stays settled. */
  reply(channel: number, method: Method): void {
    this.broker.flushAcks();
    this.outbox.reply(encodeMethodFrame(channel, method));
  }

  // ---- turns

  #onData(chunk: Buffer): void {
    if (this.#heartbeat !== undefined) this.#heartbeat.received = true;
    if (this.#state === 'closed') return;
    const rest = this.#state === 'header' ? this.#takeHeader(chunk) : chunk;
    if (rest !== undefined && rest.length > 0) this.input.read(rest);
  }

  /** Commits what the chunk brought. Frames that are dropped while the connection closes leave nothing to wait for. */
  endTurn(chunk: Buffer | undefined): void {
    try {
      this.#session?.commit();
      this.channels.wakeSettled();
    } catch (error) {
      this.fail(error, 0);
    }
    this.channels.leaveChunk(chunk);
    if (this.#state === 'closing') return;
    if (chunk !== undefined && this.outbox.addUndurable(chunk.length)) this.input.addUndurable(chunk.length);
    if (this.output.pendingBytes > amqpLimits.outputStopBytes && !this.output.hasRoom) this.input.pause('output');
  }

  outputDrained(): void {
    this.input.unpause('output');
    this.channels.wakeConsumers();
  }

  /** The store has room again, or none any more. */
  roomChanged(hasRoom: boolean): void {
    this.hold.isBlocked = !hasRoom;
    if (hasRoom && this.#state === 'running') this.hold.release();
  }

  // ---- frames

  get frameBytesMax(): number {
    return this.frameMax + amqpLimits.frameFudgeBytes;
  }

  publishInPlace(chunk: Buffer, view: DataView, at: number, end: number): number {
    if (this.hold.isBlocked) return at;
    // There is none while the connection does not run.
    const channel = this.channels.get(view.getUint16(at + 1));
    if (channel === undefined || !channel.acceptsPublish) return at;
    return this.session.publishInPlace(channel, chunk, view, at, end);
  }

  frame(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    try {
      return this.#dispatch(type, number, buffer, at, payloadBytes);
    } catch (error) {
      this.fail(error, number);
      return true;
    }
  }

  #dispatch(type: number, number: number, buffer: Buffer, at: number, payloadBytes: number): boolean {
    this.currentMethod = 0;
    if (this.#state === 'closing') {
      if (number === 0 && type === frameType.method) this.#closing.take(methodCodeAt(buffer, at, payloadBytes));
      return true;
    }
    if (type === frameType.heartbeat && number === 0 && payloadBytes === 0) return true;
    const isKnown = type >= frameType.method && type <= frameType.body;
    if (isKnown && number !== 0 && this.#state === 'running') {
      return this.channels.frame(type, number, buffer, at, payloadBytes);
    }
    const start = at + frameHeaderBytes;
    const shown = `type ${type}, ${payloadSnippet(buffer.subarray(start, start + payloadBytes))}`;
    if (!isKnown && type !== frameType.heartbeat) throw new AmqpError(501, `${shown}: unknown_frame`);
    if (number !== 0 || type !== frameType.method) throw new AmqpError(505, shown);
    this.currentMethod = methodCodeAt(buffer, at, payloadBytes);
    const method = decodeMethodFrame(this.currentMethod, buffer, at, payloadBytes);
    if (this.#state === 'running') this.#connectionMethod(method);
    else this.#handshakeMethod(method);
    return true;
  }

  #connectionMethod(method: Method): void {
    if (method.method === 'connection.close') {
      this.#closedByClient();
    } else if (method.method === 'connection.update-secret') {
      requireSecret(this.broker, this.principal.user, method.newSecret, this.#isLoopback);
      this.reply(0, { method: 'connection.update-secret-ok' });
    } else {
      throw unexpectedMethod(this.#state);
    }
  }

  // ---- the beginning

  /** Returns what follows the protocol header, if that is whole and one of ours. */
  #takeHeader(chunk: Buffer): Buffer | undefined {
    const outcome = this.#header.take(chunk);
    switch (outcome.kind) {
      case 'incomplete':
        return undefined;
      case 'refused':
        this.#logger.warn({ peer: this.#peer, reason: outcome.reason }, 'refused AMQP connection');
        this.#state = 'closing';
        this.output.write(protocolHeader);
        this.#closing.end();
        return undefined;
      case 'accepted':
        this.#state = 'handshake';
        this.reply(0, this.#handshake.start());
        return outcome.rest;
    }
  }

  #handshakeMethod(method: Method): void {
    const outcome = this.#handshake.take(method);
    switch (outcome.kind) {
      case 'authenticated':
        this.reply(0, outcome.tune);
        return;
      case 'refused':
        this.#logger.warn({ peer: this.#peer, error: outcome.error.message }, 'refused AMQP login');
        this.#state = 'closing';
        this.#closing.refuseLogin(outcome.error, this.currentMethod);
        return;
      case 'tuned':
        this.#tune(outcome.tuning);
        return;
      case 'opened':
        this.#run(outcome.vhost);
        return;
    }
  }

  #tune({ channelMax, frameMax, heartbeatSeconds }: Tuning): void {
    this.frameMax = frameMax;
    this.channels.channelMax = channelMax;
    this.#heartbeat = new Heartbeat({
      clock: this.broker.clock,
      output: this.output,
      intervalSeconds: heartbeatSeconds,
      isReadingPaused: () => this.input.stopped,
      onDead: () => {
        this.#logger.warn({ peer: this.#peer, heartbeatSeconds }, 'missed heartbeats from AMQP client');
        this.#socket.destroy();
      },
    });
  }

  #run(vhost: VirtualHost): void {
    this.#vhost = vhost;
    this.#session = new PublishSession({
      broker: this.broker,
      vhost,
      outbox: this.outbox,
      maxMessageBytes: this.settings.max_message_size,
      frameBytesMax: this.frameMax,
    });
    this.hold.isBlocked = !this.broker.hasRoom;
    this.#state = 'running';
    this.#closing.cancelDrop();
    this.reply(0, { method: 'connection.open-ok', knownHosts: '' });
  }

  // ---- errors and the end

  /** Closes the channel of that number if that is enough for the error, else the connection, unless that closes already. */
  fail(error: unknown, number: number): void {
    if (!(error instanceof AmqpError || error instanceof BrokerError)) {
      this.#logger.error({ peer: this.#peer, err: error }, 'internal error on AMQP connection');
    }
    try {
      this.#session?.commit();
    } catch {
      this.#session?.abandon();
    }
    if (this.#state === 'closing') return;
    const channel = this.channels.get(number);
    const told = toAmqpError(error);
    const method = channel?.currentMethod ?? this.currentMethod;
    if (told.closesConnection || channel === undefined) {
      this.#logger.warn({ peer: this.#peer, channel: number, error: told.message }, 'closing AMQP connection');
      this.closeWith(told, method);
      return;
    }
    this.#logger.debug({ peer: this.#peer, channel: number, error: told.message }, 'closing AMQP channel');
    this.channels.closeWith(channel, told, method);
  }

  /** Tells the client why and waits for its close-ok. */
  closeWith(error: AmqpError, method = 0): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    if (this.#state === 'header') {
      this.#socket.destroy();
      return;
    }
    this.#closeChannels();
    this.#state = 'closing';
    this.#closing.close(error, method);
  }

  /** The server goes down, and whoever ends it knows how long clients may take. */
  shutDown(reason: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.closeWith(new AmqpError(320, reason));
    this.#closing.cancelDrop();
  }

  #closedByClient(): void {
    this.#session?.commit();
    this.#closeChannels();
    this.#state = 'closing';
    this.#closing.closeOk();
  }

  #closeChannels(): void {
    this.channels.closeAll();
    this.hold.clear();
    this.#vhost?.releaseOwner(this);
  }

  #onClose(): void {
    if (this.#state === 'closed') return;
    try {
      if (this.#state === 'running') this.#logger.debug({ peer: this.#peer }, 'AMQP client closed the TCP connection');
      this.#closeChannels();
    } catch (error) {
      this.#logger.error({ peer: this.#peer, err: error }, 'internal error on AMQP connection');
    }
    this.#state = 'closed';
    this.#closing.cancelDrop();
    this.#heartbeat?.stop();
    this.input.discard();
    this.outbox.close();
    this.output.close();
    this.#onClosed(this);
  }
}
