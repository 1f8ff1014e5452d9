// Stores the bytecode of the command line for src/server/launcher.ts, with all functions that a broker calls until it is ready. It
// runs one for that, so this is a process of its own: node scripts/code-cache.mjs PROGRAM
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';

const program = resolve(process.argv[2]);
const dataDir = mkdtempSync(join(tmpdir(), 'rosettamq-build-'));
process.on('exit', () => rmSync(dataDir, { recursive: true }));

const script = new Script(readFileSync(program, 'latin1'), { filename: program });
const url = pathToFileURL(program).href;
process.stdout.write = () => {
  // Its ready lines are the first that it prints.
  writeFileSync(`${program}.cache`, script.createCachedData());
  process.emit('SIGTERM', 'SIGTERM');
  return true;
};
process.argv.splice(1, 2, program, 'serve', '--data', dataDir, '--kafka', '127.0.0.1:0', '--amqp', '127.0.0.1:0');
script.runInThisContext()(createRequire(url), url);
