/** Addresses to listen on, and one bound TCP port. */
import { createServer, type Server, type Socket } from 'node:net';
import { ConfigError } from './setting.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** @throws ConfigError */
export const parseHostPort = (text: string, what: string): HostPort => {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (parts === null || port > 65_535) {
    throw new ConfigError(`${what}: expected HOST:PORT (an IPv6 address in brackets), not '${text}'`);
  }
  return { host: parts[1] ?? parts[2]!, port };
};

export const formatHostPort = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/.test(host);

/** An address that clients on this machine can connect to, also when all addresses are listened on. */
export const reachable = ({ host, port }: HostPort): HostPort => {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return host === '::' ? { host: '::1', port } : { host, port };
};

export class Listener {
  /** As asked for, with the real port. */
  readonly address: HostPort;
  readonly #server: Server;

  private constructor(address: HostPort, server: Server) {
    this.address = address;
    this.#server = server;
  }

  /** @throws the error of the system, named after the address */
  static async bind(wanted: HostPort, onConnection: (socket: Socket) => void): Promise<Listener> {
    const server = createServer({ noDelay: true, keepAlive: true }, onConnection);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(bindError(wanted, error)));
      server.listen({ host: wanted.host, port: wanted.port }, resolve);
    });
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('a TCP listener has a port');
    return new Listener({ host: wanted.host, port: bound.port }, server);
  }

  /** No more connections; those that are open stay. */
  close(): void {
    this.#server.close();
  }
}

const bindError = (wanted: HostPort, error: NodeJS.ErrnoException): ConfigError => {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another process listens there',
    EADDRNOTAVAIL: 'this machine has no such address',
    EACCES: 'not permitted',
    ENOTFOUND: 'no such host',
  };
  const reason = reasons[error.code ?? ''] ?? error.message;
  return new ConfigError(`cannot listen on ${formatHostPort(wanted)}: ${reason}`);
};
