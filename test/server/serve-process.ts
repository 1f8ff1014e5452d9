// The command line as a user runs it: the broker in a child process, and single commands.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programArgs, repositoryRoot } from '../program.ts';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

const spawnEntry = (args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess =>
  spawn(process.execPath, [...programArgs, ...args], {
    cwd: repositoryRoot,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });

/** Runs one command to its end. */
export const run = async (args: readonly string[], { input = '', env }: RunOptions = {}): Promise<CommandResult> => {
  const child = spawnEntry(args, env);
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr!.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin!.on('error', () => {});
  child.stdin!.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
};

export class ServeProcess {
  readonly process: ChildProcess;
  /** Everything on standard output until it was ready. */
  readonly ready: string;
  stderr = '';

  private constructor(child: ChildProcess, ready: string) {
    this.process = child;
    this.ready = ready;
  }

  /** Resolves with the first lines on standard output. */
  static async start(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<ServeProcess> {
    const child = spawnEntry(['serve', ...args], env);
    let stderr = '';
    child.stderr!.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const left = once(child, 'close').then(([code]) => {
      throw new Error(`serve left with ${code} before it was ready: ${stderr}`);
    });
    const [ready] = (await Promise.race([once(child.stdout!, 'data'), left])) as [Buffer];
    left.catch(() => {});
    const served = new ServeProcess(child, ready.toString());
    served.stderr = stderr;
    child.stderr!.on('data', (chunk: Buffer) => {
      served.stderr += chunk.toString();
    });
    return served;
  }

  port(protocol: 'kafka' | 'amqp'): number {
    const found = new RegExp(`${protocol}://[^\\s]*:(\\d+)`).exec(this.ready);
    if (found === null) throw new Error(`no ${protocol} address in: ${this.ready}`);
    return Number(found[1]);
  }

  /** Resolves with the exit code, null after SIGKILL. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return this.process.exitCode;
    const exited = once(this.process, 'exit');
    this.process.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}

/** A temporary directory, removed at the end of the scope. */
export const temporaryDirectory = async (): Promise<{ path: string } & AsyncDisposable> => {
  const path = await mkdtemp(join(tmpdir(), 'rosettamq-server-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
};

export const freePorts = ['--kafka', '127.0.0.1:0', '--amqp', '127.0.0.1:0'];
