/** Who a peer is: the SASL mechanisms of connection.start-ok, and connection.update-secret. */
import type { Principal } from '../../broker/access.ts';
import type { Broker } from '../../broker/broker.ts';
import { AmqpError } from './amqp-errors.ts';
import { TableDecoder } from './field-table.ts';
import type { Method } from './generated/methods.ts';

type StartOk = Extract<Method, { method: 'connection.start-ok' }>;

export const mechanisms = 'PLAIN AMQPLAIN';

/** A peer without an address comes through a socket of this machine. */
export const isLoopbackAddress = (address: string | undefined): boolean =>
  address === undefined || address === '::1' || /^(::ffff:)?127\./.test(address);

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

/** What a client is told whose credentials are wrong: no more than RabbitMQ tells. */
export const refusedLogin = (mechanism: string): AmqpError =>
  new AmqpError(
    403,
    `Login was refused using authentication mechanism ${mechanism}. For details see the broker logfile.`,
  );

/** Accepts the secret that follows one that runs out. The user stays who it is. @throws AmqpError if it is wrong */
export const requireSecret = (broker: Broker, user: string, secret: Buffer, isLoopback: boolean): void => {
  const principal = broker.access.authenticate(user, secret.toString('utf8'), { loopback: isLoopback });
  if (principal === undefined) throw new AmqpError(530, 'New secret was refused by one of the backends');
};
