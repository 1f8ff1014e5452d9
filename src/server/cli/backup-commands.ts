/** `backup` and `restore`. */
import type { Command } from 'commander';
import { resolveConfig } from '../config.ts';
import type { CommonOptions } from './client-command.ts';

interface BackupCommandOptions extends CommonOptions {
  readonly to: string;
}

interface RestoreCommandOptions {
  readonly data: string;
  readonly from: string;
  readonly json?: boolean;
}

export const addBackupCommands = (program: Command): void => {
  program
    .command('backup')
    .description('Copy a data directory, also that of a running broker.')
    .option('--data <DIR>', 'Data directory. (default: ./data)')
    .option('--config <FILE>', 'Config file of the broker, which names the data directory.')
    .requiredOption(
      '--to <TARGET>',
      'A new or empty directory, a new file that ends in .tar, or - for a tar on standard output.',
    )
    .option('--json', 'Output as JSON.')
    .addHelpText(
      'after',
      '\nAll that was confirmed before it began is in it, as of one moment. On disk when the command ends.',
    )
    .action(backUp);
  program
    .command('restore')
    .description('Make a data directory of a backup, and check all of it.')
    .requiredOption('--from <SOURCE>', 'The directory or tar of the backup, or - for a tar on standard input.')
    .requiredOption('--data <DIR>', 'The data directory to make; a new or empty one.')
    .option('--json', 'Output as JSON.')
    .addHelpText(
      'after',
      '\nExit code 1 if the backup is not whole, or if the data was damaged already when it was copied.',
    )
    .action(restoreTo);
};

const summaryText = ({ files, bytes, takenAt }: { files: number; bytes: number; takenAt: string }): string =>
  `${files} files, ${bytes} bytes, as of ${takenAt}`;

const backUp = async ({ data, config: file, to, json }: BackupCommandOptions): Promise<void> => {
  const { backup } = await import('../backup/backup.ts');
  const flags = data === undefined ? {} : { data };
  const from = resolveConfig({ flags, file, environment: process.env }).text('data');
  const summary = await backup({ from, to });
  const output = to === '-' ? process.stderr : process.stdout;
  output.write(`${json === true ? JSON.stringify({ to, ...summary }) : `${to}: ${summaryText(summary)}`}\n`);
};

const restoreTo = async ({ data, from, json }: RestoreCommandOptions): Promise<void> => {
  const [{ restore }, { lineText }] = await Promise.all([
    import('../backup/restore.ts'),
    import('../inspect/dump-lines.ts'),
  ]);
  const summary = await restore({
    from,
    to: data,
    onDamage: (line) => {
      process.exitCode = 1;
      process.stderr.write(`${lineText(line)}\n`);
    },
  });
  process.stdout.write(
    `${json === true ? JSON.stringify({ data, ...summary }) : `${data}: ${summaryText(summary)}`}\n`,
  );
};
