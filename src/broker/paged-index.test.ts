// A log with much in a segment has an index entry per page of rows: messages are found through it as through any other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appendBatch } from '../log/append-batch.ts';
import { batchSource, encodeBatch } from '../log/batch-encode.ts';
import { batchBaseOffset, batchBytes, batchLastOffsetDelta, sealBatch } from '../log/batch-header.ts';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import { MemoryDisk } from '../storage/memory-storage.ts';
import { compressionCodec } from '../wire/decompress.ts';
import { collect, declare, isFolded, kib, open, produce, publish, type Stand } from './folding-stand.ts';

const count = 300;

const foldAll = async (stand: Stand, log: Log): Promise<void> => {
  const filler = declare(stand.broker, 'filler');
  for (let round = 0; !isFolded(log); round++) {
    assert.ok(round < 2_000, 'the log is folded');
    publish(stand, [filler.log!], 'y'.repeat(2 * kib));
    await stand.broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
  stand.broker.vhost('/')!.deleteQueue('filler', { ifUnused: false, ifEmpty: false });
};

const hasPages = (log: Log): boolean =>
  Array.from({ length: log.entryCount }, (_, entry) => entry).some((entry) => log.entryPageRows(entry) > 0);

/** First offset of the batch that holds `offset`, and the offset behind the last of those that are found with it. */
const locate = async (reader: LogReader, offset: number): Promise<[base: number, end: number]> => {
  const { log } = reader;
  while (!reader.locate(log.findEntry(offset), offset)) await reader.fill();
  const { buffer } = reader.chunk;
  let last = reader.at;
  while (last + batchBytes(buffer, last) < reader.entryEnd) last += batchBytes(buffer, last);
  return [batchBaseOffset(buffer, reader.at), batchBaseOffset(buffer, last) + batchLastOffsetDelta(buffer, last) + 1];
};

test('batches are found through pages, in order, backwards, and after a restart', async () => {
  const stand = await open(new MemoryDisk());
  let log = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions[0]!;
  for (let i = 0; i < count; i++) {
    produce(log, [`a${i}`.padEnd(kib), `b${i}`]);
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await foldAll(stand, log);
  assert.ok(hasPages(log) && log.entryCount < count / 8, `${log.entryCount} entries`);
  const check = async (): Promise<void> => {
    const reader = new LogReader(log);
    for (let offset = log.startOffset; offset < 2 * count; ) {
      const [base, end] = await locate(reader, offset);
      assert.equal(base, offset);
      assert.equal(end, reader.endOffset);
      offset = end;
    }
    for (let offset = 2 * count - 1; offset >= log.startOffset; offset--)
      assert.equal((await locate(reader, offset))[0], offset - (offset % 2));
  };
  await check();
  log.store.moveStart(log, 151);
  assert.equal(log.startOffset, 151);
  await stand.broker.gate.durableNow();
  await stand.broker.close();
  const again = await open(stand.disk);
  log = again.broker.vhost('/')!.topic('events')!.partitions[0]!;
  assert.ok(hasPages(log));
  assert.deepEqual([log.startOffset, log.endOffset], [151, 2 * count]);
  log.store.moveStart(log, 152);
  await check();
  await again.broker.close();
});

test('neighbouring batches of very many messages do not add up to more than an entry can count', async () => {
  const stand = await open(new MemoryDisk());
  const log = stand.broker.createTopic({ vhost: '/', name: 'dense', partitions: 1, config: new Map() }).partitions[0]!;
  const batchCount = 10;
  const messages = 19_000_000;
  const batch = encodeBatch([{ key: null, value: null, headers: [], timestampMs: 7 }]);
  batch.writeInt16BE(compressionCodec.zstd, 21);
  batch.writeInt32BE(messages - 1, 23);
  batch.writeInt32BE(messages, 57);
  sealBatch(batch, 0);
  const options = { nowMs: 7, stampsAppendTime: false, producersExpiredBeforeMs: 0 };
  for (let i = 0; i < batchCount; i++) assert.equal(appendBatch(log, batchSource(batch), options).kind, 'appended');
  await foldAll(stand, log);
  const reader = new LogReader(log);
  for (let i = 0; i < batchCount; i++) {
    assert.ok(log.entryEndOffset(log.findEntry(i * messages)) > i * messages);
    assert.equal((await locate(reader, i * messages))[0], i * messages);
  }
  assert.equal(log.entryEndOffset(log.entryCount - 1), batchCount * messages);
  await stand.broker.close();
});

test('the rows of a page are passed over by time', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  const log = queue.log!;
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    stand.clock.advance(10);
    times.push(stand.clock.now());
    publish(stand, [log], `message ${i}`.padEnd(kib));
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await foldAll(stand, log);
  assert.ok(hasPages(log));
  const reader = new LogReader(log);
  for (const wanted of [0, 1, 57, 140, count - 1]) {
    let entry = 0;
    while (log.entryTimestamp(entry) < times[wanted]!) entry++;
    const first = (): number | undefined => reader.firstNotBefore(entry, log.entryFirstOffset(entry), times[wanted]!);
    while (first() === undefined) await reader.fill();
    const offset = first()!;
    assert.ok(offset <= wanted);
    while (!reader.locate(entry, offset)) await reader.fill();
    assert.ok(reader.endOffset > wanted, 'the row that starts there holds it');
  }
  const page = Array.from({ length: log.entryCount }, (_, entry) => entry).find(
    (entry) => log.entryPageRows(entry) > 0,
  )!;
  while (reader.firstNotBefore(page, 0, Number.POSITIVE_INFINITY) === undefined) await reader.fill();
  assert.equal(reader.firstNotBefore(page, 0, Number.POSITIVE_INFINITY), log.entryEndOffset(page));
  await stand.broker.close();
});

test('messages of a page are settled one by one, and the page goes with the last', async () => {
  const stand = await open(new MemoryDisk());
  const queue = declare(stand.broker, 'work');
  const part = queue.subscription.parts[0]!;
  for (let i = 0; i < count; i++) {
    publish(stand, [queue.log!], `message ${i}`.padEnd(kib));
    if (i % 20 === 0) await stand.broker.gate.durableNow();
  }
  await foldAll(stand, queue.log!);
  assert.ok(hasPages(queue.log!));
  for (const { offset } of await collect(queue, count)) {
    if (offset % 7 === 3) stand.broker.requeue(part, offset);
    else stand.broker.ack(part, offset);
  }
  stand.broker.flushAcks();
  const left = await collect(queue, queue.messageCount);
  assert.deepEqual(
    left.map(({ offset, body }) => [offset, body.trim()]),
    Array.from({ length: count }, (_, i) => [i, `message ${i}`] as const).filter(([i]) => i % 7 === 3),
  );
  for (const { offset } of left) stand.broker.ack(part, offset);
  stand.broker.flushAcks();
  assert.equal(queue.log!.entryCount, 0);
  assert.deepEqual(stand.broker.shards[0]!.log.liveSegments, []);
  await stand.broker.close();
});
