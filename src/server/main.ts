/**
 * The command line. Commands load their code when they are run, so that `serve` starts with what it needs and nothing else.
 * (For the same reason `process` is the global: importing node:process opens standard input.)
 */
import { Command, Option } from 'commander';
import { settings } from './config-schema.ts';
import { environmentName, formatValue, type Setting, typeName } from './setting.ts';
import { version } from './version.ts';

/** Of a mistake in flags, settings or the config file. */
const usageExitCode = 2;

const collect = (value: string, earlier: readonly string[] | undefined): readonly string[] => [
  ...(earlier ?? []),
  value,
];

/** `--kafka-advertised` becomes this in commander's result. */
const optionKey = (flag: string): string => flag.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

const flagOption = ({ flag, type, documentation, default: value }: Setting): Option => {
  const placeholder = flag!.placeholder === '' ? '' : ` <${flag!.placeholder}>`;
  const note = type.kind === 'list' ? ' May be repeated.' : '';
  const shown = formatValue(value) === '' || type.kind === 'boolean' ? '' : ` (default: ${formatValue(value)})`;
  const option = new Option(`--${flag!.name}${placeholder}`, documentation + note + shown);
  return type.kind === 'list' ? option.argParser(collect) : option;
};

const settingsHelp = (): string => {
  const rows = settings.map(
    (setting) => `  ${setting.name}=${formatValue(setting.default)}  (${typeName(setting.type)})`,
  );
  return [
    '',
    'Settings (--set NAME=VALUE; as environment variables, for example ' +
      `${environmentName('kafka.num.partitions')}=4; or in the file of --config).`,
    'A flag wins over --set, that over the environment, that over the file. `rosettamq settings` explains each.',
    ...rows,
  ].join('\n');
};

const addServe = (program: Command): void => {
  const serve = program.command('serve').description('Run the broker in the foreground.');
  const flagSettings = settings.filter(({ flag }) => flag !== undefined);
  for (const setting of flagSettings) serve.addOption(flagOption(setting));
  serve
    .option('--config <FILE>', 'Read settings from this file: JSON if it ends in .json, else lines of name=value.')
    .option('--set <NAME=VALUE>', 'Set any setting. May be repeated.', collect)
    .addHelpText('after', settingsHelp)
    .action(async (options: Record<string, unknown>) => {
      const flags: Record<string, unknown> = {};
      for (const { name, flag } of flagSettings) {
        const value = options[optionKey(flag!.name)];
        if (value !== undefined) flags[name] = value;
      }
      const { serve: run } = await import('./serve.ts');
      await run({
        flags,
        assignments: (options.set as readonly string[] | undefined) ?? [],
        file: options.config as string | undefined,
      });
    });
};

const addSettings = (program: Command): void => {
  program
    .command('settings')
    .description('Explain all settings.')
    .option('--json', 'As JSON.')
    .action(async ({ json }: { json?: boolean }) => {
      const { settingsJson, settingsText } = await import('./settings-table.ts');
      process.stdout.write(
        json === true
          ? `${JSON.stringify(settingsJson(), null, 2)}\n`
          : `${settingsText(process.stdout.columns || 100)}\n`,
      );
    });
};

const clientCommands = ['topic', 'queue', 'group', 'produce', 'consume', 'status'];

const main = async (): Promise<void> => {
  const program = new Command('rosettamq')
    .description('A durable message broker for the clients of Kafka and RabbitMQ.')
    .version(version)
    .showHelpAfterError('(--help shows what there is)')
    // It has told what is wrong; help and version that were asked for are no mistake.
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : usageExitCode));
  program.enablePositionalOptions();
  addServe(program);
  addSettings(program);
  // The others are only needed when one of them is called, or listed.
  if (process.argv[2] !== 'serve' || clientCommands.includes(process.argv[2])) {
    const { addClientCommands } = await import('./cli/client-commands.ts');
    addClientCommands(program);
    const { addInspectCommands } = await import('./cli/inspect-commands.ts');
    addInspectCommands(program);
    const { addBackupCommands } = await import('./cli/backup-commands.ts');
    addBackupCommands(program);
  }
  await program.parseAsync();
};

/** @returns how to exit */
const explain = (error: unknown): number => {
  const isUsage = error instanceof Error && error.name === 'ConfigError';
  const isExpected = isUsage || (error instanceof Error && error.name === 'BrokerError');
  process.stderr.write(
    `rosettamq: ${isExpected ? (error as Error).message : error instanceof Error ? error.stack : String(error)}\n`,
  );
  return isUsage ? usageExitCode : 1;
};

main().catch((error: unknown) => process.exit(explain(error)));
