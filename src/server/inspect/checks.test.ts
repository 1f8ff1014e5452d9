// What numbers of a machine are called ok, a warning or a failure.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDiskTimes, checkDurability, checkMemory, checkNode, checkOpenFiles, checkSpace } from './checks.ts';
import { summarize } from './disk-probe.ts';
import { fileSystemOf } from './file-systems.ts';

const gib = 2 ** 30;
const times = (sizeBytes: number, ms: number) => summarize(sizeBytes, [ms, ms, ms]);

test('percentiles and histogram', () => {
  const { p50Ms, p90Ms, p99Ms, maxMs, count, histogram } = summarize(
    4096,
    Array.from({ length: 100 }, (_, i) => (100 - i) / 10),
  );
  assert.deepEqual([p50Ms, p90Ms, p99Ms, maxMs, count], [5, 9, 9.9, 10, 100]);
  assert.deepEqual(
    histogram.filter((bucket) => bucket.count > 0).map((bucket) => [bucket.belowMs, bucket.count]),
    [
      [0.2, 1],
      [0.5, 3],
      [1, 5],
      [2, 10],
      [5, 30],
      [10, 50],
      [20, 1],
    ],
  );
});

test('a disk that does not take longer for a synced write is suspicious, one that takes very long is slow', () => {
  const statuses = (syncedMs: number, unsyncedMs: number): string[] =>
    checkDiskTimes({
      synced: [times(4096, syncedMs), times(65536, syncedMs)],
      unsynced: times(4096, unsyncedMs),
    }).map(({ status }) => status);
  assert.deepEqual(statuses(0.3, 0.02), ['ok', 'ok', 'ok']);
  assert.deepEqual(statuses(0.021, 0.02), ['ok', 'ok', 'warn']);
  assert.deepEqual(statuses(200, 0.02), ['warn', 'warn', 'ok']);
});

test('space, open files, node, durability, file systems', () => {
  const space = (freeBytes: number, walBytesThere = 0): string =>
    checkSpace({ freeBytes, shards: 2, walBytesMax: 2 * gib, walBytesThere }).status;
  assert.deepEqual(
    [space(5 * gib), space(3 * gib), space(3 * gib, 2 * gib), space(0.1 * gib)],
    ['ok', 'warn', 'ok', 'fail'],
  );
  const files = (limit: number | undefined): string =>
    checkOpenFiles({ limit, connectionsMax: 10_000, shards: 1, walBytesMax: 2 * gib }).status;
  assert.deepEqual([files(20_000), files(1024), files(100), files(undefined)], ['ok', 'warn', 'fail', 'ok']);
  assert.deepEqual(
    ['18.20.0', '20.18.9', '20.19.0', '22.1.0'].map((version) => checkNode(version).status),
    ['fail', 'fail', 'ok', 'ok'],
  );
  assert.deepEqual(
    [checkDurability('sync', false), checkDurability('os', false), checkDurability('sync', true)].map(
      ({ status }) => status,
    ),
    ['ok', 'warn', 'warn'],
  );
  assert.deepEqual(
    [0xef53, 0x01021994, 0x794c7630, 0x6969].map((type) => [
      fileSystemOf(type).name,
      fileSystemOf(type).warning !== undefined,
    ]),
    [
      ['ext', false],
      ['tmpfs', true],
      ['overlay', true],
      ['nfs', true],
    ],
  );
});

test('memory: the smaller of machine and container, against what the shards may take', () => {
  const memory = (machineGib: number, constrainedGib: number, shards: number): string => {
    const check = checkMemory({ machineBytes: machineGib * gib, constrainedBytes: constrainedGib * gib, shards });
    return `${check.status} ${check.text.split(';')[0]}`;
  };
  assert.equal(memory(8, 2 ** 34, 1), 'ok 8.0 GiB in this machine');
  assert.equal(memory(8, 0.4, 1), 'warn 409.6 MiB for this container');
  assert.equal(memory(8, 0.1, 1), 'fail 102.4 MiB for this container');
  assert.equal(memory(1, 2 ** 34, 8), 'warn 1.0 GiB in this machine');
  const { values } = checkMemory({ machineBytes: gib, constrainedBytes: gib, shards: 1 });
  assert.equal(values!.isConstrained, false);
});
