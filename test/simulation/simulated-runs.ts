// Starts run.ts for a test.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Summary } from './run.ts';

const outputBytesMax = 10 * 1024 * 1024;
/** No seed takes so long: one that does spins. */
const seedMsMax = 20_000;
const shownLines = 150;

/**
 * Begins no seed after `minutes`. Rejects with the seed that fails and the end of its trace, or with the one that does not end.
 */
export const simulate = (firstSeed: number, count: number, minutes = 0.5): Promise<Summary> => {
  const script = fileURLToPath(new URL('run.ts', import.meta.url));
  const given = [firstSeed, count, minutes].map(String);
  const options = { maxBuffer: outputBytesMax, timeout: minutes * 60_000 + seedMsMax, killSignal: 'SIGKILL' } as const;
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['--import', 'tsx', script, ...given], options, (error, output, errors) => {
      if (error === null) resolve(JSON.parse(output) as Summary);
      else reject(new Error(errors.split('\n').slice(-shownLines).join('\n'), { cause: error }));
    });
  });
};
