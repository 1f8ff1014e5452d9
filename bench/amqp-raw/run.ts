// The raw generator as a process of its own, for the benches: flags in, its line of JSON out.
import { join } from 'node:path';
import { type Command, runToEnd } from '../run/process.ts';
import type { RawReport } from './report.ts';

const main = join(import.meta.dirname, 'main.ts');
/** On top of the seconds it is told to run. */
const TIMEOUT_MS = 60_000;

export const rawCommand = (address: string, flags: readonly string[], seconds: number): Command => ({
  command: process.execPath,
  args: ['--import', 'tsx', main, '--address', address, '--seconds', String(seconds), ...flags],
});

export const runRaw = async (address: string, flags: readonly string[], seconds: number): Promise<RawReport> => {
  const output = await runToEnd(rawCommand(address, flags, seconds), seconds * 1000 + TIMEOUT_MS);
  return JSON.parse(output) as RawReport;
};
