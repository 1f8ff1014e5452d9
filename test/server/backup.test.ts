// Backups of a running broker and of a stopped one, restored and read again.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AmqplibSession, publishAll } from '../clients/amqplib-session.ts';
import { KafkajsSession } from '../clients/kafkajs-session.ts';
import { programArgs, repositoryRoot } from '../program.ts';
import { eventsOf, linesOf, makeData, numbered, succeed } from './backup-runs.ts';
import { freePorts, ServeProcess, temporaryDirectory } from './serve-process.ts';

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
  const child = spawn(process.execPath, [...programArgs, 'backup', '--data', path('data'), '--to', '-'], {
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
