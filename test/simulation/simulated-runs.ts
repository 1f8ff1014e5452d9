// Starts run.ts for a test.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Summary } from './run.ts';

const outputBytesMax = 10 * 1024 * 1024;

/** Rejects with the end of the trace and the seed when a simulation fails. Runs for `minutes` at most. */
export const simulate = (firstSeed: number, count: number, minutes?: number): Promise<Summary> => {
  const script = fileURLToPath(new URL('run.ts', import.meta.url));
  const given = [firstSeed, count, ...(minutes === undefined ? [] : [minutes])].map(String);
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: outputBytesMax };
    execFile(process.execPath, ['--import', 'tsx', script, ...given], options, (error, output, errors) => {
      if (error === null) resolve(JSON.parse(output) as Summary);
      else reject(new Error(errors, { cause: error }));
    });
  });
};
