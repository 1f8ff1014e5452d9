// What much stored data costs: a queue ten million messages deep, folding and a backup under load, a topic of many gigabytes.
// RosettaMQ with itself, empty and full. How to run it and what the rows mean: README.md.
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { RawReport } from './amqp-raw/report.ts';
import { runRaw } from './amqp-raw/run.ts';
import { createTopic, deleteTopic, producerPerformance, tailPerformance } from './kafka-tools.ts';
import { type OursInstance, prepareOurs } from './ours.ts';
import { newDataDir } from './run/cache.ts';
import { runToEnd, ServerProcess } from './run/process.ts';
import { formatTable } from './run/table.ts';

/** As long as any run may take; those that count messages end before. */
const SECONDS_MAX = 1_800;
const SHALLOW_SECONDS = 8;
const SHALLOW_MESSAGES = 1_000_000;
const PAIR_SECONDS = 4;
const BACKUP_PAIRS = 4;
const READY_TIMEOUT_MS = 120_000;
/** After a load, until what it left to do in the background is over. */
const SETTLE_MS = 5_000;
const RECORD_BYTES = 1024;
const PRODUCE_RECORDS = 1_000_000;
/** So much is stored that the log is more than half full, and everything that is written next makes it fold. */
const FOLDING_FROM_BYTES = 2e9;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: ['queue', 'folding', 'backup', 'stored'] },
    messages: { type: 'string', default: '10000000' },
    'fold-runs': { type: 'string', default: '15' },
    'backup-gigabytes': { type: 'string', default: '8' },
    gigabytes: { type: 'string', default: '20' },
  },
});

type Line = readonly [what: string, before: string, after: string, ratio: string, goal: string];
const lines: Line[] = [];
const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const note = (what: string, before: number, after: number, goal: string): void => {
  lines.push([what, whole(before), whole(after), `${(after / before).toFixed(2)}x`, goal]);
  console.error(what, before, after);
};

const start = async (instance: OursInstance): Promise<{ server: ServerProcess; readyMs: number }> => {
  const startedAt = performance.now();
  const ready = [/kafka:\/\/[\d.]+:\d+/, /amqp:\/\/[\d.]+:\d+/];
  const server = await ServerProcess.start({ ...instance.options, ready, readyTimeoutMs: READY_TIMEOUT_MS });
  return { server, readyMs: performance.now() - startedAt };
};

const publish = (amqp: string, queue: string, limit: readonly string[], seconds = SECONDS_MAX): Promise<RawReport> =>
  runRaw(amqp, ['--queue', queue, '--keep', '--window', '1000', ...limit], seconds);

const drain = (amqp: string, queue: string, messages: number): Promise<RawReport> =>
  runRaw(
    amqp,
    ['--queue', queue, '--no-publish', '--consume', '--warmup', '0', '--messages', String(messages)],
    SECONDS_MAX,
  );

/** A queue with a backlog, against one without. */
const deepQueue = async (messages: number): Promise<void> => {
  const instance = await prepareOurs({ durability: 'sync', extraArgs: [] });
  const { server } = await start(instance);
  const { amqp } = instance;
  await sleep(SETTLE_MS);
  const idleMb = server.rssMb;
  const warmUp = await publish(amqp, 'shallow', [], SHALLOW_SECONDS);
  await drain(amqp, 'shallow', warmUp.published);
  const shallow = await publish(amqp, 'shallow', ['--messages', String(SHALLOW_MESSAGES), '--warmup', '0']);
  const shallowDrain = await drain(amqp, 'shallow', shallow.published);
  note('RSS after a shallow load, MB', idleMb, server.rssMb, '');
  let backlog = 0;
  while (backlog < messages) {
    backlog += (await publish(amqp, 'deep', ['--messages', String(messages - backlog)])).published;
  }
  await sleep(SETTLE_MS);
  note('RSS with the backlog, MB', idleMb, server.rssMb, '+60 MB');
  const deep = await publish(amqp, 'deep', ['--messages', String(SHALLOW_MESSAGES), '--warmup', '0']);
  note('queue: confirmed/s, window 1000', shallow.confirmRate, deep.confirmRate, '0.9x');
  const deepDrain = await drain(amqp, 'deep', backlog + deep.published);
  note('queue: drained/s', shallowDrain.consumeRate, deepDrain.consumeRate, '0.9x');
  await server.stop();
};

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN;

const segmentCount = (dataDir: string): number =>
  readdirSync(dataDir, { recursive: true }).filter((name) => /segment-\d+$/.test(String(name))).length;

/** What a publisher flat out and another with one message at a time get from the broker at once. */
const pair = (amqp: string): Promise<RawReport[]> =>
  Promise.all([
    publish(amqp, 'load', [], PAIR_SECONDS),
    runRaw(amqp, ['--queue', 'probe', '--window', '1'], PAIR_SECONDS),
  ]);

const notePairs = (what: string, before: RawReport[][], during: RawReport[][], goals: [string, string]): void => {
  const rate = (all: RawReport[][]): number => median(all.map(([load]) => load!.confirmRate));
  const p99 = (all: RawReport[][]): number => median(all.map(([, probe]) => probe!.confirmLatencyUs!.p99));
  note(`${what}: confirmed/s, window 1000`, rate(before), rate(during), goals[0]);
  note(`${what}: p99 of one message at a time, us`, p99(before), p99(during), goals[1]);
};

/** Both before the log is folded and while it is. */
const folding = async (runs: number): Promise<void> => {
  const instance = await prepareOurs({ durability: 'sync', extraArgs: [] });
  const { server } = await start(instance);
  const { amqp, dataDir } = instance;
  const found = { before: [] as RawReport[][], during: [] as RawReport[][] };
  await publish(amqp, 'warm-up', [], 1);
  for (let run = 0; run < runs; run++) {
    const segments = segmentCount(dataDir);
    const reports = await pair(amqp);
    found[segmentCount(dataDir) > segments ? 'during' : 'before'].push(reports);
    console.error(segmentCount(dataDir), JSON.stringify(reports));
  }
  notePairs('folding', found.before, found.during, ['0.75x', '2x']);
  await server.stop();
};

/** Both before a backup of what is stored and while it is made. */
const backup = async (gigabytes: number): Promise<void> => {
  const instance = await prepareOurs({ durability: 'sync', extraArgs: [] });
  const { server } = await start(instance);
  const { amqp, dataDir, options } = instance;
  await publish(amqp, 'stored', ['--size', '1000', '--messages', String(gigabytes * 1e6)]);
  const before: RawReport[][] = [];
  const during: RawReport[][] = [];
  while (before.length < BACKUP_PAIRS) before.push(await pair(amqp));
  const target = newDataDir('backup');
  let isCopying = true;
  const args = [options.args[0]!, 'backup', '--data', dataDir, '--to', target];
  const startedAt = performance.now();
  const copying = runToEnd({ command: options.command, args }, SECONDS_MAX * 1000).finally(() => {
    isCopying = false;
  });
  while (isCopying) {
    const reports = await pair(amqp);
    if (isCopying) during.push(reports);
  }
  await copying;
  console.error(`the backup took ${performance.now() - startedAt} ms`);
  notePairs('backup', before, during, ['', '']);
  await server.stop();
};

const kafkaLoads = async (kafka: string, topic: string): Promise<{ produced: number; tailed: number }> => {
  const load = { recordCount: PRODUCE_RECORDS, recordSizeBytes: RECORD_BYTES, properties: ['batch.size=65536'] };
  await createTopic(kafka, topic, 1);
  const { ratePerSecond } = await producerPerformance(kafka, topic, load);
  const [tailed] = await Promise.all([
    tailPerformance(kafka, topic, PRODUCE_RECORDS / 2),
    producerPerformance(kafka, topic, load),
  ]);
  await deleteTopic(kafka, topic);
  return { produced: ratePerSecond, tailed };
};

/** A broker with a large topic, against itself when it was empty. */
const stored = async (gigabytes: number): Promise<void> => {
  const instance = await prepareOurs({ durability: 'sync', extraArgs: [] });
  const { kafka } = instance;
  let { server } = await start(instance);
  await kafkaLoads(kafka, 'warm-up');
  const empty = await kafkaLoads(kafka, 'empty');
  await server.stop();
  const emptyStart = await start(instance);
  server = emptyStart.server;
  const fill = async (bytes: number): Promise<void> => {
    const recordCount = Math.ceil(bytes / RECORD_BYTES);
    const load = { recordCount, recordSizeBytes: RECORD_BYTES, properties: ['batch.size=65536'] };
    await producerPerformance(kafka, 'stored', load);
    await sleep(SETTLE_MS);
  };
  await createTopic(kafka, 'stored', 1);
  await fill(FOLDING_FROM_BYTES);
  const folding = await kafkaLoads(kafka, 'folding');
  await fill(gigabytes * 1e9 - FOLDING_FROM_BYTES);
  console.error('RSS after the fill, MB', server.rssMb);
  await server.stop();
  const fullStart = await start(instance);
  server = fullStart.server;
  note(`${gigabytes} GB stored: start, ms`, emptyStart.readyMs, fullStart.readyMs, '1.1x');
  await kafkaLoads(kafka, 'warm-up-again');
  const full = await kafkaLoads(kafka, 'full');
  note(`${gigabytes} GB stored: produced/s`, empty.produced, full.produced, '0.9x');
  note(`${gigabytes} GB stored: consumed at the tail/s`, empty.tailed, full.tailed, '0.9x');
  note(`${gigabytes} GB against 2 GB: produced/s`, folding.produced, full.produced, '0.9x');
  note(`${gigabytes} GB against 2 GB: consumed at the tail/s`, folding.tailed, full.tailed, '0.9x');
  await server.stop();
};

if (values.only.includes('queue')) await deepQueue(Number(values.messages));
if (values.only.includes('folding')) await folding(Number(values['fold-runs']));
if (values.only.includes('backup')) await backup(Number(values['backup-gigabytes']));
if (values.only.includes('stored')) await stored(Number(values.gigabytes));
console.log(formatTable(['what', 'before', 'after', 'after / before', 'goal'], lines));
