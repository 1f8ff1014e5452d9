/** For tests: a broker without protocols over a disk in memory, whose write-ahead log is so small that some hundred messages are folded. */
import assert from 'node:assert/strict';
import type { BrokerError } from '../core/errors.ts';
import type { Position } from '../core/ids.ts';
import { appendBatch } from '../log/append-batch.ts';
import { encodeBatch } from '../log/batch-encode.ts';
import type { Log } from '../log/log.ts';
import { type MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { type Broker, openBroker } from './broker.ts';
import type { BrokerOptions } from './broker-options.ts';
import { FakeClock } from './groups/fake-clock.ts';
import type { Delivery, Sink } from './queues/delivery.ts';
import type { Queue } from './queues/queue.ts';
import { plainForm } from './test-form.ts';

export const kib = 1024;
const walFileBytes = 64 * kib;
/** From four files on there is something to fold. */
export const foldingLimits = {
  walFileBytes,
  walBytesMax: 8 * walFileBytes,
  walReserveBytes: 2 * walFileBytes,
  walGroupBytes: 8 * kib,
  arenaChunkBytes: 16 * kib,
  arenaBytes: 64 * kib,
  readAheadBytes: 32 * kib,
};

export interface Stand {
  readonly disk: MemoryDisk;
  readonly clock: FakeClock;
  broker: Broker;
  /** Of folds and rewrites. */
  readonly failures: Error[];
  /** Resolves when the storage has failed. */
  readonly failed: Promise<Error>;
  /** The disk has crashed under it: nothing of it goes on. */
  readonly isDead: () => boolean;
}

/**
 * @param onLoss open over damage
 * @param others of openBroker
 */
export const open = async (
  disk: MemoryDisk,
  wrap = (storage: Storage): Storage => storage,
  onLoss?: (what: string) => void,
  others?: Partial<BrokerOptions>,
): Promise<Stand> => {
  const clock = new FakeClock();
  const failures: Error[] = [];
  const { generation } = disk;
  let fail = (_error: Error): void => {};
  const failed = new Promise<Error>((resolve) => {
    fail = resolve;
  });
  const opening = openBroker({
    storage: wrap(new MemoryStorage(disk)),
    durability: 'sync',
    walLimits: foldingLimits,
    storeLimits: { entriesPerTurn: 30, foldGatherBytes: 8 * kib },
    clock,
    forms: [plainForm],
    onLoss,
    onFoldFailed: (error) => failures.push(error),
    onRewriteFailed: (error) => failures.push(error),
    onFailed: (error) => fail(error),
    ...others,
  });
  const isDead = (): boolean => disk.generation !== generation;
  let isOpening = true;
  const opened = opening.finally(() => {
    isOpening = false;
  });
  // What fails while it opens may be tried again later.
  while (isOpening && !isDead()) {
    await Promise.race([new Promise((resolve) => setImmediate(resolve)), opened]);
    clock.advance(100);
  }
  return { disk, clock, broker: await opened, failures, failed, isDead };
};

export const declare = (broker: Broker, name: string): Queue =>
  broker
    .vhost('/')!
    .declareQueue(name, { durable: true, exclusive: false, autoDelete: false, arguments: new Map() }, undefined);

export const publish = ({ broker }: Stand, logs: readonly Log[], body: string, isTransient = false): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(plainForm.id, broker.clock.now());
  builder.beginMessage();
  builder.piece(Buffer.from(body), 0, Buffer.byteLength(body));
  const message = builder.endMessage();
  for (const log of logs) builder.deliver(log, message, isTransient);
  builder.commit();
};

export const produce = (log: Log, values: readonly string[]): void => {
  const batch = encodeBatch(
    values.map((value) => ({ key: null, value: Buffer.from(value), headers: [], timestampMs: 7 })),
  );
  const source = { lengthBytes: batch.length, copyTo: (target: Buffer, at: number) => void batch.copy(target, at) };
  const outcome = appendBatch(log, source, { nowMs: 7, stampsAppendTime: false, producersExpiredBeforeMs: 0 });
  assert.equal(outcome.kind, 'appended');
};

export const isFolded = (log: Log): boolean => log.firstEntryFrom(0 as Position) === log.entryCount;

export interface Received {
  readonly body: string;
  readonly offset: number;
  readonly timestampMs: number;
}

class Collector implements Sink {
  readonly autoAck: boolean;
  readonly exclusive = false;
  readonly priority = 0;
  readonly received: Received[] = [];
  readonly #count: number;
  #resolve = (): void => {};
  #reject = (_error: Error): void => {};
  /** Rejects when a message is damaged. */
  readonly done = new Promise<void>((resolve, reject) => {
    this.#resolve = resolve;
    this.#reject = reject;
  });

  constructor(count: number, autoAck = false) {
    this.#count = count;
    this.autoAck = autoAck;
  }

  hasCredit(): boolean {
    return this.received.length < this.#count;
  }

  deliver(delivery: Delivery): void {
    const { body, timestampMs } = delivery.message();
    this.received.push({ body: String(body), offset: delivery.offset, timestampMs: timestampMs! });
    if (this.received.length === this.#count) this.#resolve();
  }

  onCancelled(): void {}

  onDamaged(error: BrokerError): void {
    this.#reject(error);
  }
}

export const collect = async (queue: Queue, count: number, autoAck = false): Promise<Received[]> => {
  const collector = new Collector(count, autoAck);
  queue.subscription.attach(collector);
  await collector.done;
  queue.subscription.detach(collector);
  return collector.received;
};
