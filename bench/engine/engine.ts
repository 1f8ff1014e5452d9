/**
 * The engine without any socket: publish through the message-block path, deliver, settle, requeue. Prints CPU and wall time
 * per message, on disk with durability sync.
 *
 *   node --import tsx bench/engine/engine.ts [messages per round]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Broker, openBroker } from '../../src/broker/broker.ts';
import type { Delivery, Sink } from '../../src/broker/queues/delivery.ts';
import type { Queue } from '../../src/broker/queues/queue.ts';
import { DiskStorage } from '../../src/storage/disk-storage.ts';

const messages = Number(process.argv[2] ?? 1_000_000);
const messageBytes = 100;
/** As many as a 64 KiB socket chunk holds with their framing. */
const batchMessages = 400;
/** Commits under way before the publisher waits, as a client with a confirm window would. */
const windowBatches = 25;
const form = 200;

const source = Buffer.alloc(batchMessages * messageBytes, 'x');

const durable = (broker: Broker, ticket: number): Promise<void> =>
  new Promise((resolve) => {
    if (broker.gate.durable >= ticket) resolve();
    else broker.gate.wait(ticket, { onDurable: resolve });
  });

const publishBatch = (broker: Broker, queues: readonly Queue[], first: number, fanOut: number): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(form, broker.clock.now());
  for (let i = 0; i < batchMessages; i++) {
    builder.beginMessage();
    builder.piece(source, i * messageBytes, (i + 1) * messageBytes);
    const message = builder.endMessage();
    for (let copy = 0; copy < fanOut; copy++)
      builder.deliver(queues[(first + i + copy) % queues.length]!.log!, message, false);
  }
  builder.commit();
};

const publish = async (broker: Broker, queues: readonly Queue[], count: number, fanOut: number): Promise<void> => {
  for (let sent = 0, batch = 0; sent < count; sent += batchMessages, batch++) {
    publishBatch(broker, queues, sent, fanOut);
    if (batch % windowBatches === windowBatches - 1) await durable(broker, broker.gate.current);
  }
  await durable(broker, broker.gate.current);
};

class Consumer implements Sink {
  readonly autoAck = false;
  readonly exclusive = false;
  readonly priority = 0;
  received = 0;
  readonly #broker: Broker;
  readonly #expected: number;
  readonly #requeues: boolean;
  readonly done: Promise<void>;
  #resolve: () => void = () => {};

  constructor(broker: Broker, expected: number, requeues: boolean) {
    this.#broker = broker;
    this.#expected = expected;
    this.#requeues = requeues;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  hasCredit(): boolean {
    return this.received < this.#expected;
  }

  deliver({ part, offset, redelivered }: Delivery): void {
    if (this.#requeues && !redelivered) {
      this.#broker.requeue(part, offset);
      return;
    }
    this.received++;
    this.#broker.ack(part, offset);
    if (this.received === this.#expected) this.#resolve();
  }

  onDamaged(error: Error): void {
    throw error;
  }

  onCancelled(): void {}
}

const consume = async (broker: Broker, queues: readonly Queue[], count: number, requeues: boolean): Promise<void> => {
  const each = count / queues.length;
  const consumers = queues.map((queue) => {
    const consumer = new Consumer(broker, each, requeues);
    queue.subscription.attach(consumer);
    return { queue, consumer };
  });
  for (const { queue, consumer } of consumers) {
    await consumer.done;
    queue.subscription.detach(consumer);
  }
  broker.flushAcks();
  await durable(broker, broker.gate.current);
};

const measure = async (name: string, count: number, run: () => Promise<void>): Promise<void> => {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await run();
  const wallUs = (performance.now() - start) * 1000;
  const { user, system } = process.cpuUsage(cpu);
  const row = [name.padEnd(44), `${Math.round((count / wallUs) * 1e6).toLocaleString('en')}/s`.padStart(14)];
  row.push(`${(wallUs / count).toFixed(3)} us wall`, `${((user + system) / count).toFixed(3)} us CPU per message`);
  console.log(row.join('  '));
};

const directory = mkdtempSync(join(tmpdir(), 'rosettamq-engine-'));
const broker = await openBroker({ storage: await DiskStorage.at(directory), durability: 'sync' });
const vhost = broker.vhost('/')!;
const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
const queues = Array.from({ length: 1000 }, (_, index) => vhost.declareQueue(`q-${index}`, properties, undefined));
const one = queues.slice(0, 1);

for (const round of ['first', 'second']) {
  console.log(`${round} round, ${messages.toLocaleString('en')} messages of ${messageBytes} B, durability sync`);
  await measure('publish, one queue', messages, () => publish(broker, one, messages, 1));
  await measure('deliver and settle, one queue', messages, () => consume(broker, one, messages, false));
  await measure('publish, 1,000 queues in turn', messages, () => publish(broker, queues, messages, 1));
  await measure('deliver and settle, 1,000 queues', messages, () => consume(broker, queues, messages, false));
  await measure('publish, each to 10 of 1,000 queues', messages / 10, () => publish(broker, queues, messages / 10, 10));
  await measure('deliver and settle the copies', messages, () => consume(broker, queues, messages, false));
  await publish(broker, one, messages, 1);
  await measure('requeue once, deliver again, settle, one queue', messages, () => consume(broker, one, messages, true));
}
console.log(`RSS ${Math.round(process.memoryUsage().rss / 1e6)} MB`);
await broker.close();
rmSync(directory, { recursive: true });
