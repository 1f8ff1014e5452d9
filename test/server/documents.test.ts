// The documents say what the code does where that can be compared: settings, requests, topic configs, queue arguments, paths.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { methodCodes } from '../../src/protocols/amqp/generated/methods.ts';
import { validateQueueArguments } from '../../src/protocols/amqp/queue-arguments.ts';
import { KNOWN_APIS } from '../../src/protocols/kafka/api-keys.ts';
import { checkTopicConfig, topicConfigTable } from '../../src/protocols/kafka/topic-config.ts';
import { settingNames } from '../../src/server/config-schema.ts';
import { settingsMarkdown, topicConfigsMarkdown } from '../../src/server/settings-table.ts';
import { version } from '../../src/server/version.ts';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** The part of a document between the line that begins with `start` and the next one that begins with `end`. */
const section = (document: string, start: string, end: string): string => {
  const from = document.indexOf(`\n${start}`);
  assert.ok(from >= 0, `no line begins with '${start}'`);
  const to = document.indexOf(`\n${end}`, from + 1 + start.length);
  return document.slice(from, to < 0 ? undefined : to);
};

/** Cells of the rows of all tables in the text, heads apart. */
const tableRows = (text: string): string[][] =>
  text
    .split('\n')
    .filter(
      (line, index, lines) =>
        line.startsWith('|') && !/^\|[ -|]*-{3}/.test(line) && !/^\| -{3}/.test(lines[index + 1] ?? ''),
    )
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    );

/** What stands between backticks. */
const codeSpans = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);

test('the documented settings are those of the schema (npm run docs writes them)', () => {
  assert.ok(
    read('docs/configuration.md').includes(settingsMarkdown()),
    'docs/configuration.md is behind the schema: npm run docs',
  );
});

test('the documented requests of Kafka and their versions are those that the broker knows', () => {
  const requests = section(read('docs/kafka.md'), '## Requests', '## ');
  const documented = (text: string): string[] =>
    tableRows(text).map(([name, key, versions]) => `${name} ${key} ${versions}`);
  const known = (advertised: boolean): string[] =>
    KNOWN_APIS.filter((api) => api.advertised === advertised).map(
      ({ name, key, versionMin, versionMax }) => `${name} ${key} ${versionMin}-${versionMax}`,
    );
  assert.deepEqual(documented(section(requests, 'Advertised', 'Not advertised')), known(true));
  assert.deepEqual(documented(section(requests, 'Not advertised', 'Everything else')), known(false));
});

test('the documented topic configs are those of the three lists (npm run docs writes them)', () => {
  const document = read('docs/kafka.md');
  for (const list of ['effective', 'stored', 'refused'] as const) {
    assert.ok(document.includes(topicConfigsMarkdown(list)), `docs/kafka.md is behind the ${list} topic configs`);
  }
  for (const { name, list, default: value } of topicConfigTable) {
    assert.equal(checkTopicConfig(name, value), undefined, `${name}: the default is accepted`);
    if (list === 'refused') assert.notEqual(checkTopicConfig(name, 'true'), undefined, `${name} is refused`);
  }
});

test('every method that a client of AMQP may send is in the documented table, and no other', () => {
  const rows = tableRows(section(read('docs/amqp.md'), '## Methods', '## '));
  const documented = rows.flatMap(([methods]) => codeSpans(methods!));
  /** What only a broker sends, and answers of clients. */
  const isAnswer = /-ok$|^connection\.(start|secure|tune|blocked|unblocked)$|^basic\.(return|deliver|get-empty)$/;
  const sent = Object.keys(methodCodes).filter((method) => !isAnswer.test(method));
  assert.deepEqual(documented.toSorted(), sent.toSorted());
});

test('queue arguments are accepted and refused as documented', () => {
  const document = section(read('docs/amqp.md'), '### Queue arguments', '#');
  const validate = (argument: string): void => {
    const [name, value] = argument.split('=') as [string, string | undefined];
    const given = value !== undefined && /^\d+$/.test(value) ? Number(value) : (value ?? 1);
    validateQueueArguments('q', '/', new Map([[name, given]]));
  };
  const rows = new Map(tableRows(document).map(([outcome, names]) => [outcome!, codeSpans(names!)]));
  assert.deepEqual([...rows.keys()], ['effective', 'accepted, without effect', 'refused with 406']);
  for (const argument of [...rows.get('effective')!, ...rows.get('accepted, without effect')!]) validate(argument);
  for (const argument of rows.get('refused with 406')!) assert.throws(() => validate(argument), /PRECONDITION_FAILED/);
  const source = read('src/protocols/amqp/queue-arguments.ts');
  const unsupported = /new Set\(\[([^\]]*)\]\)/.exec(source)![1]!;
  for (const [, name] of unsupported.matchAll(/'([^']+)'/g)) {
    assert.ok(rows.get('refused with 406')!.includes(name!), `${name} is not documented as refused`);
  }
});

const documents = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md'].concat(
  readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
);

test('every path that ARCHITECTURE.md and the decisions name exists', () => {
  /** Folders that paths may be relative to: ARCHITECTURE.md names files below src without it. */
  const bases = ['', 'src', 'src/shard', 'src/protocols'];
  const isPath = /^\.?[\w-]+(\/[\w.-]+)*(\/|\.(ts|md|mjs|cjs|json))$/;
  for (const document of documents.filter((name) => name === 'ARCHITECTURE.md' || name.includes('decisions'))) {
    const paths = codeSpans(read(document)).filter((code) => isPath.test(code));
    if (document === 'ARCHITECTURE.md') assert.ok(paths.length > 20, 'paths are recognised');
    for (const path of paths) {
      assert.ok(
        bases.some((base) => existsSync(join(root, base, path))),
        `${document} names ${path}, which does not exist`,
      );
    }
  }
});

test('links between documents lead somewhere', () => {
  for (const document of documents) {
    for (const [, target] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      const [path, anchor] = target!.split('#') as [string, string | undefined];
      if (/^https?:/.test(path)) continue;
      const linked = path === '' ? document : join(dirname(document), path);
      assert.ok(existsSync(join(root, linked)), `${document} links to ${target}`);
      if (anchor === undefined) continue;
      const anchors = [...read(linked).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
        title!
          .toLowerCase()
          .replaceAll(/[^\w\- ]/g, '')
          .replaceAll(' ', '-'),
      );
      assert.ok(anchors.includes(anchor), `${document} links to ${target}, which has no such title`);
    }
  }
});

test('every setting that a document names exists', () => {
  const roots = new Set(settingNames.filter((name) => name.includes('.')).map((name) => name.split('.')[0]));
  for (const document of documents) {
    for (const code of codeSpans(read(document))) {
      const name = /^([a-z]+(?:\.[a-z_]+)+)(?:=[^ ]*)?$/.exec(code)?.[1];
      if (name === undefined || !roots.has(name.split('.')[0]) || /\.(json|md|ts|message|connections?)$/.test(name))
        continue;
      if (/^amqp\.(content-|exchange|routing|type|priority|expiration)/.test(name)) continue;
      assert.ok(settingNames.includes(name), `${document} names the setting ${name}, which does not exist`);
    }
  }
});

test('the version is that of package.json', () => {
  const { version: packaged } = JSON.parse(read('package.json')) as { version: string };
  assert.equal(version, packaged);
});
