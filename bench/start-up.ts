// How long a client waits for its first acknowledged message: after the broker is started on an empty directory, and after it was
// killed with -9 under load and started again at once. The client keeps retrying from the moment the process is started.
// How to run it: README.md.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import { RawConnection } from './amqp-raw/connection.ts';
import { Publisher } from './amqp-raw/publisher.ts';
import { rawCommand } from './amqp-raw/run.ts';
import { createTopic, type ProducerRun, producerPerformanceCommand } from './kafka-tools.ts';
import { prepareOurs } from './ours.ts';
import { prepareKafka } from './peers/kafka.ts';
import { prepareRabbitmq } from './peers/rabbitmq.ts';
import { type Command, runToEnd, type ServerOptions, ServerProcess } from './run/process.ts';
import { formatTable } from './run/table.ts';

const RETRY_INTERVAL_MS = 5;
/** One attempt: a broker that accepts a connection but does not answer yet is tried again. */
const ATTEMPT_TIMEOUT_MS = 2_000;
const GIVE_UP_AFTER_MS = 60_000;
/** Between the first acknowledgement and the reading of the idle RSS. */
const SETTLE_MS = 2_000;
const NAME = 'start-up';
const LOAD_SECONDS_MAX = 600;
const LOAD = { recordCount: 1_000_000_000, recordSizeBytes: 1024, properties: [] } satisfies ProducerRun;

/** A broker to be started, killed and started again, and how to talk to it. */
interface Candidate {
  readonly name: string;
  readonly options: ServerOptions;
  /** One message, acknowledged by the broker; rejects if that fails. */
  readonly publishOne: () => Promise<void>;
  /** A tool that publishes for longer than anyone waits. */
  readonly load: Command;
  readonly beforeLoad: () => Promise<void>;
}

const publishOverAmqp = async (address: string): Promise<void> => {
  const connection = await RawConnection.open(address);
  try {
    await connection.declareQueue(NAME, 'classic');
    await connection.selectConfirms();
    const publisher = new Publisher(connection, {
      queues: [NAME],
      run: 1,
      sizeBytes: 100,
      isPersistent: true,
      window: 1,
      batch: 1,
    });
    publisher.start();
    await Promise.race([publisher.stop(), connection.failed]);
  } finally {
    connection.close();
  }
};

const publishOverKafka = async (address: string): Promise<void> => {
  const kafka = new Kafka({ brokers: [address], clientId: NAME, logLevel: logLevel.NOTHING, retry: { retries: 0 } });
  const producer = kafka.producer({ allowAutoTopicCreation: true });
  try {
    await producer.connect();
    await producer.send({ topic: NAME, acks: -1, messages: [{ value: 'x'.repeat(100) }] });
  } finally {
    await producer.disconnect();
  }
};

const overAmqp = (name: string, address: string, options: ServerOptions): Candidate => ({
  name,
  options,
  publishOne: () => publishOverAmqp(address),
  load: rawCommand(address, ['--window', '1000'], LOAD_SECONDS_MAX),
  beforeLoad: async () => {},
});

const overKafka = async (name: string, address: string, options: ServerOptions): Promise<Candidate> => ({
  name,
  options,
  publishOne: () => publishOverKafka(address),
  load: await producerPerformanceCommand(address, 'load', LOAD),
  beforeLoad: () => createTopic(address, 'load', 1),
});

/** Retries until one message is acknowledged; returns the milliseconds since `startedAt`. */
const firstAcknowledged = async ({ name, publishOne }: Candidate, startedAt: number): Promise<number> => {
  let failure: unknown;
  while (performance.now() - startedAt < GIVE_UP_AFTER_MS) {
    try {
      const late = sleep(ATTEMPT_TIMEOUT_MS, undefined, { ref: false }).then(() => {
        throw new Error('no answer');
      });
      await Promise.race([publishOne(), late]);
      return performance.now() - startedAt;
    } catch (error) {
      failure = error;
      await sleep(RETRY_INTERVAL_MS);
    }
  }
  throw new Error(`${name}: nothing acknowledged within ${GIVE_UP_AFTER_MS} ms`, { cause: failure });
};

interface StartUpTimes {
  readonly coldMs: number;
  readonly idleRssMb: number;
  readonly afterKillMs: number;
}

const measure = async (candidate: Candidate, loadSeconds: number): Promise<StartUpTimes> => {
  const startedAt = performance.now();
  const server = ServerProcess.spawn(candidate.options);
  const coldMs = await firstAcknowledged(candidate, startedAt);
  await sleep(SETTLE_MS);
  const idleRssMb = server.rssMb;

  await candidate.beforeLoad();
  const stopLoad = new AbortController();
  const load = runToEnd(candidate.load, LOAD_SECONDS_MAX * 1000, stopLoad.signal);
  await Promise.race([sleep(loadSeconds * 1000), load]);
  load.catch(() => {}); // it is killed next
  const killedAt = performance.now();
  await server.kill();
  stopLoad.abort();
  const restarted = ServerProcess.spawn(candidate.options);
  const afterKillMs = await firstAcknowledged(candidate, killedAt);
  await restarted.stop();
  return { coldMs, idleRssMb, afterKillMs };
};

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    'load-seconds': { type: 'string', default: '10' },
    'with-peers': { type: 'boolean', default: false },
    'ours-arg': { type: 'string', multiple: true, default: [] },
    'peers-only': { type: 'boolean', default: false },
  },
});

const ours = async (): Promise<Candidate> => {
  const { amqp, options } = await prepareOurs({ durability: 'sync', extraArgs: values['ours-arg'] });
  return overAmqp('RosettaMQ over AMQP', amqp, options);
};
const oursOverKafka = async (): Promise<Candidate> => {
  const { kafka, options } = await prepareOurs({ durability: 'sync', extraArgs: values['ours-arg'] });
  return overKafka('RosettaMQ over Kafka', kafka, options);
};
const rabbitmq = async (): Promise<Candidate> => {
  const { address, options } = await prepareRabbitmq();
  return overAmqp(options.name, address, options);
};
const kafka = async (): Promise<Candidate> => {
  const { address, options } = await prepareKafka('stock');
  return overKafka(options.name, address, options);
};

const ownCandidates = values['peers-only'] ? [] : [ours, oursOverKafka];
const peerCandidates = values['with-peers'] || values['peers-only'] ? [rabbitmq, kafka] : [];
const lines: string[][] = [];
for (const prepare of [...ownCandidates, ...peerCandidates]) {
  const times: StartUpTimes[] = [];
  let name = '';
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const candidate = await prepare();
    name = candidate.name;
    times.push(await measure(candidate, Number(values['load-seconds'])));
    console.error(name, JSON.stringify(times.at(-1)));
  }
  const cells = (['coldMs', 'idleRssMb', 'afterKillMs'] as const).map((key) => {
    const sorted = times.map((time) => time[key]).toSorted((a, b) => a - b);
    return `${Math.round(sorted[sorted.length >> 1]!)} (${Math.round(sorted[0]!)}-${Math.round(sorted.at(-1)!)})`;
  });
  lines.push([name, ...cells]);
}
const headings = ['broker', 'empty directory to first ack, ms', 'idle RSS, MB', 'kill -9 under load to first ack, ms'];
console.log(formatTable(headings, lines));
