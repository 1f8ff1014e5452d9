/** For tests: the AMQP head over a real in-process broker in memory, on a free port. */
import { type AddressInfo, createServer, type Server } from 'node:net';
import { type Broker, openBroker } from '../../broker/broker.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { amqpForm } from './amqp-form.ts';
import type { Logger } from './amqp-logger.ts';
import { AmqpServer } from './amqp-server.ts';
import { type AmqpSettings, defaultAmqpSettings } from './amqp-settings.ts';

export interface LogLine {
  readonly level: string;
  readonly fields: object;
  readonly message: string;
}

export class TestServer {
  readonly broker: Broker;
  readonly head: AmqpServer;
  readonly lines: LogLine[];
  readonly #listener: Server;

  constructor(broker: Broker, head: AmqpServer, lines: LogLine[], listener: Server) {
    this.broker = broker;
    this.head = head;
    this.lines = lines;
    this.#listener = listener;
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  get url(): string {
    return `amqp://guest:guest@127.0.0.1:${this.port}`;
  }

  /** Its disk has crashed: nothing that it still does will end. */
  abandon(): void {
    this.#listener.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.head.close('shutdown');
    await this.broker.close();
  }
}

export interface TestServerOptions {
  readonly settings?: Partial<AmqpSettings>;
  readonly disk?: MemoryDisk;
  readonly walBytesMax?: number;
}

export const startTestServer = async (options: TestServerOptions = {}): Promise<TestServer> => {
  const storage = new MemoryStorage(options.disk ?? new MemoryDisk());
  const walBytesMax = options.walBytesMax;
  const broker = await openBroker({
    storage,
    durability: 'sync',
    forms: [amqpForm],
    ...(walBytesMax !== undefined && { walBytesMax }),
  });
  const lines: LogLine[] = [];
  const log =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ level, fields, message });
    };
  const logger: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
  const settings = { ...defaultAmqpSettings, ...options.settings };
  const head = new AmqpServer({ broker: () => broker, settings, logger });
  const listener = createServer((socket) => head.accept(socket));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return new TestServer(broker, head, lines, listener);
};
