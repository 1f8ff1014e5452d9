/** From connection.start to connection.open: who the peer is and what was agreed. */
import { platform, release } from 'node:os';
import type { Principal } from '../../broker/access.ts';
import type { Broker } from '../../broker/broker.ts';
import type { HeaderValue } from '../../broker/message.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import type { AmqpSettings } from './amqp-settings.ts';
import { TableDecoder } from './field-table.ts';
import type { Method } from './generated/methods.ts';

export const mechanisms = 'PLAIN AMQPLAIN';

/** What the client says that it understands. */
export interface ClientCapabilities {
  readonly blocked: boolean;
  readonly cancelNotify: boolean;
  readonly authenticationFailureClose: boolean;
}

export const noCapabilities: ClientCapabilities = {
  blocked: false,
  cancelNotify: false,
  authenticationFailureClose: false,
};

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
export const startMethod = (settings: AmqpSettings): Method => ({
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

type StartOk = Extract<Method, { method: 'connection.start-ok' }>;
type TuneOk = Extract<Method, { method: 'connection.tune-ok' }>;

export const capabilitiesOf = (method: StartOk): ClientCapabilities => {
  const given = method.clientProperties.get('capabilities');
  const has = (name: string): boolean =>
    typeof given === 'object' && given !== null && (given as Record<string, HeaderValue>)[name] === true;
  return {
    blocked: has('connection.blocked'),
    cancelNotify: has('consumer_cancel_notify'),
    authenticationFailureClose: has('authentication_failure_close'),
  };
};

interface Credentials {
  readonly user: string;
  readonly password: string;
}

/** authorization id, user, password, with zero octets between them. */
const plainCredentials = (response: Buffer): Credentials => {
  const parts = response.toString('utf8').split('\0');
  if (parts.length !== 3) throw new AmqpError(502, 'response for PLAIN is not well formed');
  return { user: parts[1]!, password: parts[2]! };
};

/** A field table without its length. */
const amqplainCredentials = (response: Buffer): Credentials => {
  const table = new TableDecoder(response, 0, response.length).entries();
  const user = table.get('LOGIN');
  const password = table.get('PASSWORD');
  if (typeof user !== 'string' || typeof password !== 'string') {
    throw new AmqpError(502, "AMQPLAIN auth info lacks 'LOGIN' or 'PASSWORD' field");
  }
  return { user, password };
};

/** Undefined: refused. @throws AmqpError for an unknown mechanism or a malformed response */
export const authenticate = (broker: Broker, method: StartOk, isLoopback: boolean): Principal | undefined => {
  const { mechanism, response } = method;
  if (mechanism !== 'PLAIN' && mechanism !== 'AMQPLAIN') {
    throw new AmqpError(503, `unknown authentication mechanism '${mechanism}'`);
  }
  const { user, password } = mechanism === 'PLAIN' ? plainCredentials(response) : amqplainCredentials(response);
  return broker.access.authenticate(user, password, { loopback: isLoopback });
};

export const refusedLogin = (mechanism: string): AmqpError =>
  new AmqpError(
    403,
    `Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`,
  );

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

export const checkTuning = (method: TuneOk, settings: AmqpSettings): void => {
  requireWithin('frame_max', method.frameMax, amqpLimits.initialFrameBytesMax, settings.frame_max);
  requireWithin('channel_max', method.channelMax, 1, settings.channel_max);
};

export const requireVhost = (broker: Broker, name: string): VirtualHost => {
  const vhost = broker.vhost(name);
  if (vhost === undefined) throw new AmqpError(530, `vhost ${name} not found`);
  return vhost;
};
