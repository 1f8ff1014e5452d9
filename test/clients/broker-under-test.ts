// The broker that a client test talks to: our own as a child process on free ports with its data in a temporary
// folder, or real peers at the addresses in ROSETTAMQ_TEST_KAFKA / ROSETTAMQ_TEST_AMQP. The same tests run against
// both, so that an expectation which Apache Kafka or RabbitMQ does not meet is found to be wrong here, not in our broker.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FSWatcher, rmSync, watch } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { programArgs, repositoryRoot } from '../program.ts';

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
  /**
   * Starts again and sends SIGKILL `delayMs` after it has locked its data, which is when it begins to read them. Resolves
   * when the process is gone, with whether it was still recovering; fails if it left by itself.
   */
  killInRecovery(delayMs: number): Promise<boolean>;
}

const peers = { kafka: process.env.ROSETTAMQ_TEST_KAFKA, amqp: process.env.ROSETTAMQ_TEST_AMQP };

/** True when the tests run against real peers, which they may neither kill nor restart. */
export const againstPeers = peers.kafka !== undefined || peers.amqp !== undefined;

/** `skip` option of the tests that kill the broker. */
export const skipAgainstPeers = againstPeers ? 'a peer is not ours to kill' : false;

const readyDeadlineMs = 20_000;
const exitDeadlineMs = 10_000;

const shards = process.env.ROSETTAMQ_TEST_SHARDS;
// Groups settle at once instead of after the 3 s that production wants; everything else is the default configuration.
const settings = [...(shards === undefined ? [] : [`shards=${shards}`]), 'kafka.group.initial.rebalance.delay.ms=0'];

interface Ports {
  readonly kafkaPort: number;
  readonly amqpPort: number;
}

interface Starting {
  readonly process: ChildProcess;
  readonly ready: Promise<Ports>;
}

/** Where a broker keeps its data, if not in a folder of the file system that everybody uses. */
export interface DataPlace {
  readonly dataDir: string;
  /** Program and arguments that run the command behind them where dataDir is. */
  readonly command: readonly string[];
}

interface ServeOptions extends DataPlace {
  /** `name=value` each, beside those above. */
  readonly settings: readonly string[];
}

const serve = (options: ServeOptions, { kafkaPort, amqpPort }: Ports): Starting => {
  const set = [...settings, ...options.settings].flatMap((setting) => ['--set', setting]);
  const [program, ...args] = [
    ...options.command,
    ...[process.execPath, ...programArgs, 'serve', '--data', options.dataDir],
    ...['--kafka', `127.0.0.1:${kafkaPort}`, '--amqp', `127.0.0.1:${amqpPort}`, ...set],
  ];
  const child = spawn(program!, args, { cwd: repositoryRoot, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ready = new Promise<Ports>((resolve, reject) => {
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
      resolve({ kafkaPort: Number(kafka), amqpPort: Number(amqp) });
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
  return { process: child, ready };
};

/** Watches for the socket by which a broker locks its data directory. */
const watchLock = (dataDir: string): { watcher: FSWatcher; taken: Promise<void> } => {
  const watcher = watch(dataDir);
  const taken = new Promise<void>((resolve) => {
    watcher.on('change', (_, name) => {
      if (/^broker\.\d+\.sock$/.test(String(name))) resolve();
    });
  });
  return { watcher, taken };
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

/**
 * @param moreSettings `name=value` each; real peers do not get them
 * @param place absent: a new folder, removed by stop()
 */
export const startBrokerUnderTest = async (
  moreSettings: readonly string[] = [],
  place?: DataPlace,
): Promise<BrokerUnderTest> => {
  if (againstPeers) {
    const notOurs = async (): Promise<never> => {
      throw new Error('a peer is not ours to kill');
    };
    return {
      kafka: peers.kafka ?? '',
      amqp: peers.amqp ?? '',
      stop: async () => {},
      kill: notOurs,
      restart: notOurs,
      killInRecovery: notOurs,
    };
  }
  const dataDir = place?.dataDir ?? (await mkdtemp(join(tmpdir(), 'rosettamq-test-')));
  const options: ServeOptions = { dataDir, command: place?.command ?? [], settings: moreSettings };
  let running = serve(options, { kafkaPort: 0, amqpPort: 0 });
  // A test process that dies must not leave its broker or the data behind.
  const clearOnExit = (): void => {
    running.process.kill('SIGKILL');
    if (place === undefined) rmSync(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  };
  const onSignal = (): void => process.exit(1);
  process.once('exit', clearOnExit).once('SIGTERM', onSignal).once('SIGINT', onSignal);
  const ports = await running.ready;
  return {
    kafka: `127.0.0.1:${ports.kafkaPort}`,
    amqp: `amqp://guest:guest@127.0.0.1:${ports.amqpPort}`,
    stop: async () => {
      try {
        await signalAndWait(running.process, 'SIGTERM');
      } finally {
        if (place === undefined) await rm(dataDir, { recursive: true, force: true });
        process.off('exit', clearOnExit).off('SIGTERM', onSignal).off('SIGINT', onSignal);
      }
    },
    kill: () => signalAndWait(running.process, 'SIGKILL'),
    restart: async () => {
      running = serve(options, ports);
      await running.ready;
    },
    killInRecovery: async (delayMs) => {
      const { watcher, taken } = watchLock(dataDir);
      running = serve(options, ports);
      let isReady = false;
      running.ready.then(
        () => {
          isReady = true;
        },
        () => {},
      );
      try {
        await Promise.race([taken, running.ready]);
      } finally {
        watcher.close();
      }
      await delay(delayMs);
      const wasRecovering = !isReady;
      await signalAndWait(running.process, 'SIGKILL');
      if (running.process.signalCode === null) await running.ready;
      return wasRecovering;
    },
  };
};
