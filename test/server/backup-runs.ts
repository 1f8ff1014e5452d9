// What the tests of backups share: small data directories, and commands that succeed.
import assert from 'node:assert/strict';
import { freePorts, run, ServeProcess } from './serve-process.ts';

export const numbered = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${name} ${i}`);

export const succeed = async (args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await run(args);
  assert.equal(code, 0, stderr);
  return stdout;
};

export const linesOf = async (args: readonly string[]): Promise<string[]> =>
  (await succeed(args)).split('\n').filter((line) => line !== '');

/** A data directory with 50 messages in a topic. */
export const makeData = async (path: string): Promise<void> => {
  const broker = await ServeProcess.start(['--data', path, ...freePorts]);
  const { code, stderr } = await run(['produce', 'events', '--data', path], {
    input: numbered('event', 50).join('\n'),
  });
  assert.equal(code, 0, stderr);
  assert.equal(await broker.end(), 0);
};

export const eventsOf = async (path: string): Promise<string[]> => {
  await using broker = await ServeProcess.start(['--data', path, ...freePorts]);
  const events = await linesOf(['consume', 'events', '-e', '--data', path]);
  assert.equal(await broker.end(), 0);
  return events;
};
