/** Talks to the broker that has a data directory. */
import type { Socket } from 'node:net';
import { BrokerError, type BrokerErrorKind } from '../../core/errors.ts';
import type { AdminError, AdminReply, AdminRequest } from '../admin/admin-protocol.ts';
import { drained, readJsonLines, writeJsonLine } from '../admin/json-lines.ts';
import { connectToOwner } from '../lock.ts';
import { ConfigError } from '../setting.ts';

const toBrokerError = ({ kind, message }: AdminError): Error => new BrokerError(kind as BrokerErrorKind, message);

export class AdminClient {
  readonly #socket: Socket;
  readonly #lines: AsyncGenerator<unknown>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = readJsonLines(socket);
  }

  /** @throws ConfigError when no broker runs there */
  static async connect(dataDirectory: string): Promise<AdminClient> {
    const client = await AdminClient.connectIfRunning(dataDirectory);
    if (client !== undefined) return client;
    throw new ConfigError(
      `no broker runs on the data directory ${dataDirectory}; --data names another, 'rosettamq serve' starts one`,
    );
  }

  /** Undefined when no broker runs there. */
  static async connectIfRunning(dataDirectory: string): Promise<AdminClient | undefined> {
    const socket = await connectToOwner(dataDirectory);
    return socket && new AdminClient(socket);
  }

  /** @throws BrokerError of the broker's answer */
  async request<Result>(request: AdminRequest): Promise<Result> {
    await this.send(request);
    return this.result<Result>();
  }

  /** Resolves when there is room for more. */
  async send(document: unknown): Promise<void> {
    if (!writeJsonLine(this.#socket, document)) await drained(this.#socket);
  }

  async result<Result>(): Promise<Result> {
    const reply = (await this.next()) as Exclude<AdminReply, { error: AdminError }>;
    return reply.result as Result;
  }

  /** The next line that is no error. @throws BrokerError */
  async next(): Promise<object> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new BrokerError('closing', 'the broker closed the connection');
    if ('error' in (value as object)) throw toBrokerError((value as { error: AdminError }).error);
    return value as object;
  }

  close(): void {
    this.#socket.destroy();
  }
}
