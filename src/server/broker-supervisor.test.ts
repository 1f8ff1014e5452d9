import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { pino } from 'pino';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryStorage } from '../storage/memory-storage.ts';
import { BrokerSupervisor } from './broker-supervisor.ts';
import type { Head } from './heads.ts';

const address = { host: '127.0.0.1', port: 1 };

/** A supervisor over storage that fails on command, with a head that only notes what it is asked. */
const setUp = (storage: FaultyStorage) => {
  const events: string[] = [];
  let onCut = (): void => {};
  const head: Head = {
    accept: () => void events.push('accept'),
    close: async (reason) => void events.push(`close: ${reason}`),
  };
  const supervisor = new BrokerSupervisor({
    broker: { storage, durability: 'sync' },
    createHeads: async () => {
      events.push('open');
      return new Map([['amqp', head]]);
    },
    logger: pino({ level: 'silent' }),
    cutConnections: () => {
      events.push('cut');
      onCut();
    },
    onFatal: (error) => void events.push(`fatal: ${error.message}`),
  });
  const cut = new Promise<void>((resolve) => {
    onCut = resolve;
  });
  return { supervisor, events, cut };
};

const waitFor = async <Value>(condition: () => Value | undefined): Promise<Value> => {
  for (;;) {
    const value = condition();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

const socketThatNotes = (): { socket: Socket; isDestroyed: () => boolean } => {
  let destroyed = false;
  const socket = { destroy: () => (destroyed = true) } as unknown as Socket;
  return { socket, isDestroyed: () => destroyed };
};

const createTopic = (supervisor: BrokerSupervisor, name: string): void => {
  supervisor.broker!.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
};

const waitForAll = async (closed: Promise<unknown>): Promise<void> => void (await closed);

test('after a failed write the broker is opened again from what was durable', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const { supervisor, events, cut } = setUp(storage);
  await supervisor.start();
  const first = supervisor.broker!;
  createTopic(supervisor, 'durable');
  await waitFor(() => (first.gate.durable === first.gate.current ? true : undefined));

  storage.inject({ operation: 'write', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  createTopic(supervisor, 'lost');
  await cut;
  storage.heal();
  assert.equal(supervisor.broker, undefined);
  const between = socketThatNotes();
  supervisor.accept('amqp', between.socket, address);
  assert.ok(between.isDestroyed());

  const second = await waitFor(() => supervisor.broker);
  assert.notEqual(second, first);
  assert.notEqual(second.vhost('/')!.topic('durable'), undefined);
  assert.equal(second.vhost('/')!.topic('lost'), undefined);
  const served = socketThatNotes();
  supervisor.accept('amqp', served.socket, address);
  assert.ok(!served.isDestroyed());
  await supervisor.close('bye', waitForAll);
  assert.deepEqual(events, ['open', 'cut', 'close: storage failed', 'open', 'accept', 'close: bye']);
});

test('storage that stays broken is tried again until it works', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const { supervisor, cut } = setUp(storage);
  await supervisor.start();
  const first = supervisor.broker!;
  storage.inject({ operation: 'write', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  storage.inject({ operation: 'open', nth: 1, times: 1, effect: 'error' });
  createTopic(supervisor, 'lost');
  await cut;
  await waitFor(() => (storage.trace.filter((step) => step.startsWith('open')).length > 2 ? true : undefined));
  storage.heal();
  assert.notEqual(await waitFor(() => supervisor.broker), first);
  await supervisor.close('bye', waitForAll);
});

test('a close while storage is broken does not wait for it', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const { supervisor, cut } = setUp(storage);
  await supervisor.start();
  storage.inject({ nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  createTopic(supervisor, 'lost');
  await cut;
  await supervisor.close('bye', waitForAll);
  assert.equal(supervisor.broker, undefined);
});

test('a broker whose heads cannot be made is closed', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const supervisor = new BrokerSupervisor({
    broker: { storage, durability: 'sync' },
    createHeads: async () => {
      throw new Error('no heads');
    },
    logger: pino({ level: 'silent' }),
    cutConnections: () => {},
    onFatal: () => {},
  });
  await assert.rejects(supervisor.start(), /no heads/);
  const count = (operation: string): number =>
    storage.trace.filter((step) => step === `${operation} wal-000000000001`).length;
  assert.equal(count('close'), count('open'));
});
