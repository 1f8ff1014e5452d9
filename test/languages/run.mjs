// The second client suite: confluent-kafka and pika (Python), kafka-clients (Java), franz-go and amqp091-go (Go).
// `npm run test:languages -- pika franz-go` runs only those. Installs what they need below .cache/languages, gives each
// program a broker of its own (or the real peers at ROSETTAMQ_TEST_KAFKA and ROSETTAMQ_TEST_AMQP), and counts the checks
// that the programs report.
//
// A program prints one line a check, `ok - …`, `skip - …` or `not ok - …`, and may print restartRequest: the broker is
// then killed with SIGKILL and started again on the same ports and data, and the program gets `done` on its stdin
// (`unavailable` where the broker is a peer).
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '../..');
const here = import.meta.dirname;
const cache = join(root, '.cache/languages');
const restartRequest = 'request: crash and restart the broker';
const copyDependencies = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
const programTimeoutMs = 150_000;
const installTimeoutMs = 400_000;
const readyTimeoutMs = 20_000;
const exitTimeoutMs = 10_000;

const named = process.argv.slice(2);

const peers = { kafka: process.env.ROSETTAMQ_TEST_KAFKA, amqp: process.env.ROSETTAMQ_TEST_AMQP };
const againstPeers = peers.kafka !== undefined && peers.amqp !== undefined;

const execute = promisify(execFile);

/** @param {string} command @param {string[]} args @param {string} [cwd] */
const install = async (command, args, cwd = here) => {
  try {
    await execute(command, args, { cwd, timeout: installTimeoutMs, maxBuffer: 2 ** 24 });
  } catch (error) {
    const isMissing = /** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT';
    throw isMissing
      ? new Error(`${command} is missing: this suite needs python3, javac, mvn and go on the PATH`)
      : error;
  }
};

const installPython = async () => {
  const venv = join(cache, 'venv');
  const python = join(venv, 'bin/python');
  if (!existsSync(python)) await install('python3', ['-m', 'venv', venv]);
  await install(python, ['-m', 'pip', 'install', '--quiet', '-r', join(here, 'python/requirements.txt')]);
};

const pom = join(here, 'java/pom.xml');
const libs = join(cache, 'java', createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 16));
const classes = join(cache, 'java/classes');

const installJava = async () => {
  if (!existsSync(libs)) {
    const partial = `${libs}-partial`;
    await install('mvn', ['-q', '-B', '-f', pom, copyDependencies, `-DoutputDirectory=${partial}`]);
    renameSync(partial, libs);
  }
  await install('javac', ['-cp', join(libs, '*'), '-d', classes, join(here, 'java/KafkaClient.java')]);
};

const installGo = () => install('go', ['build', '-o', `${join(cache, 'go')}/`, './kafka', './amqp'], join(here, 'go'));

const python = join(cache, 'venv/bin/python');
const classPath = [join(libs, '*'), classes].join(delimiter);

const suites = [
  {
    language: 'Python',
    install: installPython,
    programs: [
      { name: 'confluent-kafka', command: [python, join(here, 'python/kafka_client.py')] },
      { name: 'pika', command: [python, join(here, 'python/amqp_client.py')] },
    ],
  },
  {
    language: 'Java',
    install: installJava,
    programs: [{ name: 'kafka-clients', command: ['java', '-cp', classPath, 'KafkaClient'] }],
  },
  {
    language: 'Go',
    install: installGo,
    programs: [
      { name: 'franz-go', command: [join(cache, 'go/kafka')] },
      { name: 'amqp091-go', command: [join(cache, 'go/amqp')] },
    ],
  },
];

/** @param {string} dataDir @param {number} kafkaPort @param {number} amqpPort */
const serve = async (dataDir, kafkaPort, amqpPort) => {
  const listeners = ['--kafka', `127.0.0.1:${kafkaPort}`, '--amqp', `127.0.0.1:${amqpPort}`];
  const settings = ['--set', 'kafka.group.initial.rebalance.delay.ms=0'];
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'src/server/main.ts', 'serve', '--data', dataDir, ...listeners, ...settings],
    { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  let exited = false;
  child.once('exit', () => {
    exited = true;
  });
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-20_000);
    });
  }
  for (const deadline = performance.now() + readyTimeoutMs; ; ) {
    const kafka = /kafka:\/\/127\.0\.0\.1:(\d+)/.exec(output)?.[1];
    const amqp = /amqp:\/\/(?:[^@\s]*@)?127\.0\.0\.1:(\d+)/.exec(output)?.[1];
    if (kafka !== undefined && amqp !== undefined) {
      return { child, kafkaPort: Number(kafka), amqpPort: Number(amqp) };
    }
    if (exited || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`the broker did not start:\n${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

/** @param {import('node:child_process').ChildProcess} child @param {NodeJS.Signals} signal */
const end = async (child, signal) => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), exitTimeoutMs);
  child.kill(signal);
  await once(child, 'exit');
  clearTimeout(timer);
};

const startBroker = async () => {
  if (againstPeers) {
    return { kafka: peers.kafka, amqp: peers.amqp, crash: async () => 'unavailable', stop: async () => {} };
  }
  const dataDir = mkdtempSync(join(tmpdir(), 'rosettamq-languages-'));
  let running = await serve(dataDir, 0, 0);
  const { kafkaPort, amqpPort } = running;
  return {
    kafka: `127.0.0.1:${kafkaPort}`,
    amqp: `amqp://guest:guest@127.0.0.1:${amqpPort}`,
    crash: async () => {
      await end(running.child, 'SIGKILL');
      running = await serve(dataDir, kafkaPort, amqpPort);
      return 'done';
    },
    stop: async () => {
      await end(running.child, 'SIGTERM');
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
};

const counts = { passed: 0, failed: 0, skipped: 0 };

/** @param {string} what @param {unknown} error */
const fail = (what, error) => {
  counts.failed += 1;
  console.log(`not ok - ${what}\n${error instanceof Error ? error.message : error}`);
};

/** @param {{ name: string, command: string[] }} program */
const runProgram = async ({ name, command }) => {
  console.log(`# ${name}`);
  const broker = await startBroker();
  const [file = '', ...args] = command;
  const child = spawn(file, [...args, broker.kafka ?? '', broker.amqp ?? ''], { stdio: ['pipe', 'pipe', 'inherit'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), programTimeoutMs);
  const failedBefore = counts.failed;
  try {
    const left = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(signal ?? code));
    });
    left.catch(() => {});
    for await (const line of createInterface({ input: child.stdout })) {
      if (line === restartRequest) {
        child.stdin.write(`${await broker.crash()}\n`);
        continue;
      }
      console.log(line);
      if (line.startsWith('ok - ')) counts.passed += 1;
      if (line.startsWith('not ok - ')) counts.failed += 1;
      if (line.startsWith('skip - ')) counts.skipped += 1;
    }
    const status = await left;
    if (status !== 0 && counts.failed === failedBefore) fail(`${name} ran to its end`, `it left with ${status}`);
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await broker.stop();
  }
};

mkdirSync(classes, { recursive: true });
mkdirSync(join(cache, 'go'), { recursive: true });
/** Of the suites, what the command line names; everything where it names nothing. @type {typeof suites} */
const chosen = suites
  .map((suite) => ({
    ...suite,
    programs: suite.programs.filter(({ name }) => named.length === 0 || named.includes(name)),
  }))
  .filter(({ programs }) => programs.length > 0);

for (const suite of chosen) {
  try {
    const startedAt = performance.now();
    await suite.install();
    console.log(`# ${suite.language} installed in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  } catch (error) {
    fail(`install for ${suite.language}`, error);
    continue;
  }
  for (const program of suite.programs) {
    try {
      await runProgram(program);
    } catch (error) {
      fail(program.name, error);
    }
  }
}
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
