/** For tests: a Kafka head over a broker in memory on a free port, and a client that speaks through the generated codecs. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { pino } from 'pino';
import { type Broker, openBroker } from '../../broker/broker.ts';
import type { BrokerOptions } from '../../broker/broker-options.ts';
import { batchHeaderBytes, sealBatch } from '../../log/batch-header.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { Reader } from '../../wire/cursor.ts';
import { varintSize, writeVarint } from '../../wire/varint.ts';
import { Writer } from '../../wire/writer.ts';
import { type ApiName, findApi, requestHeaderVersion, responseHeaderVersion } from './api-keys.ts';
import { codecs } from './generated/codecs.ts';
import { decodeResponseHeader, encodeRequestHeader } from './generated/headers.ts';
import { KafkaServer } from './kafka-server.ts';
import { defaultKafkaSettings, type KafkaSettings } from './kafka-settings.ts';

type RequestOf<Name extends ApiName> = Parameters<(typeof codecs)[Name]['encodeRequest']>[2];
type ResponseOf<Name extends ApiName> = ReturnType<(typeof codecs)[Name]['decodeResponse']>;

export interface InProcessKafkaOptions {
  readonly disk?: MemoryDisk;
  readonly settings?: Partial<KafkaSettings>;
  readonly broker?: Partial<BrokerOptions>;
}

interface LogLines {
  readonly errors: string[];
  readonly warnings: string[];
}

export class InProcessKafka implements AsyncDisposable {
  readonly broker: Broker;
  readonly server: KafkaServer;
  readonly disk: MemoryDisk;
  /** Log lines of level error: a handler failed on what it was sent. */
  readonly errors: readonly string[];
  /** Log lines of level warn: a connection was closed for what it sent. */
  readonly warnings: readonly string[];
  readonly #listener: Server;
  readonly #clients: RawClient[] = [];

  private constructor(
    broker: Broker,
    { server, listener, disk, lines }: { server: KafkaServer; listener: Server; disk: MemoryDisk; lines: LogLines },
  ) {
    this.errors = lines.errors;
    this.warnings = lines.warnings;
    this.broker = broker;
    this.server = server;
    this.disk = disk;
    this.#listener = listener;
  }

  static async start(options: InProcessKafkaOptions = {}): Promise<InProcessKafka> {
    const disk = options.disk ?? new MemoryDisk();
    const broker = await openBroker({ storage: new MemoryStorage(disk), durability: 'sync', ...options.broker });
    const settings = { ...defaultKafkaSettings, 'group.initial.rebalance.delay.ms': 0, ...options.settings };
    const lines: LogLines = { errors: [], warnings: [] };
    const write = (line: string): void => {
      (line.startsWith('{"level":40,') ? lines.warnings : lines.errors).push(line);
    };
    const logger = pino({ level: 'warn' }, { write });
    const server = new KafkaServer({ broker: () => broker, settings, logger });
    const listener = createServer((socket) => server.accept(socket));
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return new InProcessKafka(broker, { server, listener, disk, lines });
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  async client(): Promise<RawClient> {
    const socket = connect(this.port, '127.0.0.1');
    await once(socket, 'connect');
    const client = new RawClient(socket);
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    this.#listener.close();
    await this.server.close();
    await this.broker.close();
  }
}

interface Waiting {
  readonly correlationId: number;
  readonly resolve: (frame: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class RawClient {
  readonly socket: Socket;
  readonly #waiting: Waiting[] = [];
  #received: Buffer = Buffer.alloc(0);
  #correlationId = 0;
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      for (const { reject } of this.#waiting.splice(0)) reject(new Error('the connection was closed'));
    });
  }

  /** Sends a request and resolves with its response; requests may be pipelined. */
  async call<Name extends ApiName>(name: Name, version: number, body: RequestOf<Name>): Promise<ResponseOf<Name>> {
    const correlationId = ++this.#correlationId;
    this.socket.write(encodeRequest(name, version, correlationId, body));
    const frame = await this.#response(correlationId);
    const reader = new Reader(frame);
    decodeResponseHeader(reader, responseHeaderVersion(findApi(codecs[name].key)!, version));
    return codecs[name].decodeResponse(reader, version) as ResponseOf<Name>;
  }

  /** A response to bytes that were written by hand. */
  response(correlationId: number): Promise<Buffer> {
    return this.#response(correlationId);
  }

  async untilClosed(): Promise<void> {
    if (!this.closed) await once(this.socket, 'close');
  }

  close(): void {
    this.socket.destroy();
  }

  #response(correlationId: number): Promise<Buffer> {
    return new Promise((resolve, reject) => this.#waiting.push({ correlationId, resolve, reject }));
  }

  #onData(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 4) {
      const end = 4 + this.#received.readInt32BE(0);
      if (this.#received.length < end) return;
      const frame = this.#received.subarray(4, end);
      this.#received = this.#received.subarray(end);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) throw new Error('a response without a request');
      if (frame.readInt32BE(0) === waiting.correlationId) waiting.resolve(frame);
      else waiting.reject(new Error('responses are out of order'));
    }
  }
}

/** A whole request, with its length. */
export const encodeRequest = <Name extends ApiName>(
  name: Name,
  version: number,
  correlationId: number,
  body: RequestOf<Name>,
): Buffer => {
  const writer = new Writer();
  const mark = writer.reserveInt32();
  const codec = codecs[name];
  const headerVersion = requestHeaderVersion(findApi(codec.key)!, version);
  encodeRequestHeader(writer, headerVersion, {
    requestApiKey: codec.key,
    requestApiVersion: version,
    correlationId,
    clientId: 'raw',
  });
  (codec.encodeRequest as (writer: Writer, version: number, body: RequestOf<Name>) => void)(writer, version, body);
  writer.patchInt32(mark, writer.position - 4);
  return Buffer.concat(writer.finish());
};

export interface BatchOptions {
  readonly values: readonly (string | null)[];
  readonly timestamps?: readonly number[];
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly baseSequence?: number;
  readonly attributes?: number;
}

/** A record batch as a producer makes it, uncompressed, without keys. */
export const makeBatch = (options: BatchOptions): Buffer => {
  const { values, timestamps = values.map(() => Date.now()) } = options;
  const records = values.map((value, index) => {
    const body = Buffer.alloc(64 + (value?.length ?? 0) * 4);
    let at = 1;
    at = writeVarint(body, at, timestamps[index]! - timestamps[0]!);
    at = writeVarint(body, at, index);
    at = writeVarint(body, at, -1);
    at = writeVarint(body, at, value === null ? -1 : Buffer.byteLength(value));
    if (value !== null) at += body.write(value, at);
    at = writeVarint(body, at, 0);
    const record = Buffer.alloc(varintSize(at) + at);
    body.copy(record, writeVarint(record, 0, at), 0, at);
    return record;
  });
  const batch = Buffer.concat([Buffer.alloc(batchHeaderBytes), ...records]);
  batch.writeInt32BE(batch.length - 12, 8);
  batch[16] = 2;
  batch.writeInt16BE(options.attributes ?? 0, 21);
  batch.writeInt32BE(values.length - 1, 23);
  batch.writeBigInt64BE(BigInt(timestamps[0]!), 27);
  batch.writeBigInt64BE(BigInt(Math.max(...timestamps)), 35);
  batch.writeBigInt64BE(BigInt(options.producerId ?? -1), 43);
  batch.writeInt16BE(options.producerEpoch ?? -1, 51);
  batch.writeInt32BE(options.baseSequence ?? -1, 53);
  batch.writeInt32BE(values.length, 57);
  sealBatch(batch, 0);
  return batch;
};

/** The values of the records in what a Fetch returned: whole batches, one after the other. */
export const batchesIn = (records: Buffer | null): Buffer[] => {
  const batches: Buffer[] = [];
  for (let rest = records ?? Buffer.alloc(0); rest.length > 0; ) {
    const end = 12 + rest.readInt32BE(8);
    batches.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  return batches;
};
