// A file system of a few hundred megabytes, in memory, that only this test sees: a mount namespace of its own holds it and
// goes with the process that made it, however the test ends.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmdirSync } from 'node:fs';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataPlace } from '../clients/broker-under-test.ts';

export interface SmallDisk extends DataPlace, AsyncDisposable {}

const holderScript = 'mount -t tmpfs -o "size=$1" rosettamq-test "$2" && echo mounted && exec cat';

/** Ends when its input does, which the end of this process brings about too. */
const startHolder = (sizeBytes: number, dataDir: string): ChildProcess =>
  spawn('unshare', ['--mount', 'sh', '-c', holderScript, 'sh', String(sizeBytes), dataDir], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });

/** Resolves when the file system is there, or with why it cannot be. */
const whyNotMounted = (holder: ChildProcess): Promise<string | undefined> =>
  new Promise((resolve) => {
    let problem = '';
    holder.stderr!.on('data', (chunk: Buffer) => {
      problem += chunk.toString();
    });
    holder.stdout!.once('data', () => resolve(undefined));
    holder.once('error', (error) => resolve(error.message));
    holder.once('exit', (code) => resolve(problem.trim() || `unshare left with ${code}`));
  });

/** The disk, or why this machine does not let the test have one: mounting wants root and a kernel with namespaces. */
export const mountSmallDisk = async (sizeBytes: number): Promise<SmallDisk | string> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'rosettamq-disk-'));
  // Outside of the namespace the folder is empty.
  const clearOnExit = (): void => rmdirSync(dataDir);
  process.once('exit', clearOnExit);
  const clear = async (): Promise<void> => {
    process.off('exit', clearOnExit);
    await rmdir(dataDir);
  };
  const holder = startHolder(sizeBytes, dataDir);
  const problem = await whyNotMounted(holder);
  if (problem !== undefined) {
    await clear();
    return problem;
  }
  return {
    dataDir,
    command: ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, `--wd=${process.cwd()}`],
    [Symbol.asyncDispose]: async () => {
      const exited = once(holder, 'exit');
      holder.stdin!.end();
      await exited;
      await clear();
    },
  };
};
