/**
 * One client connection: cuts the received bytes into requests, has each handled and keeps the responses in order.
 *
 * Requests are pipelined: the next ones are read and decided while earlier appends are on their way to the disk. Only Fetch
 * waits until it is the oldest (see response-queue.ts).
 */
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { MalformedError, Reader } from '../../wire/cursor.ts';
import { receive } from '../../wire/receive.ts';
import type { Writer } from '../../wire/writer.ts';
import { ApiKey, type ApiSupport, findApi, isSupported, responseHeaderVersion } from './api-keys.ts';
import { apiHandlers } from './dispatch.ts';
import { FetchWork } from './fetch-work.ts';
import { decodeFetchRequest, encodeFetchResponse } from './generated/fetch.ts';
import { handleUnsupportedApiVersions } from './handlers/api-versions.ts';
import { handleProduce } from './handlers/produce.ts';
import { kafkaLimits } from './kafka-limits.ts';
import type { ReceiveBudget, Receiver, ReceiveShare } from './receive-budget.ts';
import { type FrameCursor, ReceivedBytes } from './received-bytes.ts';
import type { Advertised, KafkaServices, RequestContext } from './request-context.ts';
import { lengthProblem, smallestRequestBytes } from './request-length.ts';
import { ResponseQueue, type ResponseQueueOwner, type ResponseSlot } from './response-queue.ts';
import { readRequestHeader } from './schema/request-header.ts';

/** What the connections of one server share. */
export interface ConnectionHost {
  readonly logger: Logger;
  /** Used within one turn; never across. */
  readonly writer: Writer;
  readonly cursor: FrameCursor;
  /** Received and unanswered bytes of all connections. */
  unansweredBytes: number;
  /** Received bytes of all connections that are not handled yet. */
  readonly receiveBudget: ReceiveBudget;
  closed(connection: KafkaConnection): void;
}

const lengthBytes = 4;

export class KafkaConnection implements ResponseQueueOwner, Receiver {
  readonly #socket: Socket;
  readonly #host: ConnectionHost;
  readonly #services: KafkaServices;
  readonly #advertised: Advertised;
  readonly #clientHost: string;
  readonly #received = new ReceivedBytes();
  readonly #queue: ResponseQueue;
  readonly #share: ReceiveShare;
  readonly #reader = new Reader(Buffer.alloc(0));
  #fetch: FetchWork | undefined;
  #unansweredBytes = 0;
  #processing = false;
  #paused = false;
  /** Its requests took their time in this turn. */
  #turnLeft = false;
  /** By the budget, until there is memory for the rest of a request. */
  #heldBack = false;
  /** Since the budget was told. */
  #handledSome = false;
  #closing = false;
  #closed = false;
  /** By the broker's clock. */
  lastRequestMs: number;

  constructor(socket: Socket, advertised: Advertised, services: KafkaServices, host: ConnectionHost) {
    this.#socket = socket;
    this.#host = host;
    this.#services = services;
    this.#advertised = advertised;
    this.#clientHost = `/${(socket.remoteAddress ?? 'unknown').replace(/^::ffff:/, '')}`;
    this.#queue = new ResponseQueue(socket, services.broker.gate, this);
    this.#share = host.receiveBudget.join(this);
    this.lastRequestMs = services.broker.clock.now();
    socket.setNoDelay(true);
    receive(socket, (chunk) => this.#onData(chunk));
    socket.on('drain', () => this.#queue.drained());
    socket.on('error', (error) => host.logger.debug({ peer: this.#clientHost, err: error }, 'Kafka connection failed'));
    socket.on('close', () => this.#onClose());
  }

  /** Nothing is under way. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Takes no more requests; a Fetch that waits is answered with what there is. */
  beginClose(): void {
    this.#closing = true;
    this.#socket.pause();
    this.#fetch?.finishNow();
  }

  /** What is answered goes out, then the connection is closed. */
  endClose(): void {
    this.#queue.flush();
    this.#socket.destroySoon();
  }

  answered(requestBytes: number): void {
    this.#unansweredBytes -= requestBytes;
    this.#host.unansweredBytes -= requestBytes;
    if (this.#paused && !this.#closing && !this.#mustPause()) {
      this.#paused = false;
      this.#process();
      this.#noteReceived();
      this.#resume();
    }
  }

  get isReading(): boolean {
    return !this.#paused && !this.#heldBack && !this.#closed && !this.#closing;
  }

  holdBack(): void {
    this.#heldBack = true;
    this.#socket.pause();
  }

  goOn(): void {
    this.#heldBack = false;
    this.#resume();
  }

  closeStalled(): void {
    this.#refuse(new MalformedError('the rest of a large request came too slowly while others waited for memory'));
  }

  #resume(): void {
    if (this.isReading) this.#socket.resume();
  }

  /** Tells the budget what is left. */
  #noteReceived(): void {
    if (this.#closed) return;
    const received = this.#received;
    const requestBytes = received.availableBytes < lengthBytes ? 0 : lengthBytes + received.peekInt32();
    this.#share.note(received.heldBytes, requestBytes, this.#handledSome);
    this.#handledSome = false;
  }

  #onData(chunk: Buffer): void {
    if (this.#closed || this.#closing) return;
    this.#received.push(chunk);
    this.lastRequestMs = this.#services.broker.clock.now();
    if (!this.#paused) this.#process();
    this.#received.leaveChunk();
    this.#noteReceived();
  }

  #onClose(): void {
    this.#closed = true;
    this.#share.leave();
    this.#fetch?.cancel();
    this.#queue.close();
    this.#host.unansweredBytes -= this.#unansweredBytes;
    this.#unansweredBytes = 0;
    this.#host.closed(this);
  }

  #mustPause(): boolean {
    return (
      this.#turnLeft ||
      this.#queue.congested ||
      this.#queue.length >= kafkaLimits.pendingRequestsMax ||
      this.#unansweredBytes > kafkaLimits.connectionUnansweredBytesMax ||
      (this.#unansweredBytes > 0 && this.#host.unansweredBytes > kafkaLimits.unansweredBytesMax)
    );
  }

  /** The others have their turn first. */
  #leaveTurn(): void {
    this.#turnLeft = true;
    setImmediate(() => {
      this.#turnLeft = false;
      this.answered(0);
    });
  }

  /** Handles the requests that have arrived whole. */
  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    this.#queue.hold();
    const { clock } = this.#services.broker;
    const endMs = clock.now() + kafkaLimits.turnMs;
    try {
      while (!this.#closed && this.#handleNext()) {
        if (clock.now() >= endMs) this.#leaveTurn();
        if (this.#mustPause()) {
          this.#paused = true;
          this.#socket.pause();
          break;
        }
      }
    } catch (error) {
      this.#refuse(error);
    }
    this.#processing = false;
    this.#queue.release();
  }

  /** False: no whole request is there. */
  #handleNext(): boolean {
    const received = this.#received;
    if (received.availableBytes < lengthBytes) return false;
    const requestBytes = received.peekInt32();
    const problem = lengthProblem(requestBytes, this.#services.settings['socket.request.max.bytes']);
    if (problem !== undefined) throw new MalformedError(problem);
    if (received.availableBytes < lengthBytes + requestBytes) return false;
    received.consume(lengthBytes);
    this.#unansweredBytes += requestBytes;
    this.#host.unansweredBytes += requestBytes;
    const start = received.contiguous(smallestRequestBytes);
    const key = start.readInt16BE(0);
    const version = start.readInt16BE(2);
    const support = findApi(key);
    if (support === undefined) throw new MalformedError(`unknown api key ${key}`);
    if (!isSupported(support, version)) this.#handleUnsupported(support, version, start.readInt32BE(4), requestBytes);
    else if (key === ApiKey.Produce) this.#handleProduce(support, version, requestBytes);
    else this.#handleOther(support, version, requestBytes);
    received.consume(requestBytes);
    this.#handledSome = true;
    return true;
  }

  #handleProduce(support: ApiSupport, version: number, requestBytes: number): void {
    const { cursor, writer } = this.#host;
    this.#received.read(cursor, requestBytes);
    cursor.skip(4);
    const correlationId = cursor.int32();
    const clientIdBytes = cursor.int16();
    if (clientIdBytes > 0) cursor.skip(clientIdBytes);
    const isFlexible = responseHeaderVersion(support, version) === 1;
    if (isFlexible) cursor.skipTaggedFields();
    try {
      const mark = writer.reserveInt32();
      writer.int32(correlationId);
      if (isFlexible) writer.uvarint(0);
      const outcome = handleProduce(cursor, writer, version, this.#services);
      if (outcome !== 'silent' && outcome !== 'silent-error') {
        writer.patchInt32(mark, writer.position - lengthBytes);
        const slot = this.#queue.push(requestBytes);
        this.#queue.fill(slot, writer.finish(), this.#services.broker.gate.current);
        return;
      }
      writer.discard();
      this.answered(requestBytes);
      // A producer that waits for no answer learns of an error by the loss of its connection.
      if (outcome === 'silent-error') this.#socket.destroy();
    } catch (error) {
      writer.discard();
      throw error;
    } finally {
      cursor.release();
    }
  }

  /** Nothing of it is read but what all versions have. */
  #handleUnsupported(support: ApiSupport, version: number, correlationId: number, requestBytes: number): void {
    if (support.key !== ApiKey.ApiVersions) {
      throw new MalformedError(`${support.name} version ${version} is not supported`);
    }
    const slot = this.#queue.push(requestBytes);
    this.#respond(slot, 0, correlationId, (writer) => handleUnsupportedApiVersions(writer));
  }

  #handleOther(support: ApiSupport, version: number, requestBytes: number): void {
    // Copied: a handler may keep bytes of it, and answer later.
    const reader = this.#reader.reset(this.#received.copy(requestBytes));
    const { correlationId, clientId } = readRequestHeader(reader);
    const services = this.#services;
    const headerVersion = responseHeaderVersion(support, version);
    if (support.key === ApiKey.Fetch) {
      this.#handleFetch(reader, version, headerVersion, correlationId, requestBytes);
      return;
    }
    const context: RequestContext = {
      ...services,
      version,
      clientId: clientId ?? '',
      clientHost: this.#clientHost,
      advertised: this.#advertised,
      isGone: () => this.#closed,
      fail: (error) => this.#refuse(error),
    };
    const slot = this.#queue.push(requestBytes);
    apiHandlers[support.name](reader, context, (encode) => this.#respond(slot, headerVersion, correlationId, encode));
  }

  #handleFetch(reader: Reader, version: number, headerVersion: 0 | 1, correlationId: number, bytes: number): void {
    const request = decodeFetchRequest(reader, version);
    const slot = this.#queue.push(bytes, () => {
      const work = new FetchWork(request, version, this.#services, (response, pins) => {
        if (this.#fetch === work) this.#fetch = undefined;
        const pieces = this.#encode(headerVersion, correlationId, (writer) =>
          encodeFetchResponse(writer, version, response),
        );
        this.#queue.fill(slot, pieces, work.ticket, pins);
      });
      this.#fetch = work;
      work.start();
    });
  }

  /** Whatever the answer says, it may be based on anything committed so far. */
  #respond(slot: ResponseSlot, headerVersion: 0 | 1, correlationId: number, encode: (writer: Writer) => void): void {
    if (this.#closed) return;
    const pieces = this.#encode(headerVersion, correlationId, encode);
    this.#queue.fill(slot, pieces, this.#services.broker.gate.current);
  }

  #encode(headerVersion: 0 | 1, correlationId: number, encode: (writer: Writer) => void): Buffer[] {
    const { writer } = this.#host;
    try {
      const mark = writer.reserveInt32();
      writer.int32(correlationId);
      if (headerVersion === 1) writer.uvarint(0);
      encode(writer);
      writer.patchInt32(mark, writer.position - lengthBytes);
    } catch (error) {
      writer.discard();
      throw error;
    }
    return writer.finish();
  }

  /** The bytes make no sense, or a handler failed on them: only this connection ends. */
  #refuse(error: unknown): void {
    if (this.#closed) return;
    const peer = `${this.#clientHost.slice(1)}:${this.#socket.remotePort ?? 0}`;
    if (error instanceof MalformedError) {
      this.#host.logger.warn({ peer, reason: error.message }, 'Kafka connection closed: invalid request');
    } else {
      this.#host.logger.error({ peer, err: error }, 'Kafka connection closed: a request failed');
    }
    this.#closed = true;
    this.#socket.destroy();
  }
}
