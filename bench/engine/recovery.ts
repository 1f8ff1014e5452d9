/**
 * How long a broker takes from its start to the first durable message, and how much memory it has then, without any socket: after a
 * clean shutdown and after kill -9. Each start is a process of its own, of bundled code, as users run it.
 *
 *   node --import tsx bench/engine/recovery.ts [queues | groups | wal] [rounds]
 *
 *   queues  100,000 queues with 10 messages of 100 bytes each
 *   groups  10,000 partitions (100 topics of 100) with 10 messages each, and 100 groups that have committed offsets of all of a topic
 *   wal     the write-ahead log full: 1 KB messages in one queue
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';

const loads = ['queues', 'groups', 'wal'] as const;
type Load = (typeof loads)[number];

const wanted = loads.filter((load) => process.argv[2] === undefined || process.argv[2] === load);
const rounds = Number(process.argv[3] ?? 3);
const work = mkdtempSync(join(tmpdir(), 'rosettamq-recovery-'));

/** What a process of recovery-broker.ts tells once it serves. */
interface Told {
  readonly openMs: number;
  readonly rssMb: number;
  /** Told at its end: what the slices of its checkpoints took of the event loop, ascending. */
  readonly sliceMs?: readonly number[];
}

/** Below the packages, as those with native code are found from there. */
const bundle = join(import.meta.dirname, '../../.cache/bench/recovery-broker.mjs');
await build({
  entryPoints: [join(import.meta.dirname, 'recovery-broker.ts')],
  outfile: bundle,
  bundle: true,
  format: 'esm',
  platform: 'node',
  packages: 'external',
});

/** Starts a broker over `directory`, tells it how to end once it serves, and resolves with what it told. */
const run = (directory: string, fill: Load | 'none', end: 'close' | 'kill'): Promise<Told> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--expose-gc', bundle, directory, fill], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let told: Told | undefined;
    createInterface({ input: child.stdout }).on('line', (line) => {
      told = { ...told, ...(JSON.parse(line) as Told) };
      if (told.sliceMs !== undefined) return;
      if (end === 'kill') child.kill('SIGKILL');
      else child.stdin.end();
    });
    child.on('error', reject);
    child.on('exit', () => (told === undefined ? reject(new Error('the broker did not start')) : resolve(told)));
  });

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

try {
  for (const load of wanted) {
    const directory = join(work, load);
    const sliceMs = (await run(directory, load, 'close')).sliceMs!;
    const share = (part: number): string => (sliceMs[Math.floor(part * sliceMs.length)] ?? 0).toFixed(2);
    const most = (sliceMs.at(-1) ?? 0).toFixed(1);
    console.log(`${load}: ${sliceMs.length} slices, median ${share(0.5)} ms, p99 ${share(0.99)} ms, most ${most} ms`);
    for (const end of ['close', 'kill'] as const) {
      const starts: Told[] = [];
      // A checkpoint at close says where messages lie, also to starts after later crashes: those are measured without one.
      if (end === 'kill') {
        rmSync(directory, { recursive: true });
        await run(directory, load, end);
      }
      for (let round = 0; round < rounds; round++) starts.push(await run(directory, 'none', end));
      const openMs = median(starts.map((start) => start.openMs));
      const rssMb = median(starts.map((start) => start.rssMb));
      const name = end === 'close' ? 'clean shutdown' : 'kill -9';
      console.log(`${load}: after ${name}: first ack ${openMs.toFixed(0)} ms, RSS ${rssMb.toFixed(0)} MB`);
    }
    rmSync(directory, { recursive: true, force: true });
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
