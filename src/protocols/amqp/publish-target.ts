/**
 * Where the publishes of one channel go, remembered by the bytes that say so. Clients publish the same method frame and
 * mostly the same content header again and again; comparing the bytes with those of the message before is all that is
 * left of parsing then.
 */

import type { Principal } from '../../broker/access.ts';
import type { Broker } from '../../broker/broker.ts';
import type { ArgumentTable } from '../../broker/routing/headers-match.ts';
import type { Route } from '../../broker/routing/router.ts';
import type { Topic } from '../../broker/topic.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import type { Log } from '../../log/log.ts';
import { AmqpError } from './amqp-errors.ts';
import { asKey, keyHeader } from './amqp-form.ts';
import { amqpLimits } from './amqp-limits.ts';
import { type ContentFacts, emptyFacts, headerOffset, headerTable, scanContentHeader } from './content-header.ts';
import { basicClass, frameEnd, frameHeaderBytes, frameOverheadBytes, frameType } from './frames.ts';

/** The result of routing: valid for one routing version. */
export interface Destinations {
  readonly version: number;
  readonly logs: readonly Log[];
  /** Of the queue that owns the log at the same index. */
  readonly durable: readonly boolean[];
  readonly topics: readonly Topic[];
  readonly isEmpty: boolean;
}

/** One exchange, routing key and flags, as named by the bytes of a basic.publish. */
class PublishTarget {
  readonly exchange: string;
  readonly routingKey: string;
  readonly mandatory: boolean;
  readonly immediate: boolean;
  /** Undefined until first used. Not kept when the route depends on headers. */
  destinations: Destinations | undefined;
  usesHeaders = false;

  constructor(exchange: string, routingKey: string, bits: number) {
    this.exchange = exchange;
    this.routingKey = routingKey;
    this.mandatory = (bits & 1) !== 0;
    this.immediate = (bits & 2) !== 0;
  }
}

export interface PublishScope {
  readonly broker: Broker;
  readonly vhost: VirtualHost;
  readonly principal: Principal;
}

const methodMemoBytes = 64;
const headerMemoBytes = 64;

/** Position of the exchange's length octet in a publish frame. */
const exchangeAt = frameHeaderBytes + 6;

export class PublishMemo {
  readonly #scope: PublishScope;
  /** The last publish frame; 0 bytes: none. */
  #methodFrame = Buffer.alloc(0);
  #methodView: DataView = new DataView(new ArrayBuffer(0));
  methodBytes = 0;
  /** The last content header frame; its body size is not compared. 0 bytes: none, or too large to remember. */
  #headerFrame = Buffer.alloc(0);
  #headerView: DataView = new DataView(new ArrayBuffer(0));
  headerBytes = 0;
  #target = new PublishTarget('', '', 0);
  readonly #targets = new Map<string, PublishTarget>();
  readonly facts: ContentFacts = emptyFacts();
  /** For the message whose method and header were loaded last; undefined: to be found. */
  destinations: Destinations | undefined;

  constructor(scope: PublishScope) {
    this.#scope = scope;
  }

  get target(): PublishTarget {
    return this.#target;
  }

  /** The frame at `at` is the remembered publish frame, byte for byte. */
  sameMethod(view: DataView, at: number, end: number): boolean {
    const bytes = this.methodBytes;
    return bytes > 0 && at + bytes <= end && sameBytes(view, at, this.#methodView, 0, bytes);
  }

  /** The frame at `at` is the remembered content header, but for the body size. */
  sameHeader(view: DataView, at: number, end: number): boolean {
    const bytes = this.headerBytes;
    if (bytes === 0 || at + bytes > end) return false;
    const known = this.#headerView;
    return (
      view.getInt32(at) === known.getInt32(0) &&
      view.getInt32(at + 4) === known.getInt32(4) &&
      view.getInt32(at + 7) === known.getInt32(7) &&
      sameBytes(view, at + headerOffset.flags, known, headerOffset.flags, bytes - headerOffset.flags)
    );
  }

  /** Takes over a whole, well-framed publish frame. @throws AmqpError when it cannot be decoded */
  loadMethod(frame: Buffer, start: number, end: number): void {
    this.methodBytes = 0;
    this.destinations = undefined;
    const bytes = end - start;
    const key = frame.toString('latin1', start + exchangeAt, end - 1);
    const known = this.#targets.get(key);
    if (known !== undefined) {
      this.#target = known;
    } else {
      this.#target = decodeTarget(frame, start, end);
      if (this.#targets.size >= amqpLimits.publishTargetsMax) this.#targets.clear();
      if (bytes <= amqpLimits.publishTargetBytesMax) this.#targets.set(key, this.#target);
    }
    if (this.#methodFrame.length < bytes) {
      this.#methodFrame = Buffer.alloc(Math.max(bytes, methodMemoBytes));
      this.#methodView = viewOf(this.#methodFrame);
    }
    frame.copy(this.#methodFrame, 0, start, end);
    this.methodBytes = bytes;
  }

  /** Takes over a whole, well-framed content header frame. @throws AmqpError when it is malformed */
  loadHeader(frame: Buffer, start: number, end: number): void {
    this.headerBytes = 0;
    if (this.#isDynamic()) this.destinations = undefined;
    const bytes = end - start;
    if (this.#headerFrame.length < bytes || this.#headerFrame.length > amqpLimits.contentHeaderMemoBytes) {
      this.#headerFrame = Buffer.alloc(Math.max(bytes, headerMemoBytes));
      this.#headerView = viewOf(this.#headerFrame);
    }
    frame.copy(this.#headerFrame, 0, start, end);
    scanContentHeader(this.#headerFrame, 0, bytes, this.facts);
    this.#checkUser();
    if (this.#isDynamic() || this.facts.problem !== undefined) this.destinations = undefined;
    if (bytes <= amqpLimits.contentHeaderMemoBytes) this.headerBytes = bytes;
  }

  /** True: the memo needs a look before the next message with the same bytes, or the current one. */
  get isStale(): boolean {
    return this.destinations === undefined || this.destinations.version !== this.#scope.vhost.routingVersion;
  }

  /** Finds where the message goes. @throws AmqpError or BrokerError when it is refused */
  resolve(): Destinations {
    const target = this.#target;
    const { vhost } = this.#scope;
    if (target.destinations === undefined || target.destinations.version !== vhost.routingVersion) this.#route(target);
    if (this.facts.problem !== undefined) throw this.facts.problem;
    const own = target.destinations!;
    this.destinations = this.facts.extraKeys === undefined ? own : this.#withExtraKeys(own, this.facts.extraKeys);
    if (target.usesHeaders) target.destinations = undefined;
    return this.destinations;
  }

  /** The header table, decoded; for headers exchanges and record keys. */
  readonly headers = (): ArgumentTable | undefined => headerTable(this.#headerFrame, 0, this.facts);

  /** Kafka's record key as AMQP publishers give it. */
  recordKey(): Buffer | undefined {
    return asKey(this.headers()?.get(keyHeader)) ?? undefined;
  }

  #isDynamic(): boolean {
    return this.#target.usesHeaders || this.facts.extraKeys !== undefined;
  }

  #route(target: PublishTarget): void {
    const { broker, vhost, principal } = this.#scope;
    const { exchange } = target;
    const name = exchange === '' ? 'amq.default' : exchange;
    if (target.immediate) throw new AmqpError(540, 'immediate=true');
    if (!broker.access.authorize(principal, 'write', { vhost: vhost.name, kind: 'exchange', name })) {
      throw new AmqpError(
        403,
        `write access to exchange '${name}' in vhost '${vhost.name}' refused for user '${principal.user}'`,
      );
    }
    target.usesHeaders = false;
    const headers = (): ArgumentTable | undefined => {
      target.usesHeaders = true;
      return this.headers();
    };
    const route = vhost.route(exchange, target.routingKey, headers);
    if (vhost.exchange(exchange)?.properties.internal) {
      throw new AmqpError(403, `cannot publish to internal exchange '${exchange}' in vhost '${vhost.name}'`);
    }
    target.destinations = destinationsOf([route]);
  }

  #withExtraKeys(own: Destinations, keys: readonly string[]): Destinations {
    const { vhost } = this.#scope;
    const { exchange, routingKey } = this.#target;
    const routes = [routingKey, ...keys].map((key) => vhost.route(exchange, key, this.headers));
    return { ...destinationsOf(routes), version: own.version };
  }

  #checkUser(): void {
    const { userId } = this.facts;
    const { user } = this.#scope.principal;
    if (userId === undefined || userId === user) return;
    this.facts.problem ??= new AmqpError(
      406,
      `user_id property set to '${userId}' but authenticated user was '${user}'`,
    );
  }
}

const destinationsOf = (routes: readonly Route[]): Destinations => {
  const queues = [...new Set(routes.flatMap((route) => route.queues))].filter((queue) => queue.log !== undefined);
  const topics = [...new Set(routes.flatMap((route) => route.topics))];
  return {
    version: routes[0]!.version,
    logs: queues.map((queue) => queue.log!),
    durable: queues.map((queue) => queue.isKept),
    topics,
    isEmpty: queues.length === 0 && topics.length === 0,
  };
};

const viewOf = (buffer: Buffer): DataView => new DataView(buffer.buffer, buffer.byteOffset, buffer.length);

/** Four octets at a time; the last word may overlap the one before. */
const sameBytes = (left: DataView, leftAt: number, right: DataView, rightAt: number, bytes: number): boolean => {
  if (bytes < 4) {
    for (let i = 0; i < bytes; i++) if (left.getUint8(leftAt + i) !== right.getUint8(rightAt + i)) return false;
    return true;
  }
  const lastWord = bytes - 4;
  for (let i = 0; i < lastWord; i += 4) if (left.getInt32(leftAt + i) !== right.getInt32(rightAt + i)) return false;
  return left.getInt32(leftAt + lastWord) === right.getInt32(rightAt + lastWord);
};

/** Reads exchange, routing key and bits of a publish frame. */
const decodeTarget = (frame: Buffer, start: number, end: number): PublishTarget => {
  const last = end - 1;
  const exchange = start + exchangeAt;
  const key = exchange + 1 + frame[exchange]!;
  const bits = key + 1 + frame[key]!;
  if (exchange >= last || key >= last || bits !== last - 1) {
    throw new AmqpError(501, 'cannot decode basic.publish');
  }
  return new PublishTarget(
    frame.toString('utf8', exchange + 1, key),
    frame.toString('utf8', key + 1, bits),
    frame[bits]!,
  );
};

/** What follows a publish frame at `at` may be its content header frame: right type, channel and class, weight 0. */
export const isBasicHeader = (view: DataView, at: number, end: number, channel: number): boolean =>
  at + headerOffset.properties <= end &&
  view.getUint8(at) === frameType.header &&
  view.getUint16(at + 1) === channel &&
  view.getUint32(at + headerOffset.classId) === basicClass * 65536;

/** Position behind the frame at `at`, or -1 if it is not whole and well framed up to `end`. */
export const wholeFrameEnd = (view: DataView, at: number, end: number): number => {
  if (at + frameOverheadBytes > end) return -1;
  const next = at + view.getUint32(at + 3) + frameOverheadBytes;
  return next <= end && view.getUint8(next - 1) === frameEnd ? next : -1;
};
