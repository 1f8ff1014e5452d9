import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError, resolveConfig } from './config.ts';
import { settingNames, settings } from './config-schema.ts';
import { headSettings } from './heads.ts';
import { nearestName } from './nearest-name.ts';
import { environmentName, formatValue, parseSetting } from './setting.ts';

const directory = mkdtempSync(join(tmpdir(), 'rosettamq-config-'));
after(() => rmSync(directory, { recursive: true }));

const fileWith = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};

const refused = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ConfigError);
  assert.match(error.message, message);
  return true;
};

test('a flag wins over --set, that over the environment, that over the file, that over the default', () => {
  const file = fileWith('precedence.conf', 'kafka.num.partitions=2\n');
  const environment = { ROSETTAMQ_KAFKA_NUM_PARTITIONS: '3' };
  const assignments = ['kafka.num.partitions=4'];
  const flags = { 'kafka.num.partitions': '5' };
  const partitions = (sources: Parameters<typeof resolveConfig>[0]): number =>
    resolveConfig(sources).integer('kafka.num.partitions');
  assert.equal(partitions({}), 1);
  assert.equal(partitions({ file }), 2);
  assert.equal(partitions({ file, environment }), 3);
  assert.equal(partitions({ file, environment, assignments }), 4);
  assert.equal(partitions({ file, environment, assignments, flags }), 5);
});

test('the environment may name the config file', () => {
  const file = fileWith('named.json', '{"durability": "os"}');
  assert.equal(resolveConfig({ environment: { ROSETTAMQ_CONFIG: file } }).text('durability'), 'os');
});

test('the later of two assignments wins', () => {
  assert.equal(resolveConfig({ assignments: ['shards=2', 'shards=3'] }).integer('shards'), 3);
});

test('JSON files may nest names; properties files have comments', () => {
  const json = fileWith(
    'nested.json',
    '{"kafka": {"num.partitions": 4, "auto.create.topics.enable": false}, "listeners.amqp": ["127.0.0.1:1", "[::1]:2"]}',
  );
  const properties = fileWith(
    'plain.conf',
    '# comment\n! comment\n\nkafka.num.partitions = 4\nlisteners.amqp=a:1, b:2\n',
  );
  const fromJson = resolveConfig({ file: json });
  assert.equal(fromJson.integer('kafka.num.partitions'), 4);
  assert.equal(fromJson.boolean('kafka.auto.create.topics.enable'), false);
  assert.deepEqual(fromJson.list('listeners.amqp'), ['127.0.0.1:1', '[::1]:2']);
  assert.deepEqual(resolveConfig({ file: properties }).list('listeners.amqp'), ['a:1', 'b:2']);
});

test('an unknown setting is refused with the nearest valid name, whatever the source', () => {
  const nearest = /unknown setting 'kafka\.num\.partition'; did you mean 'kafka\.num\.partitions'\?/;
  assert.throws(() => resolveConfig({ assignments: ['kafka.num.partition=1'] }), refused(nearest));
  const properties = fileWith('unknown.conf', 'shards=1\nkafka.num.partition=1\n');
  assert.throws(() => resolveConfig({ file: properties }), refused(/unknown\.conf, line 2: unknown setting/));
  assert.throws(() => resolveConfig({ file: properties }), refused(nearest));
  const json = fileWith('unknown.json', '{"kafka": {"num.partition": 1}}');
  assert.throws(() => resolveConfig({ file: json }), refused(nearest));
});

test('an unknown environment variable is a warning: orchestrators inject their own', () => {
  const warnings: string[] = [];
  const warn = (message: string): void => void warnings.push(message);
  resolveConfig({ environment: { ROSETTAMQ_SHARD: '2', ROSETTAMQ_TEST_LOGS: '1', PATH: '' }, warn });
  assert.deepEqual(warnings, ['environment variable ROSETTAMQ_SHARD is no setting; did you mean ROSETTAMQ_SHARDS?']);
});

test('the nearest name knows forgotten prefixes and words in another order', () => {
  assert.equal(nearestName('num.partitions', settingNames), 'kafka.num.partitions');
  assert.equal(nearestName('frame_max', settingNames), 'amqp.frame_max');
  assert.equal(nearestName('kafka.listeners', settingNames), 'listeners.kafka');
  assert.equal(nearestName('durabilty', settingNames), 'durability');
  assert.equal(nearestName('zookeeper.connect', settingNames), undefined);
});

test('wrong types are refused with what is expected', () => {
  const set = (assignment: string) => () => resolveConfig({ assignments: [assignment] });
  assert.throws(set('shards=many'), refused(/--set: shards must be an integer between 1 and 64, not "many"/));
  assert.throws(set('shards=0'), refused(/between 1 and 64/));
  assert.throws(set('durability=fsync'), refused(/durability must be one of sync, os/));
  assert.throws(set('memory=yes'), refused(/memory must be true or false/));
  assert.throws(set('storage.wal.bytes.max=1KiB'), refused(/a number of bytes .* not below/));
  assert.throws(set('kafka.num.partitions=0'), refused(/not below 1|between 1/));
  assert.throws(set('nonsense'), refused(/expected NAME=VALUE/));
  const json = fileWith('wrong.json', '{"listeners.kafka": 9092}');
  assert.throws(() => resolveConfig({ file: json }), refused(/listeners\.kafka must be a list/));
  assert.throws(() => resolveConfig({ file: fileWith('broken.json', '{') }), refused(/broken\.json/));
  assert.throws(() => resolveConfig({ file: join(directory, 'missing.conf') }), refused(/missing\.conf.*ENOENT/));
});

test('where nothing is alike, the nearest of the same prefix is named, or where all are listed', () => {
  const known = ['kafka.log.dirs', 'kafka.log.cleanup.policy', 'kafka.compression.type', 'amqp.disk_free_limit'];
  for (const name of [...known, 'amqp.vm_memory_high_watermark']) {
    const prefix = name.split('.')[0]!;
    const named = new RegExp(
      `the nearest is '${prefix}\\.[^']+', 'rosettamq settings' lists all|did you mean '${prefix}\\.`,
    );
    assert.throws(() => resolveConfig({ assignments: [`${name}=1`] }), refused(named));
  }
  assert.throws(() => resolveConfig({ assignments: ['zzz=1'] }), refused(/'zzz'; 'rosettamq settings' lists all/));
});

test('bytes take units, and the largest 64-bit number means no bound', () => {
  assert.equal(
    resolveConfig({ assignments: ['storage.wal.bytes.max=4GiB'] }).integer('storage.wal.bytes.max'),
    2 ** 32,
  );
  assert.equal(resolveConfig({ assignments: ['storage.wal.bytes.max=1g'] }).integer('storage.wal.bytes.max'), 2 ** 30);
  const unbounded = resolveConfig({ assignments: ['kafka.connections.max.idle.ms=9223372036854775807'] });
  assert.equal(unbounded.integer('kafka.connections.max.idle.ms'), Number.MAX_SAFE_INTEGER);
});

test('every default is a valid value of its type, also as text', () => {
  for (const setting of settings) {
    assert.deepEqual(parseSetting(setting, setting.default, 'default'), setting.default, setting.name);
    assert.deepEqual(parseSetting(setting, formatValue(setting.default), 'default'), setting.default, setting.name);
  }
});

test('names of settings and of their environment variables are unique', () => {
  assert.equal(new Set(settingNames).size, settingNames.length);
  assert.equal(new Set(settingNames.map(environmentName)).size, settingNames.length);
});

test('a default replication factor above the one node is refused unless any is accepted', () => {
  const settingsOf = (...assignments: string[]) => headSettings(resolveConfig({ assignments }));
  const factor = 'kafka.default.replication.factor=3';
  assert.throws(() => settingsOf(factor), refused(/kafka\.default\.replication\.factor must be 1/));
  const accepted = settingsOf(factor, 'kafka.accept.any.replication.factor=true');
  assert.equal(accepted.kafka['default.replication.factor'], 3);
});

test('topics are not made with more partitions by default than a request may ask for', () => {
  assert.equal(resolveConfig({ assignments: ['kafka.num.partitions=10000'] }).integer('kafka.num.partitions'), 10_000);
  assert.throws(() => resolveConfig({ assignments: ['kafka.num.partitions=10001'] }), refused(/between 1 and 10000/));
});
