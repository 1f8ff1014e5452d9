// The commands that talk to a running broker: what is produced is consumed again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  type CommandResult,
  freePorts,
  type RunOptions,
  run,
  ServeProcess,
  temporaryDirectory,
} from './serve-process.ts';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let broker: ServeProcess;

before(async () => {
  directory = await temporaryDirectory();
  broker = await ServeProcess.start(['--data', directory.path, ...freePorts]);
});
after(async () => {
  assert.equal(await broker.end(), 0);
  await directory[Symbol.asyncDispose]();
});

const command = (args: readonly string[], options?: RunOptions): Promise<CommandResult> =>
  run([...args, '--data', directory.path], options);

const output = async (args: readonly string[], options?: RunOptions): Promise<string> => {
  const { code, stdout, stderr } = await command(args, options);
  assert.equal(code, 0, stderr);
  return stdout;
};

test('a topic: create, produce with keys and headers, consume, describe, delete', async () => {
  await output(['topic', 'create', 'orders', '--partitions', '2', '--topic-config', 'retention.ms=1000']);
  await output(['produce', 'orders', '-k', ':', '-H', 'trace=7', '-p', '0'], { input: 'k1:one\nk2:two\n' });
  await output(['produce', 'orders', '-p', '1'], { input: 'three\n' });
  const format = ['-f', '%p %o %k=%s %h %S\\n'];
  assert.equal(
    await output(['consume', 'orders', '-e', '-p', '0', ...format]),
    '0 0 k1=one trace=7 3\n0 1 k2=two trace=7 3\n',
  );
  assert.equal(await output(['consume', 'orders', '-e', '-p', '1', ...format]), '1 0 =three  5\n');
  const all = await output(['consume', 'orders', '-e']);
  assert.deepEqual(all.trimEnd().split('\n').sort(), ['one', 'three', 'two']);
  assert.equal(await output(['consume', 'orders', '-e', '-p', '0', '-o', '1']), 'two\n');
  assert.equal(await output(['consume', 'orders', '-e', '-p', '0', '-o', '-1']), 'two\n');
  assert.equal(await output(['consume', 'orders', '-e', '-p', '0', '-c', '1']), 'one\n');
  const listed = JSON.parse(await output(['topic', 'list', '--json'])) as object[];
  assert.deepEqual(listed, [{ name: 'orders', partitions: 2, messages: 3 }]);
  const described = JSON.parse(await output(['topic', 'describe', 'orders', '--json'])) as {
    config: object;
    partitions: object;
  };
  assert.deepEqual(described.config, { 'retention.ms': '1000' });
  assert.deepEqual(described.partitions, [
    { partition: 0, start: 0, end: 2 },
    { partition: 1, start: 0, end: 1 },
  ]);
  await output(['topic', 'delete', 'orders']);
  assert.match((await command(['topic', 'describe', 'orders'])).stderr, /there is no topic 'orders'/);
});

test('a queue: create, produce, peek, consume what is taken off it, delete', async () => {
  await output(['queue', 'create', 'tasks']);
  await output(['produce', 'tasks'], { input: 'one\ntwo\nthree\n' });
  assert.equal(await output(['consume', 'tasks', '--peek', '-e']), 'one\ntwo\nthree\n');
  assert.equal(await output(['consume', 'tasks', '-c', '2']), 'one\ntwo\n');
  assert.equal(await output(['consume', 'tasks', '-e', '-f', '%o %s\\n']), '2 three\n');
  assert.equal(await output(['consume', 'tasks', '-e']), '');
  const [queue] = JSON.parse(await output(['queue', 'list', '--json'])) as object[];
  assert.deepEqual(queue, { name: 'tasks', ready: 0, unacked: 0, consumers: 0, topic: null });
  await output(['queue', 'delete', 'tasks', '--if-empty', '--if-unused']);
  assert.deepEqual(JSON.parse(await output(['queue', 'list', '--json'])), []);
});

test('a queue may be a subscription on a topic', async () => {
  await output(['produce', 'events'], { input: 'a\nb\n' });
  await output(['queue', 'create', 'mail', '--topic', 'events']);
  assert.equal(await output(['consume', 'mail', '-c', '1']), 'a\n');
  assert.equal(await output(['consume', 'mail', '-e']), 'b\n');
  assert.equal(await output(['consume', 'events', '-e']), 'a\nb\n');
  assert.match((await command(['produce', 'mail'], { input: 'x' })).stderr, /produce to the topic/);
});

test('a group: create, list, describe, delete', async () => {
  await output(['produce', 'clicks'], { input: 'a\nb\n' });
  await output(['group', 'create', 'readers', '--topic', 'clicks', '--start', 'next']);
  await output(['produce', 'clicks'], { input: 'c\n' });
  assert.deepEqual(JSON.parse(await output(['group', 'list', '--json'])), [{ name: 'readers', members: 0, lag: 1 }]);
  assert.match(await output(['group', 'describe', 'readers']), /clicks +0 +2 +1/);
  await output(['group', 'delete', 'readers']);
  assert.match((await command(['group', 'describe', 'readers'])).stderr, /there is no group 'readers'/);
});

test('many and large messages pass', async () => {
  const lines = Array.from({ length: 5000 }, (_, i) => `${i}-${'x'.repeat(i % 200)}`);
  const input = `${lines.join('\n')}\n${'y'.repeat(3_000_000)}\n`;
  await output(['topic', 'create', 'bulk', '--topic-config', 'max.message.bytes=4000000']);
  assert.equal(await output(['produce', 'bulk', '--json'], { input }), '{"count":5001}\n');
  assert.equal(await output(['consume', 'bulk', '-e']), input);
  await output(['queue', 'create', 'bulk-queue']);
  await output(['produce', 'bulk-queue'], { input });
  assert.equal(await output(['consume', 'bulk-queue', '-e']), input);
});

test('errors are one line and a code', async () => {
  const failures: [args: string[], message: RegExp][] = [
    [['consume', 'nothing'], /there is no topic or queue 'nothing'/],
    [['topic', 'create', 'bad name'], /Topic name is invalid/],
    [['topic', 'create', 'x', '-c', 'retention.m=1'], /retention\.m; did you mean 'retention\.ms'\?/],
    [['topic', 'create', 'x', '-c', 'retention.ms'], /--topic-config: expected NAME=VALUE, not 'retention\.ms'/],
    [['topic', 'create', 'x', '-p', '10001'], /a topic has 1 to 10000 partitions, not 10001/],
    [['queue', 'create', 'x', '--start', 'next'], /only a subscription has a start/],
    [['queue', 'create', 'amq.mine'], /amq\./],
    [['queue', 'describe', 'nothing'], /there is no queue 'nothing'/],
    [['consume', 'x', '-f', '%z'], /unknown field '%z'/],
  ];
  for (const [args, message] of failures) {
    const { code, stdout, stderr } = await command(args);
    assert.notEqual(code, 0);
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n {4}at /, 'no stack trace');
  }
  const elsewhere = await run(['topic', 'list', '--data', '/nowhere']);
  assert.match(elsewhere.stderr, /no broker runs on the data directory \/nowhere/);
});

test('options that do not fit what is named are refused, and leave nothing behind', async () => {
  await output(['queue', 'create', 'jobs']);
  await output(['topic', 'create', 'log', '-p', '2']);
  await output(['produce', 'log', '-p', '1'], { input: 'one\n' });
  const mistakes: [args: string[], message: RegExp][] = [
    [['produce', 'jobs', '-p', '5'], /'jobs' is a queue: it has no partitions/],
    [['produce', 'unmade', '-p', '3'], /topic 'unmade' has the partitions 0 to 0/],
    [['produce', 'log', '-p', '-1'], /topic 'log' has the partitions 0 to 1/],
    [
      ['group', 'create', 'readers', '--topic', 'log', '--start', 'sideways'],
      /starts at first or next, not 'sideways'/,
    ],
    [['consume', 'log', '--peek', '-e'], /'log' is a topic: only from queues is anything taken/],
    [['consume', 'log', '-o', '9999'], /offset 9999 is out of range: 'log' ends at 1/],
    [['consume', 'log', '-p', '0', '-o', '1', '-e'], /offset 1 is out of range: 'log' ends at 0/],
    [['consume', 'jobs', '--peek', '-o', '7', '-e'], /offset 7 is out of range: 'jobs' ends at 0/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await command([...args, '--json'], { input: 'lost\n' });
    assert.equal(code, 1, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, message);
  }
  assert.equal(await output(['consume', 'jobs', '-e']), '');
  assert.equal(await output(['consume', 'log', '-e', '-o', '1']), '', 'the end of a partition is in range');
  assert.equal((await command(['topic', 'describe', 'unmade'])).code, 1);
  assert.equal((await command(['group', 'describe', 'readers'])).code, 1);
  await output(['topic', 'delete', 'log']);
  await output(['queue', 'delete', 'jobs']);
});

test('mistakes on the command line are refused with the nearest name and code 2', async () => {
  const mistakes: [args: string[], message: RegExp][] = [
    [['topic', 'lst'], /unknown command 'lst'\n\(Did you mean list\?\)/],
    [['consume', 'x', '--exti'], /unknown option '--exti'\n\(Did you mean --exit\?\)/],
    [['consume', 'x', '-c', '0'], /expected a number from 1 on/],
    [['consume', 'x', '-o', 'middle'], /expected beginning, end, an offset/],
    [['group', 'create', 'x'], /required option '--topic <TOPIC>' not specified/],
    [
      ['serve', '--set', 'num.partitions=3'],
      /unknown setting 'num\.partitions'; did you mean 'kafka\.num\.partitions'\?/,
    ],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await command(args);
    assert.equal(code, 2, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, message);
  }
  assert.equal((await run(['consume', '--help'])).code, 0);
  assert.equal((await run(['--version'])).code, 0);
});

test('status says who it is', async () => {
  const status = JSON.parse(await output(['status', '--json'])) as { pid: number; state: string; kafka: string[] };
  assert.equal(status.pid, broker.process.pid);
  assert.equal(status.state, 'open');
  assert.deepEqual(status.kafka, [`127.0.0.1:${broker.port('kafka')}`]);
});
