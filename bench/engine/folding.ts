/**
 * Folding under full load, without any socket: publishes messages that nobody consumes, far more than the write-ahead log holds,
 * then drains them. Prints the rate before the first fold and after it, how long the event loop was held up, memory, and bytes
 * written to disk per byte accepted (Linux).
 *
 *   node --import tsx bench/engine/folding.ts [million messages] [queues] [message bytes]
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Broker, openBroker } from '../../src/broker/broker.ts';
import type { Delivery, Sink } from '../../src/broker/queues/delivery.ts';
import type { Queue } from '../../src/broker/queues/queue.ts';
import { DiskStorage } from '../../src/storage/disk-storage.ts';

const messages = Number(process.argv[2] ?? 10) * 1_000_000;
const queueCount = Number(process.argv[3] ?? 1);
const messageBytes = Number(process.argv[4] ?? 100);
/** Messages of one commit, for one queue. */
const batchMessages = 250;
/** Commits under way before the publisher waits. */
const windowBatches = 16;
const form = 200;

const source = Buffer.alloc(batchMessages * messageBytes, 'x');
const directory = mkdtempSync(join(tmpdir(), 'rosettamq-folding-'));
const broker = await openBroker({
  storage: await DiskStorage.at(directory),
  durability: 'sync',
  onFoldFailed: (error) => console.error(error),
});
const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
const queues = Array.from({ length: queueCount }, (_, i) =>
  broker.vhost('/')!.declareQueue(`q-${i}`, properties, undefined),
);

const writtenBytes = (): number =>
  Number(/^write_bytes: (\d+)/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? Number.NaN);

const untilDurable = (): Promise<void> => broker.gate.durableNow();

const untilRoom = async (): Promise<void> => {
  while (!broker.hasRoom) await new Promise((resolve) => setImmediate(resolve));
};

const publishBatch = (target: Broker, queue: Queue): void => {
  const builder = target.blockBuilder(target.vhost('/')!);
  builder.begin(form, target.clock.now());
  for (let i = 0; i < batchMessages; i++) {
    builder.beginMessage();
    builder.piece(source, i * messageBytes, (i + 1) * messageBytes);
    builder.deliver(queue.log!, builder.endMessage(), false);
  }
  builder.commit();
};

class Drain implements Sink {
  readonly autoAck = true;
  readonly exclusive = false;
  readonly priority = 0;
  #left: number;
  #resolve = (): void => {};
  readonly done = new Promise<void>((resolve) => {
    this.#resolve = resolve;
  });

  constructor(count: number) {
    this.#left = count;
  }

  hasCredit(): boolean {
    return this.#left > 0;
  }

  deliver(_delivery: Delivery): void {
    this.#left--;
    if (this.#left === 0) this.#resolve();
  }

  onCancelled(): void {}

  onDamaged(error: Error): void {
    throw error;
  }
}

const delay = monitorEventLoopDelay({ resolution: 1 });
const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6).toLocaleString('en')} MB`;

/** One line for what happened since `start`. */
const report = (name: string, count: number, startMs: number): void => {
  const rate = Math.round((count / (performance.now() - startMs)) * 1000).toLocaleString('en');
  const held = `${(delay.percentile(99) / 1e6).toFixed(1)} / ${(delay.max / 1e6).toFixed(1)} ms`;
  console.log(
    `${name.padEnd(34)} ${rate.padStart(10)}/s   loop held p99 / max ${held}   RSS ${megabytes(process.memoryUsage().rss)}`,
  );
  delay.reset();
};

const { log } = broker.shards[0]!;
const isFolding = (): boolean => log.liveSegments.length > 0;
const writtenBefore = writtenBytes();
delay.enable();

let sent = 0;
const publishUntil = async (isDone: () => boolean): Promise<number> => {
  const before = sent;
  for (let batch = 0; sent < messages && !isDone(); batch++) {
    await untilRoom();
    publishBatch(broker, queues[batch % queueCount]!);
    sent += batchMessages;
    if (batch % windowBatches === windowBatches - 1) await untilDurable();
  }
  await untilDurable();
  return sent - before;
};

console.log(`${messages.toLocaleString('en')} messages of ${messageBytes} B, ${queueCount} queues, durability sync`);
for (const [name, isDone] of [
  ['publish, before the first fold', isFolding],
  ['publish, while folding', () => false],
] as const) {
  const start = performance.now();
  report(name, await publishUntil(isDone), start);
}
console.log(
  `written ${megabytes(writtenBytes() - writtenBefore)} for ${megabytes(sent * messageBytes)} of messages, in ${log.liveSegments.length} segments`,
);

const start = performance.now();
const drains = queues.map((queue) => {
  const drain = new Drain(queue.messageCount);
  queue.subscription.attach(drain);
  return drain.done;
});
await Promise.all(drains);
broker.flushAcks();
await untilDurable();
report('drain', sent, start);
await broker.close();
rmSync(directory, { recursive: true });
