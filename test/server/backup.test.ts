// Backups of a running broker, restored and read again; and backups that fail.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { cp, open, readFile, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AmqplibSession, publishAll } from '../clients/amqplib-session.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';
import { freePorts, repositoryRoot, run, ServeProcess, serveEntry, temporaryDirectory } from './serve-process.ts';

const numbered = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name} ${i}`);

const succeed = async (args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await run(args);
  assert.equal(code, 0, stderr);
  return stdout;
};

const linesOf = async (args: readonly string[]): Promise<string[]> =>
  (await succeed(args)).split('\n').filter((line) => line !== '');

/** A data directory with 50 messages in a topic. */
const makeData = async (path: string): Promise<void> => {
  const broker = await ServeProcess.start(['--data', path, ...freePorts]);
  const { code, stderr } = await run(['produce', 'events', '--data', path], {
    input: numbered('event', 50).join('\n'),
  });
  assert.equal(code, 0, stderr);
  assert.equal(await broker.end(), 0);
};

const eventsOf = async (path: string): Promise<string[]> => {
  await using broker = await ServeProcess.start(['--data', path, ...freePorts]);
  const events = await linesOf(['consume', 'events', '-e', '--data', path]);
  assert.equal(await broker.end(), 0);
  return events;
};

test('a backup under load has all that was confirmed before it began, of three shards and both protocols', async () => {
  await using folder = await temporaryDirectory();
  const path = (name: string): string => join(folder.path, name);
  const confirmed: string[] = [];
  let before: string[] = [];
  {
    await using broker = await ServeProcess.start(['--data', path('data'), '--set', 'shards=3', ...freePorts]);
    await using amqp = new AmqplibSession(`amqp://guest:guest@127.0.0.1:${broker.port('amqp')}`);
    await using kafka = new KafkajsSession(`127.0.0.1:${broker.port('kafka')}`);
    const channel = await amqp.channel();
    await channel.assertQueue('work', { durable: true });
    await publishAll(channel, 'work', numbered('task', 300));
    for (let i = 0; i < 120; i++) {
      const message = await channel.get('work');
      assert.ok(message !== false);
      channel.ack(message);
    }
    await channel.checkQueue('work');
    const topic = await kafka.createTopic({ partitions: 6 });
    const producer = await kafka.producer();
    let isLoaded = true;
    const load = async (): Promise<void> => {
      for (let round = 0; isLoaded; round++) {
        const values = numbered(`round ${round}`, 30);
        await producer.send({ topic, messages: values.map((value) => ({ value: value.padEnd(200, '.') })) });
        await publishAll(channel, 'work', [`late ${round}`]);
        confirmed.push(...values);
      }
    };
    const loading = load();
    while (confirmed.length < 900) await new Promise((resolve) => setImmediate(resolve));
    before = [...confirmed];
    await succeed(['backup', '--data', path('data'), '--to', path('copy')]);
    await succeed(['backup', '--data', path('data'), '--to', path('copy.tar')]);
    isLoaded = false;
    await loading;
    await succeed(['restore', '--from', path('copy.tar'), '--data', path('unpacked')]);
    for (const name of ['unpacked', 'copy']) {
      await using restored = await ServeProcess.start(['--data', path(name), '--set', 'shards=3', ...freePorts]);
      const values = (await linesOf(['consume', topic, '-e', '--data', path(name)])).map((line) =>
        line.replace(/\.+$/, ''),
      );
      const found = new Set(values);
      assert.equal(found.size, values.length, 'nothing twice');
      assert.deepEqual(
        before.filter((value) => !found.has(value)),
        [],
      );
      const sent = new Set(confirmed);
      assert.deepEqual(
        [...found].filter((value) => !sent.has(value)),
        [],
      );
      const tasks = await linesOf(['consume', 'work', '--peek', '-e', '--data', path(name)]);
      assert.deepEqual(tasks.slice(0, 180), numbered('task', 300).slice(120));
      assert.ok(tasks.slice(180).every((line) => line.startsWith('late ')));
      assert.equal(await restored.end(), 0);
    }
  }
});

test('a backup of a directory that no broker has; tars are those of the system', async () => {
  await using folder = await temporaryDirectory();
  const path = (name: string): string => join(folder.path, name);
  await makeData(path('data'));
  const summary = await succeed(['backup', '--data', path('data'), '--to', path('copy.tar')]);
  assert.match(summary, /copy\.tar: \d+ files, \d+ bytes, as of 20/);
  execFileSync('mkdir', [path('unpacked')]);
  execFileSync('tar', ['-xf', path('copy.tar'), '-C', path('unpacked')]);
  execFileSync('tar', ['-cf', path('repacked.tar'), '-C', path('unpacked'), '.']);
  await succeed(['restore', '--from', path('repacked.tar'), '--data', path('restored')]);
  assert.deepEqual(await eventsOf(path('restored')), numbered('event', 50));
  assert.deepEqual(await eventsOf(path('unpacked')), numbered('event', 50));
  const stream = await open(path('stream.tar'), 'w');
  const child = spawn(process.execPath, [...serveEntry, 'backup', '--data', path('data'), '--to', '-'], {
    cwd: repositoryRoot,
    stdio: ['ignore', stream.fd, 'inherit'],
  });
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  await stream.close();
  assert.match(
    execFileSync('tar', ['-tf', path('stream.tar')]).toString(),
    /shard-0\/wal-\d+(\n.*)*\nbackup\.json\nrosettamq\.json\n$/,
  );
});

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

  const child = spawn(process.execPath, [...serveEntry, 'backup', '--data', path('data'), '--to', '-'], {
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
  const child = spawn(process.execPath, [...serveEntry, 'backup', '--data', path('data'), '--to', '-'], {
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
