// The broker that a client test talks to: our own as a child process on free ports with its data in a temporary
// folder, or real peers at the addresses in ROSETTAMQ_TEST_KAFKA / ROSETTAMQ_TEST_AMQP. The same tests run against
// both, so that an expectation which Apache Kafka or RabbitMQ does not meet is found to be wrong here, not in our broker.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface BrokerUnderTest {
  /** `host:port` of the Kafka listener. */
  readonly kafka: string;
  /** `amqp://guest:guest@host:port` of the AMQP listener. */
  readonly amqp: string;
  /** Ends the broker with SIGTERM, fails if it does not leave by itself, and removes its data. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. The data stays. */
  kill(): Promise<void>;
  /** Starts again on the same ports and the same data. */
  restart(): Promise<void>;
}

const peers = { kafka: process.env.ROSETTAMQ_TEST_KAFKA, amqp: process.env.ROSETTAMQ_TEST_AMQP };

/** True when the tests run against real peers, which they may neither kill nor restart. */
export const againstPeers = peers.kafka !== undefined || peers.amqp !== undefined;

/** `skip` option of the tests that kill the broker. */
export const skipAgainstPeers = againstPeers ? 'a peer is not ours to kill' : false;

const repositoryRoot = join(import.meta.dirname, '../..');
const readyDeadlineMs = 20_000;
const exitDeadlineMs = 10_000;

const shards = process.env.ROSETTAMQ_TEST_SHARDS;
// Groups settle at once instead of after the 3 s that production wants; everything else is the default configuration.
const settings = [...(shards === undefined ? [] : [`shards=${shards}`]), 'kafka.group.initial.rebalance.delay.ms=0'];

interface Listening {
  readonly process: ChildProcess;
  readonly kafkaPort: number;
  readonly amqpPort: number;
}

interface ServeOptions {
  readonly dataDir: string;
  /** `name=value` each, beside those above. */
  readonly settings: readonly string[];
}

const serve = async (options: ServeOptions, kafkaPort: number, amqpPort: number): Promise<Listening> => {
  const set = [...settings, ...options.settings].flatMap((setting) => ['--set', setting]);
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', 'src/server/main.ts', 'serve', '--data', options.dataDir],
      ...['--kafka', `127.0.0.1:${kafkaPort}`, '--amqp', `127.0.0.1:${amqpPort}`, ...set],
    ],
    { cwd: repositoryRoot, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  const ready = new Promise<Listening>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the broker was not ready after ${readyDeadlineMs} ms:\n${output}`));
    }, readyDeadlineMs);
    const onOutput = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-20_000);
      const kafka = /kafka:\/\/127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      const amqp = /amqp:\/\/(?:[^@\s]*@)?127\.0\.0\.1:(\d+)/.exec(output)?.[1];
      if (kafka === undefined || amqp === undefined) return;
      clearTimeout(timer);
      resolve({ process: child, kafkaPort: Number(kafka), amqpPort: Number(amqp) });
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
      if (process.env.ROSETTAMQ_TEST_LOGS) process.stderr.write(chunk);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`the broker left with ${signal ?? code} before it was ready:\n${output}`));
    });
  });
  return await ready;
};

const signalAndWait = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit', { signal: AbortSignal.timeout(exitDeadlineMs) });
  child.kill(signal);
  try {
    await exited;
  } catch {
    child.kill('SIGKILL');
    throw new Error(`the broker did not leave within ${exitDeadlineMs} ms of ${signal}`);
  }
};

/** @param moreSettings `name=value` each; real peers do not get them */
export const startBrokerUnderTest = async (moreSettings: readonly string[] = []): Promise<BrokerUnderTest> => {
  if (againstPeers) {
    const notOurs = async (): Promise<never> => {
      throw new Error('a peer is not ours to kill');
    };
    return { kafka: peers.kafka ?? '', amqp: peers.amqp ?? '', stop: async () => {}, kill: notOurs, restart: notOurs };
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'rosettamq-test-'));
  const options: ServeOptions = { dataDir, settings: moreSettings };
  let running = await serve(options, 0, 0);
  // A test process that dies must not leave its broker behind.
  const killOnExit = (): void => {
    running.process.kill('SIGKILL');
  };
  process.once('exit', killOnExit);
  const { kafkaPort, amqpPort } = running;
  return {
    kafka: `127.0.0.1:${kafkaPort}`,
    amqp: `amqp://guest:guest@127.0.0.1:${amqpPort}`,
    stop: async () => {
      process.removeListener('exit', killOnExit);
      try {
        await signalAndWait(running.process, 'SIGTERM');
      } finally {
        await rm(dataDir, { recursive: true, force: true });
      }
    },
    kill: () => signalAndWait(running.process, 'SIGKILL'),
    restart: async () => {
      running = await serve(options, kafkaPort, amqpPort);
    },
  };
};
