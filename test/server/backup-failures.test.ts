// Backups that fail or are not whole: nobody takes them for one, and the broker goes on.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { cp, readFile, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { programArgs, repositoryRoot } from '../program.ts';
import { eventsOf, makeData, numbered, succeed } from './backup-runs.ts';
import { freePorts, run, ServeProcess, temporaryDirectory } from './serve-process.ts';

test('what is no whole backup is not restored, and no broker starts from it', async () => {
  await using folder = await temporaryDirectory();
  const path = (name: string): string => join(folder.path, name);
  await makeData(path('data'));
  await succeed(['backup', '--data', path('data'), '--to', path('copy')]);
  await succeed(['backup', '--data', path('data'), '--to', path('copy.tar')]);
  const refused = async (args: readonly string[], message: RegExp): Promise<void> => {
    const { code, stderr } = await run(args);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  };
  const notRestored = async (from: string, message: RegExp): Promise<void> => {
    await refused(['restore', '--from', path(from), '--data', path('restored')], message);
    assert.ok(!existsSync(path('restored')));
  };
  await refused(['backup', '--data', path('data'), '--to', path('copy')], /copy is not empty/);
  await refused(['backup', '--data', path('data'), '--to', path('copy.tar')], /copy\.tar exists already/);
  await refused(['restore', '--from', path('copy'), '--data', path('data')], /data is not empty/);

  const log = join('shard-0', readdirSync(join(path('copy'), 'shard-0')).find((name) => name.startsWith('wal-'))!);
  await cp(path('copy'), path('flipped'), { recursive: true });
  const bytes = await readFile(join(path('copy'), log));
  bytes[700] = bytes[700]! ^ 1;
  await writeFile(join(path('flipped'), log), bytes);
  await notRestored('flipped', /wal-\d+ is not as it was backed up/);
  await cp(path('copy'), path('half'), { recursive: true });
  await unlink(join(path('half'), 'rosettamq.json'));
  await notRestored('half', /half is no complete backup: there is no rosettamq\.json/);
  await refused(['serve', '--data', path('half'), ...freePorts], /there are logs, but rosettamq\.json is missing/);
  await unlink(join(path('copy'), log));
  await notRestored('copy', /wal-\d+ is missing/);
  await truncate(path('copy.tar'), 2_000);
  await notRestored('copy.tar', /the tar ends too early/);
});

test('a target that is full, and a client that goes, leave the broker as it is and no backup', async () => {
  await using folder = await temporaryDirectory();
  const path = (name: string): string => join(folder.path, name);
  await makeData(path('data'));
  await using broker = await ServeProcess.start(['--data', path('data'), ...freePorts]);
  await symlink('/dev/full', path('full.tar.partial'));
  const { code, stderr } = await run(['backup', '--data', path('data'), '--to', path('full.tar')]);
  assert.equal(code, 1);
  assert.match(stderr, /ENOSPC/);
  assert.deepEqual(readdirSync(folder.path), ['data']);

  const child = spawn(process.execPath, [...programArgs, 'backup', '--data', path('data'), '--to', '-'], {
    cwd: repositoryRoot,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'readable');
  child.kill('SIGKILL');
  await once(child, 'exit');
  await succeed(['backup', '--data', path('data'), '--to', path('copy')]);
  assert.equal(await broker.end(), 0);
  await succeed(['restore', '--from', path('copy'), '--data', path('restored')]);
  assert.deepEqual(await eventsOf(path('restored')), numbered('event', 50));
});

test('a broker that is killed while it is copied leaves no backup', async () => {
  await using folder = await temporaryDirectory();
  const path = (name: string): string => join(folder.path, name);
  await makeData(path('data'));
  await using broker = await ServeProcess.start(['--data', path('data'), ...freePorts]);
  const values = numbered('x'.repeat(2000), 400).join('\n');
  assert.equal((await run(['produce', 'ballast', '--data', path('data')], { input: values })).code, 0);
  const child = spawn(process.execPath, [...programArgs, 'backup', '--data', path('data'), '--to', '-'], {
    cwd: repositoryRoot,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  // More than a pipe holds: the copying waits for a reader while the broker dies.
  const parts = [((await once(child.stdout, 'data')) as [Buffer])[0]];
  child.stdout.pause();
  await broker.end('SIGKILL');
  const closed = once(child, 'close');
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  child.stdout.resume();
  assert.deepEqual(await closed, [1, null]);
  await writeFile(path('copy.tar'), Buffer.concat(parts));
  const restored = await run(['restore', '--from', path('copy.tar'), '--data', path('restored')]);
  assert.match(restored.stderr, /the tar ends too early/);
  assert.ok(!existsSync(path('restored')));
  assert.deepEqual(await eventsOf(path('data')), numbered('event', 50));
});
