// `rosettamq serve` as a process: its ready lines, its signals, its lock.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from 'amqplib';
import { settings } from '../../src/server/config-schema.ts';
import { version } from '../../src/server/version.ts';
import { freePorts, run, ServeProcess, temporaryDirectory } from './serve-process.ts';

test('the ready lines name the real ports and lines to copy', async () => {
  await using directory = await temporaryDirectory();
  await using broker = await ServeProcess.start(['--data', directory.path, ...freePorts]);
  const lines = broker.ready.split('\n');
  assert.match(
    lines[0]!,
    new RegExp(`^rosettamq ${version.replaceAll('.', '\\.')} ready in \\d+ ms, data in .* \\(durability sync\\)$`),
  );
  assert.equal(lines[1], `  kafka  kafka://127.0.0.1:${broker.port('kafka')}`);
  assert.equal(lines[2], `  amqp   amqp://127.0.0.1:${broker.port('amqp')}`);
  assert.match(broker.ready, /echo hello \| .* produce greetings --data /);
  assert.match(broker.ready, /consume greetings --exit/);
  assert.match(broker.ready, new RegExp(`kcat -P -b 127\\.0\\.0\\.1:${broker.port('kafka')} -t`));
  assert.match(
    broker.ready,
    new RegExp(`amqp-publish --url=amqp://guest:guest@127\\.0\\.0\\.1:${broker.port('amqp')} `),
  );
  for (const protocol of ['kafka', 'amqp'] as const) {
    const socket = connectSocket(broker.port(protocol), '127.0.0.1');
    await once(socket, 'connect');
    socket.destroy();
  }
  assert.equal(await broker.end(), 0);
});

/** The one broker of a Metadata response, version 1, asked for no topics. */
const advertisedAt = async (port: number): Promise<string> => {
  const socket = connectSocket(port, '127.0.0.1');
  const request = Buffer.alloc(18);
  request.writeInt32BE(14, 0); // length; then api key, version, correlation id, client id, number of topics
  request.writeInt16BE(3, 4);
  request.writeInt16BE(1, 6);
  request.writeInt32BE(7, 8);
  request.writeInt16BE(-1, 12);
  socket.write(request);
  let response = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    response = Buffer.concat([response, chunk]);
    if (response.length >= 4 && response.length >= 4 + response.readInt32BE(0)) break;
  }
  assert.equal(response.readInt32BE(8), 1, 'number of brokers');
  const hostEnd = 18 + response.readInt16BE(16);
  return `${response.toString('utf8', 18, hostEnd)}:${response.readInt32BE(hostEnd)}`;
};

test('Kafka clients are told the advertised address of the listener that they used; port 0 is the real one', async () => {
  await using broker = await ServeProcess.start([
    ...['--memory', '--amqp', '127.0.0.1:0', '--kafka', '127.0.0.1:0', '--kafka', '127.0.0.1:0'],
    ...['--kafka-advertised', 'localhost:0', '--kafka-advertised', 'kafka.example:9999'],
  ]);
  const ports = [...broker.ready.matchAll(/kafka:\/\/127\.0\.0\.1:(\d+)/g)].map((match) => Number(match[1]));
  assert.equal(ports.length, 2);
  const told = await Promise.all(ports.map(advertisedAt));
  assert.deepEqual(told, [`localhost:${ports[0]}`, 'kafka.example:9999']);
});

test('SIGTERM tells AMQP clients, keeps what was committed and exits with 0', async () => {
  await using directory = await temporaryDirectory();
  const args = ['--data', directory.path, ...freePorts];
  const first = await ServeProcess.start(args);
  const connection = await connect(`amqp://guest:guest@127.0.0.1:${first.port('amqp')}`);
  const told = new Promise<Error>((resolve) => connection.on('error', resolve));
  const closed = once(connection, 'close');
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('tasks', { durable: true });
  channel.sendToQueue('tasks', Buffer.from('kept'), { persistent: true });
  await channel.waitForConfirms();
  connection.on('close', () => {});
  const code = first.end('SIGTERM');
  // amqplib counts 320 as an orderly close and reports no error.
  const [reason] = (await Promise.race([closed, told.then((error) => [error])])) as [Error | undefined];
  assert.match(String(reason), /"CONNECTION_FORCED - broker is shutting down"/);
  assert.equal(await code, 0);

  await using second = await ServeProcess.start(args);
  const again = await connect(`amqp://guest:guest@127.0.0.1:${second.port('amqp')}`);
  const message = await (await again.createChannel()).get('tasks', { noAck: true });
  assert.ok(message !== false);
  assert.equal(message.content.toString(), 'kept');
  await again.close();
});

test('a second broker on the directory is refused; after kill -9 the directory is free', async () => {
  await using directory = await temporaryDirectory();
  const args = ['--data', directory.path, ...freePorts];
  const first = await ServeProcess.start(args);
  const second = await run(['serve', ...args]);
  assert.equal(second.code, 1);
  assert.equal(second.stdout, '');
  assert.match(
    second.stderr,
    new RegExp(`in use by another broker: rosettamq ${version}, process ${first.process.pid} on`),
  );
  await first.end('SIGKILL');
  await using third = await ServeProcess.start(args);
  assert.equal(await third.end('SIGINT'), 0);
});

test('mistakes are explained in one line', async () => {
  const mistakes: [args: string[], message: RegExp][] = [
    [
      ['--set', 'kafka.num.partition=4'],
      /unknown setting 'kafka\.num\.partition'; did you mean 'kafka\.num\.partitions'\?/,
    ],
    [['--durability', 'never'], /--durability: durability must be one of sync, os/],
    [['--set', 'kafka.log.dirs=/x'], /the nearest is 'kafka\.log\.[a-z.]+', 'rosettamq settings' lists all/],
    [['--kafka=', '--amqp='], /a broker in memory without listeners cannot be reached/],
    [['--kafka', 'nonsense'], /listeners\.kafka: expected HOST:PORT/],
    [['--kafkaa', '127.0.0.1:0'], /unknown option '--kafkaa'.*\n.*Did you mean --kafka\?/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await run(['serve', '--memory', ...args]);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n {4}at /, 'no stack trace');
  }
});

test('a data directory that cannot be made is refused, also where the system says that its parent is missing', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'file'), '');
  const impossible = [join(directory.path, 'file'), join(directory.path, 'file', 'data')];
  if (process.platform === 'linux') impossible.push('/proc/data', '/proc/data/below');
  for (const path of impossible) {
    const { code, stderr } = await run(['serve', '--data', path, ...freePorts]);
    assert.equal(code, 2, path);
    assert.match(stderr, /^rosettamq: data directory .*: E[A-Z]+: .*\n$/);
  }
  await using broker = await ServeProcess.start(['--data', join(directory.path, 'a', 'b'), ...freePorts]);
  assert.equal(await broker.end(), 0);
});

test('--help names every setting and every flag; `settings` explains them', async () => {
  const { stdout: help } = await run(['serve', '--help']);
  const { stdout: text } = await run(['settings']);
  const { stdout: json } = await run(['settings', '--json']);
  const listed = JSON.parse(json) as { name: string; documentation: string }[];
  assert.deepEqual(
    listed.map(({ name }) => name),
    settings.map(({ name }) => name),
  );
  for (const { name, flag, documentation } of settings) {
    assert.ok(help.includes(`  ${name}=`), `${name} in --help`);
    assert.ok(text.includes(`${name}=`), `${name} in settings`);
    if (flag !== undefined) assert.ok(help.includes(`--${flag.name}`), `--${flag.name} in --help`);
    assert.ok(documentation.length > 10 && documentation.endsWith('.'), `documentation of ${name}`);
  }
});
