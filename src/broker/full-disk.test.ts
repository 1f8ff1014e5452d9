// A disk that is too small for what is published: nothing more goes in until something is deleted, and then by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk } from '../storage/memory-storage.ts';
import type { Broker } from './broker.ts';
import { kib, open, produce, type Stand } from './folding-stand.ts';

/** Of a file of the log, of the disk's space, and of what the log may take: 8 files. */
const fileBytes = 64 * kib;
/** More turns of the event loop and milliseconds than anything takes that goes on by itself. */
const stepsMax = 3_000;
const stepMs = 20;

const until = async ({ clock }: Stand, what: string, condition: () => boolean): Promise<void> => {
  for (let step = 0; !condition(); step++) {
    assert.ok(step < stepsMax, what);
    clock.advance(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const createTopic = (broker: Broker, name: string): void =>
  void broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });

/** Produces as long as there is room; returns how many records were durable then. */
const fill = async (stand: Stand, name: string): Promise<number> => {
  const { broker } = stand;
  const log = broker.vhost('/')!.topic(name)!.partitions[0]!;
  for (let idle = 0; idle < 100; ) {
    if (broker.hasRoom) {
      produce(log, ['x'.repeat(4 * kib)]);
      await broker.gate.durableNow();
      idle = 0;
    } else {
      idle++;
    }
    stand.clock.advance(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return log.durableEnd;
};

const openFull = async (diskFiles: number): Promise<{ stand: Stand; faulty: FaultyStorage }> => {
  let faulty!: FaultyStorage;
  const stand = await open(new MemoryDisk(diskFiles * fileBytes), (storage) => {
    faulty = new FaultyStorage(storage);
    return faulty;
  });
  for (const name of ['first', 'second']) createTopic(stand.broker, name);
  return { stand, faulty };
};

for (const diskFiles of [5, 7, 9, 12, 16]) {
  test(`a disk of ${diskFiles} files fills up and takes messages again once a topic is deleted, ten times`, async () => {
    const { stand, faulty } = await openFull(diskFiles);
    const { broker } = stand;
    assert.ok((await fill(stand, 'first')) > 0);
    for (let cycle = 0; cycle < 10; cycle++) {
      assert.equal(broker.hasRoom, false);
      // Not even a checkpoint goes in at first.
      faulty.inject({ operation: 'open', name: /^checkpoint/, nth: 1, times: 2, effect: 'error', code: 'ENOSPC' });
      const [full, next] = cycle % 2 === 0 ? ['first', 'second'] : ['second', 'first'];
      broker.deleteTopic(broker.vhost('/')!.topic(full!)!);
      await until(stand, 'room', () => broker.hasRoom);
      createTopic(broker, full!);
      assert.ok((await fill(stand, next!)) > 0);
    }
    await broker.close();
  });
}

test('on a full disk nothing durable is made, however often it is asked for; what is there can be used and deleted', async () => {
  const { stand } = await openFull(9);
  const { broker } = stand;
  const host = broker.vhost('/')!;
  const properties = { autoDelete: false, exclusive: false, arguments: new Map() };
  const declareQueue = (name: string, durable = true): void =>
    void host.declareQueue(name, { ...properties, durable }, undefined);
  const declareExchange = (name: string, durable = true): void =>
    void host.declareExchange(name, {
      type: 'topic',
      durable,
      autoDelete: false,
      internal: false,
      arguments: new Map(),
    });
  const bind = (key: string): void => host.bindQueue(host.queue('q')!, 'x', key, new Map());
  declareQueue('q');
  declareExchange('x');
  bind('a');
  const makeAll = (n: number): (() => void)[] => [
    () => declareQueue(`q${n}`),
    () => declareExchange(`x${n}`),
    () => bind(`a${n}`),
    () => host.bindExchange('x', 'amq.topic', `a${n}`, new Map()),
    () => host.bindTopic(host.topic('second')!, 'x', `a${n}`, new Map()),
    () =>
      void host.declareQueue(
        `s${n}`,
        { ...properties, durable: true, arguments: new Map([['x-topic', 'first']]) },
        undefined,
      ),
    () => createTopic(broker, `t${n}`),
  ];
  await fill(stand, 'first');
  assert.equal(broker.hasRoom, false);
  const { usedBytes } = broker.shards[0]!.log;
  for (let n = 0; n < 100; n++) {
    for (const make of makeAll(n)) assert.throws(make, { kind: 'storage-full' });
  }
  await broker.gate.durableNow();
  assert.equal(broker.shards[0]!.log.usedBytes, usedBytes);

  declareQueue('q');
  declareExchange('x');
  bind('a');
  declareQueue('transient', false);
  declareExchange('transient', false);
  host.unbindQueue(host.queue('q')!, 'x', 'a', new Map());
  host.deleteExchange('x', { ifUnused: false });
  host.deleteQueue('q', { ifUnused: false, ifEmpty: false });
  broker.deleteTopic(host.topic('first')!);
  await until(stand, 'room', () => broker.hasRoom);
  createTopic(broker, 'first');
  declareQueue('q');
  declareExchange('x');
  for (const make of makeAll(0)) make();
  await broker.close();
});

test('a broker that finds a full disk at its start gives back what was deleted before, without being asked', async () => {
  const { stand, faulty } = await openFull(9);
  await fill(stand, 'first');
  faulty.inject({ name: /^checkpoint/, nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  stand.broker.deleteTopic(stand.broker.vhost('/')!.topic('first')!);
  await stand.broker.gate.durableNow();
  stand.disk.killProcess(1);
  const again = await open(stand.disk);
  await until(again, 'room', () => again.broker.hasRoom && again.broker.shards[0]!.log.usedBytes <= 2 * fileBytes);
  await again.broker.close();
});
