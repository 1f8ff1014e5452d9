// Starts broker-child.ts on a temporary directory, and reads what it logs.
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { within } from '../clients/conditions.ts';
import type { BrokerMemory, FromChild } from './broker-child.ts';

const pinoErrorLevel = 50;
const answerDeadlineMs = 20_000;

export class FuzzedBroker implements AsyncDisposable {
  readonly kafka: string;
  readonly amqp: string;
  /** Lines of level error and above, and whatever is not a log line at all. */
  readonly errors: string[] = [];
  warningCount = 0;
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string, ready: Extract<FromChild, { kind: 'ready' }>) {
    this.#child = child;
    this.#directory = directory;
    this.kafka = ready.kafka;
    this.amqp = ready.amqp;
  }

  static async start(): Promise<FuzzedBroker> {
    const directory = await mkdtemp(join(tmpdir(), 'rosettamq-fuzz-'));
    const child = fork(join(import.meta.dirname, 'broker-child.ts'), [directory], {
      execArgv: ['--expose-gc', '--import', 'tsx'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    const lines = createInterface({ input: child.stderr! });
    const early: string[] = [];
    lines.on('line', (line) => early.push(line));
    const left = once(child, 'exit').then(() => {
      throw new Error(`the broker left before it was ready:\n${early.join('\n')}`);
    });
    const [ready] = (await Promise.race([once(child, 'message'), left])) as [FromChild];
    left.catch(() => {});
    assert.equal(ready.kind, 'ready');
    const broker = new FuzzedBroker(child, directory, ready as Extract<FromChild, { kind: 'ready' }>);
    for (const line of early) broker.#note(line);
    lines.removeAllListeners('line');
    lines.on('line', (line) => broker.#note(line));
    return broker;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async memory(): Promise<BrokerMemory> {
    const answer = once(this.#child, 'message') as Promise<[FromChild]>;
    this.#child.send('memory');
    const [message] = await within('the broker to tell its memory', answer, answerDeadlineMs);
    assert.equal(message.kind, 'memory');
    return (message as Extract<FromChild, { kind: 'memory' }>).memory;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) {
      const exited = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await exited;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }

  #note(line: string): void {
    let level = pinoErrorLevel;
    try {
      ({ level } = JSON.parse(line) as { level: number });
    } catch {
      // A warning of Node's or the end of the process.
    }
    if (level >= pinoErrorLevel) this.errors.push(line);
    else this.warningCount++;
  }
}
