/** `rosettamq serve`: a broker in the foreground until a signal ends it. */
import { startBrokerProcess } from './broker-process.ts';
import { ConfigError, resolveConfig } from './config.ts';
import { createLogger } from './logger.ts';
import { commandName, readyText } from './ready-output.ts';
import { progressPrinter } from './start-progress.ts';

export interface ServeOptions {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly assignments: readonly string[];
  readonly file: string | undefined;
}

/** Resolves when the broker is ready. @throws ConfigError, BrokerError */
export const serve = async ({ flags, assignments, file }: ServeOptions): Promise<void> => {
  const warnings: string[] = [];
  const warn = (message: string): void => void warnings.push(message);
  const config = resolveConfig({ flags, assignments, file, environment: process.env, warn });
  if (config.boolean('memory') && config.list('listeners.kafka').length + config.list('listeners.amqp').length === 0) {
    throw new ConfigError('a broker in memory without listeners cannot be reached: it needs --kafka or --amqp');
  }
  const logger = createLogger(config.text('log.level'));
  for (const warning of warnings) logger.warn(warning);

  // Signals count from the beginning: one that comes while the broker starts ends it when it has started.
  let stop: (signal: NodeJS.Signals) => void = () => {};
  const stopRequested = new Promise<NodeJS.Signals>((resolve) => {
    stop = resolve;
  });
  let isStopping = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (isStopping) process.exit(signal === 'SIGINT' ? 130 : 143);
    isStopping = true;
    stop(signal);
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal);
  process.stdout.on('error', () => {});

  const onProgress = progressPrinter((line) => process.stderr.write(`${line}\n`));
  const broker = await startBrokerProcess(config, { logger, onFatal: () => process.exit(1), onProgress });
  const command = commandName(process.argv[1] ?? 'rosettamq');
  process.stdout.write(readyText({ broker, config, elapsedMs: performance.now(), command }));

  const signal = await stopRequested;
  logger.info({ signal }, 'closing');
  await broker.close();
  logger.info('closed');
  process.exit(0);
};
