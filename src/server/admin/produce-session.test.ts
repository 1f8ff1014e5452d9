/** `rosettamq produce` obeys the configs of the topic, and is told what becomes of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openBroker } from '../../broker/broker.ts';
import { batchAttribute, batchAttributes } from '../../log/batch-header.ts';
import { LogReader } from '../../log/log-reader.ts';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { resolveConfig } from '../config.ts';
import { ProduceSession } from './produce-session.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('lines go in batches that the topic allows, and a larger one is refused', async () => {
  await using broker = await openBroker({ storage: new MemoryStorage(new MemoryDisk()), durability: 'sync' });
  const config = new Map([['max.message.bytes', '300']]);
  const log = broker.createTopic({ vhost: '/', name: 'small', partitions: 1, config }).partitions[0]!;
  const session = new ProduceSession(broker, resolveConfig({}), { op: 'produce', name: 'small' });
  for (let i = 0; i < 50; i++) await session.line({ value: base64(`line ${i}`) });
  assert.deepEqual(await session.line({ end: true }), { count: 50 });
  assert.equal(log.endOffset, 50);
  for (let entry = 0; entry < log.entryCount; entry++) assert.ok(log.entrySizeBytes(entry) <= 300);
  await session.line({ value: base64('x'.repeat(300)) });
  await assert.rejects(session.line({ end: true }), /a message may have 300 bytes at most/);
  assert.equal(log.endOffset, 50);
});

test('the time of the append is set where the topic says so', async () => {
  await using broker = await openBroker({ storage: new MemoryStorage(new MemoryDisk()), durability: 'sync' });
  const config = new Map([['message.timestamp.type', 'LogAppendTime']]);
  const log = broker.createTopic({ vhost: '/', name: 'stamped', partitions: 1, config }).partitions[0]!;
  const session = new ProduceSession(broker, resolveConfig({}), { op: 'produce', name: 'stamped' });
  await session.line({ value: base64('a') });
  await session.line({ end: true });
  const reader = new LogReader(log);
  assert.ok(reader.locate(0, 0));
  assert.ok((batchAttributes(reader.chunk.buffer, reader.at) & batchAttribute.logAppendTime) !== 0);
});

test('whoever waits for what was produced is told when storage fails', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  const broker = await openBroker({ storage, durability: 'sync', forms: [] });
  const config = resolveConfig({ flags: { memory: true } });
  const session = new ProduceSession(broker, config, { op: 'produce', name: 'events' });
  storage.inject({ operation: 'write', nth: 1, times: Number.POSITIVE_INFINITY, effect: 'error' });
  await session.line({ key: null, value: Buffer.from('lost').toString('base64') });
  await assert.rejects(session.line({ end: true }), { kind: 'storage-failed' });
  await broker.close();
});
