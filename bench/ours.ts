// RosettaMQ as the benches start it: the built command line, with its default settings, in its own process.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkoutDir, freePorts, logFile, newDataDir } from './run/cache.ts';
import { type ServerOptions, ServerProcess } from './run/process.ts';

const entry = join(checkoutDir, 'dist', 'rosettamq.js');
const READY_TIMEOUT_MS = 15_000;

export type Durability = 'sync' | 'os';

export interface OursSettings {
  readonly durability: Durability;
  /** More command-line arguments for `serve`, as they are. */
  readonly extraArgs: readonly string[];
}

export interface OursInstance {
  /** host:port of each listener */
  readonly kafka: string;
  readonly amqp: string;
  readonly dataDir: string;
  readonly options: ServerOptions;
}

/** An empty data directory, fixed ports and the command that serves them; the command may be run again after a crash. */
export const prepareOurs = async ({ durability, extraArgs }: OursSettings): Promise<OursInstance> => {
  if (!existsSync(entry)) throw new Error('dist/rosettamq.js is missing: npm run build');
  const [kafkaPort, amqpPort] = (await freePorts(2)) as [number, number];
  const kafka = `127.0.0.1:${kafkaPort}`;
  const amqp = `127.0.0.1:${amqpPort}`;
  const dataDir = newDataDir('rosettamq');
  const flags = ['--data', dataDir, '--kafka', kafka, '--amqp', amqp, '--durability', durability];
  return {
    kafka,
    amqp,
    dataDir,
    options: {
      name: 'RosettaMQ',
      command: process.execPath,
      args: [entry, 'serve', ...flags, ...extraArgs],
      logFile: logFile('rosettamq'),
    },
  };
};

export const startOurs = async (settings: OursSettings): Promise<OursInstance & { server: ServerProcess }> => {
  const instance = await prepareOurs(settings);
  const server = await ServerProcess.start({
    ...instance.options,
    ready: [/kafka:\/\/[\d.]+:\d+/, /amqp:\/\/[\d.]+:\d+/],
    readyTimeoutMs: READY_TIMEOUT_MS,
  });
  return { ...instance, server };
};
