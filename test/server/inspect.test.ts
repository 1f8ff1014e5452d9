// The commands that look at a data directory and the machine: doctor and dump, beside a broker and after it.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { nodeVersionMin } from '../../src/server/version.ts';
import { programArgs } from '../program.ts';
import { freePorts, run, ServeProcess, temporaryDirectory } from './serve-process.ts';

interface Check {
  readonly name: string;
  readonly status: string;
  readonly text: string;
  readonly values: Readonly<Record<string, unknown>>;
}

interface Line {
  readonly kind: string;
  readonly file: string;
  readonly offset: number;
  readonly type: string;
}

const messageCount = 2_000;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let broker: ServeProcess;

before(async () => {
  directory = await temporaryDirectory();
  broker = await ServeProcess.start(['--data', directory.path, ...freePorts]);
  const input = Array.from({ length: messageCount }, (_, i) => `message ${i}\n`).join('');
  assert.equal((await run(['produce', 'orders', '--data', directory.path], { input })).code, 0);
});
after(async () => {
  await broker.end('SIGKILL');
  await directory[Symbol.asyncDispose]();
});

const doctor = async (args: readonly string[]): Promise<{ code: number | null; checks: Map<string, Check> }> => {
  const { code, stdout } = await run(['doctor', '--json', ...args]);
  const { checks } = JSON.parse(stdout) as { checks: Check[] };
  return { code, checks: new Map(checks.map((check) => [check.name, check])) };
};

const dump = async (args: readonly string[] = []): Promise<{ code: number | null; lines: Line[] }> => {
  const { code, stdout } = await run(['dump', '--data', directory.path, '--json', ...args]);
  return {
    code,
    lines: stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line),
  };
};

test('doctor examines the directory of a running broker and leaves nothing in it', async () => {
  const names = await readdir(directory.path);
  const { code, checks } = await doctor(['--data', directory.path]);
  assert.equal(code, 0);
  assert.deepEqual(await readdir(directory.path), names);
  assert.equal(checks.get('broker')!.values.isRunning, true);
  assert.equal(checks.get('directory')!.values.shards, 1);
  const { p50Ms, maxMs, count, histogram } = checks.get('synced writes of 4 KiB')!.values as {
    p50Ms: number;
    maxMs: number;
    count: number;
    histogram: { count: number }[];
  };
  assert.ok(p50Ms > 0 && p50Ms <= maxMs, 'times are in order');
  assert.equal(
    histogram.reduce((sum, bucket) => sum + bucket.count, 0),
    count,
  );
  const text = await run(['doctor', '--data', directory.path]);
  assert.match(text.stdout, /^(ok|warn) +synced writes of 64 KiB +median [\d.]+ ms/m);
  assert.match(text.stdout, /^(ok|warn) +memory +[\d.]+ [MG]iB (for this container|in this machine); arena/m);
  assert.match(text.stdout, /^ok +node +\d+\.\d+\.\d+$/m);
});

test('doctor judges the settings, and fails with code 1', async () => {
  const settings = ['connections.max=100000000', 'durability=os'];
  const { code, checks } = await doctor([
    '--data',
    join(directory.path, 'not/yet'),
    ...settings.flatMap((setting) => ['--set', setting]),
  ]);
  assert.equal(code, 0);
  assert.match(checks.get('directory')!.text, /does not exist yet/);
  assert.equal(checks.get('durability')!.status, 'warn');
  if (process.platform === 'linux') assert.equal(checks.get('open files')!.status, 'warn');

  const refused = await doctor(['--data', directory.path, '--set', 'shards=3']);
  assert.equal(refused.code, 1);
  assert.equal(refused.checks.get('directory')!.status, 'fail');
  assert.equal((await run(['doctor', '--set', 'connection.max=1'])).code, 2);
  const { engines } = JSON.parse(await readFile('package.json', 'utf8')) as { engines: { node: string } };
  assert.equal(engines.node, `>=${nodeVersionMin}`);
});

test('dump refuses the directory of a running broker', async () => {
  const { code, stdout, stderr } = await run(['dump', '--data', directory.path]);
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /is in use by another broker: rosettamq \d/);
  assert.doesNotMatch(stderr, /\n {4}at /, 'no stack trace');
});

test('dump shows what a stopped broker has stored, and a broker starts on it afterwards', async () => {
  assert.equal(await broker.end(), 0);
  const { code, lines } = await dump(['--records']);
  assert.equal(code, 0);
  assert.deepEqual([lines[0]!.kind, lines.at(-1)!.kind], ['directory', 'summary']);
  const batches = lines.filter(({ type }) => type === 'batch') as unknown as { lastOffset: number; crc: string }[];
  assert.equal(batches.at(-1)!.lastOffset, messageCount - 1);
  const text = await run(['dump', '--data', directory.path, '--shard', '0', '--file', 'wal-000000000001']);
  assert.match(text.stdout, /^ {2}frame shard-0\/wal-000000000001 @512 sequence=1 .* crc=ok chain=ok/m);
  broker = await ServeProcess.start(['--data', directory.path, ...freePorts]);
  await fillCatalog();
  assert.equal(await broker.end(), 0);
});

const startDump = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [...programArgs, 'dump', '--data', directory.path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });

/** Creates topics whose records in the catalog are more than a pipe holds. */
const fillCatalog = async (): Promise<void> => {
  for (const name of ['large-1', 'large-2', 'large-3', 'large-4']) {
    assert.equal((await run(['topic', 'create', name, '-p', '10000', '--data', directory.path])).code, 0);
  }
};

test('dump ends quietly when nobody reads any more, and keeps brokers away until then', async () => {
  const child = startDump(['--records']);
  let stderr = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  await once(child.stdout!, 'readable');
  const exited = once(child, 'exit');
  await assert.rejects(
    ServeProcess.start(['--data', directory.path, ...freePorts]),
    /in use by another broker: rosettamq dump reads it, process \d+/,
  );
  child.stdout!.destroy();
  assert.deepEqual(await exited, [0, null]);
  assert.equal(stderr, '');
});

test('dump names damage and exits with code 1', async () => {
  const { lines } = await dump();
  const frames = lines.filter(({ kind }) => kind === 'frame');
  const { file, offset } = frames[3]!;
  const handle = await open(join(directory.path, file), 'r+');
  await handle.write(Buffer.from([0xff]), 0, 1, offset + 60);
  await handle.close();
  const damaged = await dump();
  assert.equal(damaged.code, 1);
  const found = damaged.lines.filter(({ kind }) => kind === 'damage');
  assert.deepEqual(
    found.map((line) => [line.file, line.offset]),
    [[file, offset]],
  );
  assert.equal(damaged.lines.filter(({ kind }) => kind === 'frame').length, frames.length);
  const text = await run(['dump', '--data', directory.path]);
  assert.match(text.stdout, new RegExp(`^DAMAGE ${file} @${offset}: frame 4 is damaged or missing`, 'm'));
});

test('mistakes: no data directory, no such shard or file, a directory of another version', async () => {
  const other = join(directory.path, 'other');
  await mkdir(other);
  await writeFile(join(other, 'rosettamq.json'), '{"format":7,"shards":1}');
  const mistakes: [args: string[], message: RegExp][] = [
    [['--data', '/nowhere'], /data directory \/nowhere: ENOENT/],
    [['--data', import.meta.dirname], /is no data directory: there is no rosettamq\.json/],
    [['--data', directory.path, '--shard', '1'], /there is no shard 1; data directory .* has 1/],
    [['--data', directory.path, '--file', 'wal-1'], /there is no file wal-1/],
    [['--data', other], /has format 7; this version reads 1/],
    [['--shard', 'x'], /expected the number of a shard/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stderr } = await run(['dump', ...args]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});
