// Starting, stopping and accounting of the processes a bench needs: brokers that stay up, and tools that run to their end.
// Accounting reads /proc, so the benches run on Linux only. What still runs when the bench exits is killed with it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** Ticks a second in /proc/PID/stat: USER_HZ, 100 on every Linux that Node supports. */
const TICKS_PER_SECOND = 100;
const STOP_TIMEOUT_MS = 20_000;
/** How much of a failed tool's error output goes into the error. */
const ERROR_TAIL_CHARS = 2_000;

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface ServerOptions extends Command {
  readonly name: string;
  /** Receives everything the server prints. */
  readonly logFile: string;
  /** Name of the process to account for when the command is only a launcher around it; the command itself if absent. */
  readonly brokerName?: string;
}

export interface Usage {
  readonly cpuSeconds: number;
  readonly rssPeakMb: number;
}

const running = new Set<ServerProcess>();
process.on('exit', () => {
  for (const server of running) server.killNow();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/** The fields of /proc/PID/stat that follow the process name: [0] state, [1] parent, [11] utime, [12] stime. */
const statFields = (pid: number): string[] => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return []; // gone
  }
};

const processTree = (root: number): number[] => {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), parent: Number(statFields(Number(name))[1]) }));
  const tree = [root];
  for (const pid of tree) tree.push(...parents.filter(({ parent }) => parent === pid).map((child) => child.pid));
  return tree;
};

const processName = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
  } catch {
    return ''; // gone
  }
};

const statusMb = (pid: number, field: 'VmHWM' | 'VmRSS'): number => {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  return Number(match?.[1] ?? Number.NaN) / 1024;
};

/** A broker. Owns its child process. */
export class ServerProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #options: ServerOptions;
  readonly #lines: string[] = [];
  /** Set while someone waits for a line; lines are kept only then. */
  #onLine: (() => void) | undefined;

  private constructor(options: ServerOptions) {
    this.name = options.name;
    this.#options = options;
    this.#child = spawn(options.command, options.args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    this.#exited = once(this.#child, 'exit').then(() => {
      running.delete(this);
      this.#onLine?.();
    });
    const log = createWriteStream(options.logFile, { flags: 'a' });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.pipe(log, { end: false });
      createInterface({ input: stream }).on('line', (line) => {
        if (this.#onLine === undefined) return;
        this.#lines.push(line);
        this.#onLine();
      });
    }
    running.add(this);
  }

  /** Returns at once; the server may not be ready yet. */
  static spawn(options: ServerOptions): ServerProcess {
    return new ServerProcess(options);
  }

  /** Returns when each pattern has matched a line of output. */
  static async start(
    options: ServerOptions & { ready: readonly RegExp[]; readyTimeoutMs: number },
  ): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    try {
      await server.#waitFor(options.ready, options.readyTimeoutMs);
    } catch (error) {
      await server.kill();
      throw error;
    }
    return server;
  }

  #waitFor(patterns: readonly RegExp[], timeoutMs: number): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#failure(`not ready after ${timeoutMs} ms`)), timeoutMs);
      const settle = (then: () => void) => {
        clearTimeout(timer);
        this.#onLine = undefined;
        then();
      };
      this.#onLine = () => {
        if (patterns.every((pattern) => this.#lines.some((line) => pattern.test(line)))) settle(resolve);
        else if (this.hasExited) settle(() => reject(this.#failure('exited before it was ready')));
      };
    });
  }

  #failure(what: string): Error {
    return new Error(`${this.name}: ${what}; see ${this.#options.logFile}\n${this.#lines.slice(-5).join('\n')}`);
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The broker's own process: below the launcher if there is one. */
  get pid(): number {
    const root = this.#child.pid!;
    const { brokerName } = this.#options;
    if (brokerName === undefined) return root;
    return processTree(root).find((pid) => processName(pid) === brokerName) ?? root;
  }

  /** User and system time of the broker, its threads and its children since they started. */
  get cpuSeconds(): number {
    const ticks = processTree(this.pid).map((pid) => {
      const fields = statFields(pid);
      return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
    });
    return ticks.reduce((sum, each) => sum + each, 0) / TICKS_PER_SECOND;
  }

  get rssMb(): number {
    return statusMb(this.pid, 'VmRSS');
  }

  /** What the broker used while `work` ran. */
  async measure<T>(work: () => Promise<T>): Promise<{ result: T; usage: Usage }> {
    const pid = this.pid;
    writeFileSync(`/proc/${pid}/clear_refs`, '5'); // sets VmHWM back to the present RSS
    const before = this.cpuSeconds;
    const result = await work();
    return { result, usage: { cpuSeconds: this.cpuSeconds - before, rssPeakMb: statusMb(pid, 'VmHWM') } };
  }

  /** Asks the broker to end, and kills it when it takes too long. */
  async stop(): Promise<void> {
    if (!this.hasExited) process.kill(this.pid, 'SIGTERM');
    await Promise.race([this.#exited, sleep(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    await this.kill();
  }

  /** kill -9 of the broker; returns when it is gone. */
  async kill(): Promise<void> {
    this.killNow();
    await this.#exited;
  }

  killNow(): void {
    if (this.hasExited) return;
    process.kill(this.pid, 'SIGKILL');
    this.#child.kill('SIGKILL');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Runs a tool to its end and returns what it printed on stdout; a failure carries the end of its error output. */
export const runToEnd = async (
  { command, args, env }: Command,
  timeoutMs: number,
  abort?: AbortSignal,
): Promise<string> => {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  abort?.addEventListener('abort', kill);
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-ERROR_TAIL_CHARS);
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  process.off('exit', kill);
  if (code === 0) return output;
  throw new Error(`${command} ended with ${signal ?? code}: ${errors}${output.slice(-ERROR_TAIL_CHARS)}`);
};
