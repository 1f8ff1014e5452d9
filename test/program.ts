// How tests start the command line as a process of its own.
import { join } from 'node:path';

export const repositoryRoot = join(import.meta.dirname, '..');

const bundled = process.env.ROSETTAMQ_TEST_PROGRAM;

/** Arguments of Node: the bundle that scripts/test.mjs made, or the sources when a test is run by itself. */
export const programArgs: readonly string[] =
  bundled === undefined ? ['--import', 'tsx', 'src/server/main.ts'] : [bundled];
