// The raw AMQP generator's command line: one load, one line of JSON. Flags: README.md.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type QueueType, RawConnection } from './connection.ts';
import { Consumer } from './consumer.ts';
import { Publisher } from './publisher.ts';
import { percentiles, type RawReport } from './report.ts';

/** How long the confirms that are still due may take at the end. */
const LAST_CONFIRMS_TIMEOUT_MS = 30_000;
/** How often it looks whether enough messages have gone through. */
const COUNT_INTERVAL_MS = 20;

const { values } = parseArgs({
  options: {
    address: { type: 'string', default: '127.0.0.1:5672' },
    queue: { type: 'string', default: 'amqp-raw' },
    queues: { type: 'string', default: '1' },
    run: { type: 'string', default: '1' },
    'queue-type': { type: 'string', default: 'classic' },
    size: { type: 'string', default: '100' },
    transient: { type: 'boolean', default: false },
    window: { type: 'string', default: '1000' },
    batch: { type: 'string', default: '250' },
    'no-publish': { type: 'boolean', default: false },
    consume: { type: 'boolean', default: false },
    prefetch: { type: 'string', default: '200' },
    'ack-every': { type: 'string', default: '10' },
    warmup: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '10' },
    messages: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});

const queueCount = Number(values.queues);
const queues = queueCount === 1 ? [values.queue] : Array.from({ length: queueCount }, (_, i) => `${values.queue}-${i}`);
const window = Number(values.window);
const ackEvery = Number(values['ack-every']);

const control = await RawConnection.open(values.address);
for (const queue of queues) await control.declareQueue(queue, values['queue-type'] as QueueType);

const openPublisher = async () => {
  const connection = await RawConnection.open(values.address);
  if (window > 0) await connection.selectConfirms();
  const options = {
    queues,
    run: Number(values.run),
    sizeBytes: Number(values.size),
    isPersistent: !values.transient,
    window,
    batch: Number(values.batch),
  };
  return { connection, publisher: new Publisher(connection, options) };
};

const openConsumer = async () => {
  const connection = await RawConnection.open(values.address);
  const consumer = new Consumer(connection, ackEvery);
  for (const queue of queues) await connection.consume(queue, ackEvery === 0 ? 0 : Number(values.prefetch));
  return { connection, consumer };
};

const consuming = values.consume ? await openConsumer() : undefined;
const publishing = values['no-publish'] ? undefined : await openPublisher();
const connections = [publishing, consuming].flatMap((side) => (side === undefined ? [] : [side.connection]));

const counts = () => ({
  atMs: performance.now(),
  published: publishing?.publisher.publishedCount ?? 0,
  confirmed: publishing?.publisher.confirmedCount ?? 0,
  consumed: consuming?.consumer.consumedCount ?? 0,
});

/** Until the time is over, or as many messages as are wanted were consumed or published. */
const run = async (seconds: number): Promise<void> => {
  if (values.messages === undefined) return sleep(seconds * 1000);
  const wanted = Number(values.messages);
  const deadlineMs = performance.now() + seconds * 1000;
  const done = () => (consuming === undefined ? counts().published : counts().consumed);
  while (performance.now() < deadlineMs && done() < wanted) await sleep(COUNT_INTERVAL_MS);
};

const load = async (): Promise<RawReport> => {
  publishing?.publisher.start();
  await sleep(Number(values.warmup) * 1000);
  const start = counts();
  const cpuAtStart = process.cpuUsage();
  await run(Number(values.seconds));
  const end = counts();
  const cpu = process.cpuUsage(cpuAtStart);
  const late = sleep(LAST_CONFIRMS_TIMEOUT_MS, undefined, { ref: false }).then(() => {
    throw new Error(`confirms still missing after ${LAST_CONFIRMS_TIMEOUT_MS} ms: ${JSON.stringify(counts())}`);
  });
  await Promise.race([publishing?.publisher.stop(), late]);
  const seconds = (end.atMs - start.atMs) / 1000;
  const rate = (count: 'published' | 'confirmed' | 'consumed') => Math.round((end[count] - start[count]) / seconds);
  const { published, confirmed, consumed } = counts();
  const latenciesUs = publishing?.publisher.latenciesUs ?? [];
  return {
    seconds,
    publishRate: rate('published'),
    confirmRate: rate('confirmed'),
    consumeRate: rate('consumed'),
    ...{ published, confirmed, consumed },
    rejected: publishing?.publisher.rejectedCount ?? 0,
    ...(latenciesUs.length > 0 && { confirmLatencyUs: percentiles(latenciesUs) }),
    generatorCpuSeconds: (cpu.user + cpu.system) / 1e6,
  };
};

console.log(JSON.stringify(await Promise.race([load(), ...connections.map(({ failed }) => failed)])));
for (const connection of connections) connection.close();
if (!values.keep) for (const queue of queues) await control.deleteQueue(queue);
control.close();
