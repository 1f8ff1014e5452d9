import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connectToOwner, lockDirectory } from './lock.ts';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'rosettamq-lock-')));
after(() => rmSync(root, { recursive: true }));

let directories = 0;
const newDirectory = (): string => {
  const path = join(root, String(directories++));
  mkdirSync(path);
  return path;
};

const answerStatus = (socket: Socket): void => {
  const result = { version: '9.9', pid: 17, host: 'elsewhere', startedAt: 'yesterday' };
  socket.once('data', () => socket.write(`${JSON.stringify({ result })}\n`));
};

const holderSource = `
  import { lockDirectory } from ${JSON.stringify(new URL('./lock.ts', import.meta.url).href)};
  lockDirectory(process.argv[1], () => {}).then(
    () => process.stdout.write('holds'),
    (error) => process.stdout.write(error.kind),
  );
  setInterval(() => {}, 1000);
`;

/** Another process that tries to lock the directory, and what it says. */
const tryFromOutside = async (path: string): Promise<{ said: string; kill: () => Promise<void> }> => {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', holderSource, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  const kill = async (): Promise<void> => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return { said: said.toString(), kill };
};

test('a second broker is refused and told who has the directory', async () => {
  const path = newDirectory();
  const lock = await lockDirectory(path, answerStatus);
  await assert.rejects(
    lockDirectory(path, () => {}),
    {
      kind: 'locked',
      message: `data directory ${path} is in use by another broker: rosettamq 9.9, process 17 on elsewhere, started yesterday`,
    },
  );
  await lock.release();
  await (await lockDirectory(path, () => {})).release();
});

test('a holder that does not answer still holds', async () => {
  const path = newDirectory();
  const lock = await lockDirectory(path, () => {});
  await assert.rejects(
    lockDirectory(path, () => {}),
    /does not answer/,
  );
  await lock.release();
});

test('the socket of a killed process is taken over', async () => {
  const path = newDirectory();
  for (let round = 0; round < 2; round++) {
    const holder = await tryFromOutside(path);
    assert.equal(holder.said, 'holds');
    await assert.rejects(
      lockDirectory(path, () => {}),
      { kind: 'locked' },
    );
    await holder.kill();
  }
  const lock = await lockDirectory(path, () => {});
  assert.deepEqual(readdirSync(path), ['broker.3.sock']);
  await lock.release();
});

test('of many that start at once over a dead socket, one wins', async () => {
  const path = newDirectory();
  for (let round = 0; round < 10; round++) {
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => lockDirectory(path, answerStatus)));
    const winners = results.filter((result) => result.status === 'fulfilled');
    assert.equal(winners.length, 1);
    for (const result of results) {
      if (result.status === 'rejected') assert.equal((result.reason as { kind: string }).kind, 'locked');
    }
    await winners[0]!.value.release();
  }
});

test('of several processes that start at once, one wins', async () => {
  const path = newDirectory();
  const starters = await Promise.all(Array.from({ length: 4 }, () => tryFromOutside(path)));
  assert.equal(starters.filter(({ said }) => said === 'holds').length, 1);
  await Promise.all(starters.map(({ kill }) => kill()));
});

test('a path longer than a socket address works on Linux', { skip: process.platform !== 'linux' }, async () => {
  const path = join(newDirectory(), 'x'.repeat(120), 'y'.repeat(120));
  mkdirSync(path, { recursive: true });
  const lock = await lockDirectory(path, answerStatus);
  await assert.rejects(
    lockDirectory(path, () => {}),
    { kind: 'locked' },
  );
  const socket = await connectToOwner(path);
  assert.ok(socket !== undefined);
  socket.destroy();
  await lock.release();
  assert.equal(await connectToOwner(path), undefined);
});

test('nobody owns a directory that is empty or missing', async () => {
  assert.equal(await connectToOwner(newDirectory()), undefined);
  assert.equal(await connectToOwner(join(root, 'missing')), undefined);
});
