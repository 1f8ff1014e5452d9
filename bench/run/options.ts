// The flags that the two comparisons share.
import { parseArgs } from 'node:util';
import type { Durability, OursSettings } from '../ours.ts';

export interface CompareOptions {
  /** Ids of the rows to run; all if empty. */
  readonly only: readonly string[];
  readonly withOurs: boolean;
  readonly withPeers: boolean;
  readonly rounds: number;
  /** Records per run (Kafka) or seconds per run (AMQP); each row's own if absent. */
  readonly amount: number | undefined;
  readonly ours: OursSettings;
}

const durabilityOf = (text: string): Durability => {
  if (text === 'sync' || text === 'os') return text;
  throw new Error(`--durability is sync or os, not ${text}`);
};

/** `amountFlag` is the name of the flag that scales a run. */
export const parseCompareOptions = (
  amountFlag: 'records' | 'seconds',
  args = process.argv.slice(2),
): CompareOptions => {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string', multiple: true, default: [] },
      'ours-only': { type: 'boolean', default: false },
      'peers-only': { type: 'boolean', default: false },
      rounds: { type: 'string', default: '3' },
      [amountFlag]: { type: 'string' },
      durability: { type: 'string', default: 'sync' },
      'ours-arg': { type: 'string', multiple: true, default: [] },
    },
  });
  const amount = values[amountFlag];
  return {
    only: values.only,
    withOurs: !values['peers-only'],
    withPeers: !values['ours-only'],
    rounds: Number(values.rounds),
    amount: amount === undefined ? undefined : Number(amount),
    ours: { durability: durabilityOf(values.durability), extraArgs: values['ours-arg'] },
  };
};

/** The rows that were asked for; an unknown id is an error that names the known ones. */
export const selectRows = <R extends { readonly id: string }>(rows: readonly R[], only: readonly string[]): R[] => {
  const unknown = only.filter((id) => !rows.some((row) => row.id === id));
  if (unknown.length > 0) {
    throw new Error(`unknown row ${unknown.join(', ')}; known: ${rows.map((row) => row.id).join(', ')}`);
  }
  return rows.filter((row) => only.length === 0 || only.includes(row.id));
};
