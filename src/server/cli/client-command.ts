/** What the commands that talk to a running broker share: their options, one request and its answer, output. */
import { type Command, InvalidArgumentError } from 'commander';
import type { AdminRequest } from '../admin/admin-protocol.ts';
import { ConfigError, resolveConfig } from '../config.ts';
import { AdminClient } from './admin-client.ts';
import type { Row } from './table.ts';

export interface CommonOptions {
  readonly data?: string;
  readonly config?: string;
  readonly json?: boolean;
}

export const collect = (value: string, earlier: readonly string[] | undefined): readonly string[] => [
  ...(earlier ?? []),
  value,
];

export const integerArgument = (text: string): number => {
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError('expected an integer');
  return Number(text);
};

export const countArgument = (text: string): number => {
  if (!/^\d+$/.test(text) || Number(text) === 0) throw new InvalidArgumentError('expected a number from 1 on');
  return Number(text);
};

/** With what every client command has. */
export const clientCommand = (parent: Command, usage: string, description: string): Command =>
  parent
    .command(usage)
    .description(description)
    .option('--data <DIR>', 'Data directory of the broker. (default: ./data)')
    .option('--config <FILE>', 'Config file of the broker, which names the data directory.')
    .option('--json', 'Output as JSON.');

export const connect = ({ data, config: file }: CommonOptions): Promise<AdminClient> => {
  const flags = data === undefined ? {} : { data };
  return AdminClient.connect(resolveConfig({ flags, file, environment: process.env }).text('data'));
};

/** One request, one answer. */
export const ask = async <Result>(options: CommonOptions, request: AdminRequest): Promise<Result> => {
  const client = await connect(options);
  try {
    return await client.request<Result>(request);
  } finally {
    client.close();
  }
};

export const print = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

/** The answer as JSON if that is wanted, else as `text` makes it. */
export const show = async <Result>(
  options: CommonOptions,
  request: AdminRequest,
  text: (result: Result) => string,
): Promise<void> => {
  const result = await ask<Result>(options, request);
  print(options.json === true ? JSON.stringify(result, null, 2) : text(result));
};

export const fieldsText = (fields: Row): string => {
  const width = Math.max(...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields)
    .map(([name, value]) => `${name.padEnd(width)}  ${value ?? '-'}`)
    .join('\n');
};

export const asRows = (items: readonly unknown[]): readonly Row[] => items as readonly Row[];

/** @throws ConfigError */
export const parsePairs = (texts: readonly string[], flag: string): Record<string, string> =>
  Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=');
      if (at <= 0) throw new ConfigError(`${flag}: expected NAME=VALUE, not '${text}'`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
