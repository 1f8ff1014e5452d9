/**
 * From connection.start to connection.open: who the peer is and what was agreed.
 *
 *   starting -(start-ok)-> tuning -(tune-ok)-> opening -(open)-> the connection is open
 *
 * The handshake decides; what is sent and what begins to run then is the connection's.
 */
import { platform, release } from 'node:os';
import type { Principal } from '../../broker/access.ts';
import type { Broker } from '../../broker/broker.ts';
import type { HeaderValue } from '../../broker/message.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import type { AmqpSettings } from './amqp-settings.ts';
import type { Method } from './generated/methods.ts';
import { authenticate, mechanisms, refusedLogin } from './login.ts';

/** What the client says that it understands. */
export interface ClientCapabilities {
  readonly blocked: boolean;
  readonly cancelNotify: boolean;
  readonly authenticationFailureClose: boolean;
}

/** Agreed with tune-ok. */
export interface Tuning {
  readonly channelMax: number;
  /** The largest whole frame. */
  readonly frameMax: number;
  readonly heartbeatSeconds: number;
}

type StartOk = Extract<Method, { method: 'connection.start-ok' }>;
type TuneOk = Extract<Method, { method: 'connection.tune-ok' }>;

export type HandshakeOutcome =
  | { readonly kind: 'authenticated'; readonly tune: Method }
  | { readonly kind: 'refused'; readonly error: AmqpError }
  | { readonly kind: 'tuned'; readonly tuning: Tuning }
  | { readonly kind: 'opened'; readonly vhost: VirtualHost };

export interface HandshakeOptions {
  readonly broker: Broker;
  readonly settings: AmqpSettings;
  readonly isLoopback: boolean;
}

export class Handshake {
  readonly #broker: Broker;
  readonly #settings: AmqpSettings;
  readonly #isLoopback: boolean;
  /** Which method is awaited: start-ok, tune-ok or open. */
  #step: 'starting' | 'tuning' | 'opening' = 'starting';
  /** From start-ok on. */
  capabilities: ClientCapabilities = { blocked: false, cancelNotify: false, authenticationFailureClose: false };
  #principal: Principal | undefined;

  constructor({ broker, settings, isLoopback }: HandshakeOptions) {
    this.#broker = broker;
    this.#settings = settings;
    this.#isLoopback = isLoopback;
  }

  /** Only once the peer is authenticated. */
  get principal(): Principal {
    return this.#principal!;
  }

  /** The method that begins it. */
  start(): Method {
    return startMethod(this.#settings);
  }

  /** The client's next method. @throws AmqpError if it is out of turn or asks for what is not offered */
  take(method: Method): HandshakeOutcome {
    const step = this.#step;
    if (method.method === 'connection.start-ok' && step === 'starting') return this.#startOk(method);
    if (method.method === 'connection.tune-ok' && step === 'tuning') return this.#tuneOk(method);
    if (method.method === 'connection.open' && step === 'opening') {
      return { kind: 'opened', vhost: requireVhost(this.#broker, method.virtualHost) };
    }
    throw unexpectedMethod(step);
  }

  #startOk(method: StartOk): HandshakeOutcome {
    this.capabilities = capabilitiesOf(method);
    const principal = authenticate(this.#broker, method, this.#isLoopback);
    if (principal === undefined) return { kind: 'refused', error: refusedLogin(method.mechanism) };
    this.#principal = principal;
    this.#step = 'tuning';
    const { channel_max, frame_max, heartbeat } = this.#settings;
    const tune: Method = { method: 'connection.tune', channelMax: channel_max, frameMax: frame_max, heartbeat };
    return { kind: 'authenticated', tune };
  }

  #tuneOk(method: TuneOk): HandshakeOutcome {
    checkTuning(method, this.#settings);
    this.#step = 'opening';
    const { channelMax, frameMax, heartbeat } = method;
    return { kind: 'tuned', tuning: { channelMax, frameMax, heartbeatSeconds: heartbeat } };
  }
}

/** For a method on channel 0 that the connection does not expect in its state. */
export const unexpectedMethod = (state: string): AmqpError =>
  new AmqpError(504, `unexpected method in connection state ${state}`);

const serverCapabilities = {
  publisher_confirms: true,
  exchange_exchange_bindings: true,
  'basic.nack': true,
  consumer_cancel_notify: true,
  'connection.blocked': true,
  consumer_priorities: true,
  authentication_failure_close: true,
  per_consumer_qos: true,
  direct_reply_to: false,
};

/** Product and version decide which paths clients take; our own name stands in platform and information. */
const startMethod = (settings: AmqpSettings): Method => ({
  method: 'connection.start',
  versionMajor: 0,
  versionMinor: 9,
  serverProperties: new Map<string, HeaderValue>([
    ['capabilities', serverCapabilities],
    ['cluster_name', settings.cluster_name],
    ['copyright', 'Copyright (c) the RosettaMQ authors'],
    ['information', 'RosettaMQ, a message broker for the clients of several protocols. Licensed under Apache-2.0'],
    ['platform', `RosettaMQ on Node.js ${process.versions.node} (${platform()} ${release()})`],
    ['product', settings.product],
    ['version', settings.version],
  ]),
  mechanisms,
  locales: 'en_US',
});

const capabilitiesOf = (method: StartOk): ClientCapabilities => {
  const given = method.clientProperties.get('capabilities');
  const has = (name: string): boolean =>
    typeof given === 'object' && given !== null && (given as Record<string, HeaderValue>)[name] === true;
  return {
    blocked: has('connection.blocked'),
    cancelNotify: has('consumer_cancel_notify'),
    authenticationFailureClose: has('authentication_failure_close'),
  };
};

/** 0 asks for no limit, which is more than any limit of ours. */
const requireWithin = (field: string, value: number, least: number, most: number): void => {
  if (value !== 0 && value < least) {
    throw new AmqpError(530, `negotiated ${field} = ${value} is lower than the minimum allowed value (${least})`);
  }
  if (value === 0 || value > most) {
    const detail = field === 'channel_max' && value === 0 ? ' (no limit)' : '';
    throw new AmqpError(
      530,
      `negotiated ${field} = ${value}${detail} is higher than the maximum allowed value (${most})`,
    );
  }
};

const checkTuning = (method: TuneOk, settings: AmqpSettings): void => {
  requireWithin('frame_max', method.frameMax, amqpLimits.initialFrameBytesMax, settings.frame_max);
  requireWithin('channel_max', method.channelMax, 1, settings.channel_max);
};

const requireVhost = (broker: Broker, name: string): VirtualHost => {
  const vhost = broker.vhost(name);
  if (vhost === undefined) throw new AmqpError(530, `vhost ${name} not found`);
  return vhost;
};
