// Runs every *.test.ts below the folders given, each file in its own process, with the sources transformed on the fly. What tests
// start as a process of its own is bundled first, as users have it. Names that contain `.long.` run only with --long.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bundle } from './bundle.mjs';

const args = process.argv.slice(2);
const long = args.includes('--long');
const roots = args.filter((arg) => !arg.startsWith('--'));

/** @param {string} path @returns {string[]} */
const testFiles = (path) =>
  path.endsWith('.ts')
    ? [path]
    : readdirSync(path, { recursive: true })
        .map((name) => join(path, String(name)))
        .filter((name) => name.endsWith('.test.ts') && name.includes('.long.') === long)
        .sort();

const files = roots.flatMap(testFiles);
const result = spawnSync(
  process.execPath,
  ['--import', 'tsx', '--test', '--test-concurrency=2', `--test-timeout=${long ? 3_600_000 : 240_000}`, ...files],
  { stdio: 'inherit', env: { ...process.env, ROSETTAMQ_TEST_PROGRAM: await bundle('.cache/test') } },
);
process.exitCode = result.status ?? 1;
