// A data directory with damage: refused, opened once with --accept-damage, and an ordinary one from then on.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '../clients/conditions.ts';
import { freePorts, run, ServeProcess, temporaryDirectory } from './serve-process.ts';

test('a broker refuses damage, says with --accept-damage what is lost, and then needs the flag no more', async () => {
  await using folder = await temporaryDirectory();
  const serve = ['--data', folder.path, ...freePorts];
  for (const value of ['kept', 'spoiled', 'kept too']) {
    const broker = await ServeProcess.start(serve);
    assert.equal((await run(['produce', 'events', '--data', folder.path], { input: value })).code, 0);
    assert.equal(await broker.end(), 0);
  }
  const path = join(folder.path, 'shard-0', 'wal-000000000001');
  const bytes = await readFile(path);
  bytes.write('?', bytes.indexOf('spoiled'));
  await writeFile(path, bytes);

  const refused = await run(['serve', ...serve]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /wal-000000000001 is damaged at offset \d+: a later frame says that it was on disk/);
  const consume = async (): Promise<string> => (await run(['consume', 'events', '-e', '--data', folder.path])).stdout;
  {
    await using broker = await ServeProcess.start([...serve, '--accept-damage']);
    const told = [
      /"lost":"shard-0\/wal-000000000001 from byte \d+ to byte \d+: 1 groups of commits"/,
      /"lost":"1 messages of 'events', partition 0"/,
    ];
    await waitFor('what is lost to be logged', () => told.every((line) => line.test(broker.stderr)));
    assert.equal(await consume(), 'kept\nkept too\n');
    assert.equal(await broker.end('SIGKILL'), null);
  }
  await using broker = await ServeProcess.start(serve);
  assert.equal(await consume(), 'kept\nkept too\n');
  assert.equal(await broker.end(), 0);
  const { code, stdout } = await run(['dump', '--data', folder.path]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /\n {2}lost shard-0\/wal-000000000001 @\d+ lengthBytes=\d+\n/);
});
