// The command line runs with the bytecode that the build stored, and without it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Script } from 'node:vm';
import { version } from '../../src/server/version.ts';
import { programArgs } from '../program.ts';

const run = promisify(execFile);
const launcher = programArgs.at(-1)!;
const needsBundle = { skip: launcher.endsWith('.ts') && 'runs on what npm test has built' };

test('this Node takes the bytecode of the build', needsBundle, async () => {
  const program = join(dirname(launcher), 'program.cjs');
  const [source, cachedData] = await Promise.all([readFile(program, 'latin1'), readFile(`${program}.cache`)]);
  assert.equal(new Script(source, { filename: program, cachedData }).cachedDataRejected, false, 'it is rejected');
});

test('bytecode of another version, or none, only costs time', needsBundle, async () => {
  const copy = await mkdtemp(join(tmpdir(), 'rosettamq-launcher-'));
  try {
    await cp(dirname(launcher), copy, { recursive: true });
    await writeFile(join(copy, 'package.json'), '{"type":"module"}');
    const cache = join(copy, 'program.cjs.cache');
    const bytes = await readFile(cache);
    bytes.writeUInt32LE(bytes.readUInt32LE(4) ^ 1, 4);
    await writeFile(cache, bytes);
    for (const isThere of [true, false]) {
      if (!isThere) await rm(cache);
      const { stdout, stderr } = await run(process.execPath, [join(copy, 'rosettamq.js'), '--version']);
      assert.deepEqual([stdout, stderr], [`${version}\n`, '']);
    }
  } finally {
    await rm(copy, { recursive: true });
  }
});
