/** The commands that look at a data directory and at the machine, without a running broker. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { resolveConfig } from '../config.ts';
import type { Check } from '../inspect/checks.ts';
import { type CommonOptions, collect } from './client-command.ts';

interface DoctorOptions extends CommonOptions {
  readonly set?: readonly string[];
}

interface DumpCommandOptions extends CommonOptions {
  readonly shard?: number;
  readonly file?: string;
  readonly records?: boolean;
}

const shardArgument = (text: string): number => {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('expected the number of a shard, from 0 on');
  return Number(text);
};

const addCommand = (program: Command, name: string, description: string): Command =>
  program
    .command(name)
    .description(description)
    .option('--data <DIR>', 'Data directory. (default: ./data)')
    .option('--config <FILE>', 'Config file of the broker, which names the data directory.');

export const addInspectCommands = (program: Command): void => {
  addCommand(
    program,
    'doctor',
    'Examine disk, limits and configuration: can a broker work here, and how fast is the disk?',
  )
    .option('--set <NAME=VALUE>', 'Examine for this setting, as `serve` takes it. May be repeated.', collect)
    .option('--json', 'Output as JSON.')
    .addHelpText('after', '\nWorks beside a running broker. Exit code 1 if something fails, 0 with ok and warnings.')
    .action(doctor);
  addCommand(program, 'dump', 'Show and verify the files in the data directory of a stopped broker.')
    .option('--shard <N>', 'Only this shard.', shardArgument)
    .option('--file <NAME>', 'Only this file, wal-000000000001 for example.')
    .option('--records', 'Also the commits in the write-ahead log and the records in them.')
    .option('--json', 'Output as lines of JSON.')
    .addHelpText('after', '\nChanges nothing. Damage is named with file and byte; exit code 1 if there is any.')
    .action(dump);
};

const configOf = ({ data, config: file, set: assignments = [] }: DoctorOptions) =>
  resolveConfig({ flags: data === undefined ? {} : { data }, assignments, file, environment: process.env });

const checksText = (checks: readonly Check[]): string => {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return checks.map(({ name, status, text }) => `${status.padEnd(4)}  ${name.padEnd(width)}  ${text}`).join('\n');
};

const worst = (checks: readonly Check[]): Check['status'] =>
  (['fail', 'warn'] as const).find((status) => checks.some((check) => check.status === status)) ?? 'ok';

const doctor = async (options: DoctorOptions): Promise<void> => {
  const { examine } = await import('../inspect/doctor.ts');
  const checks = await examine(configOf(options));
  const status = worst(checks);
  process.stdout.write(`${options.json === true ? JSON.stringify({ status, checks }, null, 2) : checksText(checks)}\n`);
  if (status === 'fail') process.exitCode = 1;
};

const dump = async (options: DumpCommandOptions): Promise<void> => {
  const [{ dumpDirectory }, { lineText }, { LineOutput }] = await Promise.all([
    import('../inspect/dump.ts'),
    import('../inspect/dump-lines.ts'),
    import('./line-output.ts'),
  ]);
  const { shard, file, records = false, json = false } = options;
  const output = new LineOutput(process.stdout);
  for await (const line of dumpDirectory({ path: configOf(options).text('data'), shard, file, records })) {
    if (line.kind === 'damage' || line.kind === 'unsupported') process.exitCode = 1;
    await output.write(json ? JSON.stringify(line) : lineText(line));
    if (output.isClosed) return;
  }
  await output.flush();
};
