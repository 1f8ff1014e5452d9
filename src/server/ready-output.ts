/** What `serve` prints when clients may connect: where it listens, and lines to try it with. */
import { basename, relative } from 'node:path';
import type { RunningBroker } from './broker-process.ts';
import type { Config } from './config.ts';
import { formatHostPort, parseHostPort, reachable } from './listener.ts';
import { version } from './version.ts';

export interface ReadyOptions {
  readonly broker: RunningBroker;
  readonly config: Config;
  readonly elapsedMs: number;
  /** How this program was started, for the lines to copy. */
  readonly command: string;
}

/** The words that start this program again from the current directory. */
export const commandName = (script: string): string => {
  if (basename(script) === 'rosettamq') return script.includes('node_modules') ? 'npx rosettamq' : 'rosettamq';
  const path = relative(process.cwd(), script);
  return `node ${path.startsWith('..') ? script : path}`;
};

export const readyText = ({ broker, config, elapsedMs, command }: ReadyOptions): string => {
  const isMemory = config.boolean('memory');
  const place = isMemory
    ? 'data in memory only'
    : `data in ${config.text('data')} (durability ${config.text('durability')})`;
  const lines = [`rosettamq ${version} ready in ${Math.round(elapsedMs)} ms, ${place}`];
  for (const address of broker.addresses.kafka) lines.push(`  kafka  kafka://${address}`);
  for (const address of broker.addresses.amqp) lines.push(`  amqp   amqp://${address}`);
  const examples = [
    ...(isMemory ? [] : commandExamples(command, config)),
    ...kafkaExamples(broker.addresses.kafka[0]),
    ...amqpExamples(broker.addresses.amqp[0], config),
  ];
  return `${[...lines, '', 'Publish and consume, in another terminal:', ...examples.map((line) => `  ${line}`)].join('\n')}\n`;
};

const commandExamples = (command: string, config: Config): string[] => {
  const data = config.has('data') ? ` --data ${quote(config.text('data'))}` : '';
  return [`echo hello | ${command} produce greetings${data}`, `${command} consume greetings --exit${data}`];
};

const kafkaExamples = (address: string | undefined): string[] => {
  if (address === undefined) return [];
  const broker = formatHostPort(reachable(parseHostPort(address, 'kafka')));
  return [`echo hello | kcat -P -b ${broker} -t greetings`, `kcat -C -e -b ${broker} -t greetings`];
};

const amqpExamples = (address: string | undefined, config: Config): string[] => {
  if (address === undefined) return [];
  const login = `${encodeURIComponent(config.text('amqp.default_user'))}:${encodeURIComponent(config.text('amqp.default_pass'))}`;
  const isGuest = login === 'guest:guest';
  const url = `amqp://${isGuest ? login : 'USER:PASSWORD'}@${formatHostPort(reachable(parseHostPort(address, 'amqp')))}`;
  return [
    `amqp-declare-queue --url=${url} --queue=tasks --durable`,
    `amqp-publish --url=${url} --routing-key=tasks --persistent --body=hello`,
    `amqp-get --url=${url} --queue=tasks`,
  ];
};

const quote = (text: string): string => (/^[\w./~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
