// What is lost with damage that was accepted is told, and what built on it goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../log/log.ts';
import { Producers } from '../log/producers.ts';
import type { FrameItem } from '../shard/local/inspect-items.ts';
import { inspectLog } from '../shard/local/inspect-log.ts';
import { segmentFooterBytes } from '../shard/local/segment-file.ts';
import { PieceReader, PieceWriter } from '../shard/piece.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { type Files, makeFiles, messageCount, messageOf, readFiles, recordCount, writeFiles } from './damaged-files.ts';
import { collect, declare, open, publish } from './folding-stand.ts';

const flip = (files: Files, name: string, at: number): Files => {
  const bytes = Buffer.from(files.get(name)!);
  bytes[at] = bytes[at]! ^ 16;
  return new Map([...files, [name, bytes]]);
};

const framesOf = async (files: Files): Promise<FrameItem[]> => {
  const shard = await new MemoryStorage(await writeFiles(files)).subdirectory('shard-0');
  const frames: FrameItem[] = [];
  for await (const item of inspectLog(shard)) if (item.kind === 'frame' && item.chain === 'ok') frames.push(item);
  return frames;
};

test('a segment with a damaged index is refused, and lost alone if that is accepted', async () => {
  const files = await makeFiles('kill');
  const name = [...files.keys()].find((each) => each.startsWith('segment-'))!;
  const bytes = files.get(name)!;
  const spoiled = flip(files, name, bytes.length - segmentFooterBytes - 30);
  await assert.rejects(open(await writeFiles(spoiled)), new RegExp(`${name} is damaged`));
  const losses: string[] = [];
  const disk = await writeFiles(spoiled);
  const accepted = await open(disk, undefined, (what) => losses.push(what));
  const count = accepted.broker.vhost('/')!.queue('work')!.messageCount;
  assert.ok(count > messageCount / 2 && count < messageCount);
  assert.ok(losses[0]!.startsWith(`shard-0/${name} is damaged`), losses[0]);
  assert.ok(losses.includes(`${messageCount - count} messages of 'work', partition 0`), losses.join('\n'));
  await accepted.broker.close();
  const again = await open(disk);
  const queue = again.broker.vhost('/')!.queue('work')!;
  for (const { body, offset } of await collect(queue, count, true)) assert.equal(body, messageOf(offset));
  assert.equal(queue.messageCount, 0);
  await again.broker.close();
});

test('after a clean shutdown a segment with a damaged frame is met when it is read, and not before', async () => {
  const files = await makeFiles();
  const name = [...files.keys()].find((each) => each.startsWith('segment-'))!;
  const spoiled = flip(files, name, files.get(name)!.length - 20);
  const { broker } = await open(await writeFiles(spoiled));
  const queue = broker.vhost('/')!.queue('work')!;
  assert.equal(queue.messageCount, messageCount);
  await assert.rejects(collect(queue, 1, true), new RegExp(`${name} is damaged: the footer`));
  await broker.close();
  const gone = new Map([...files].filter(([each]) => each !== name));
  await assert.rejects(open(await writeFiles(gone)), new RegExp(`${name} is missing`));
});

test('frames of an earlier use of a file that lie behind the damage stay what they are', async () => {
  const files = await makeFiles();
  const logs = [...files.keys()].filter((name) => name.startsWith('wal-'));
  const used = new Set((await framesOf(files)).map(({ file }) => file));
  const [old, last] = [logs.find((name) => used.has(name))!, logs.findLast((name) => used.has(name))!];
  const frames = (await framesOf(files)).filter(({ file }) => file === last);
  const end = frames.at(-1)!.offset + 40;
  // As in recycled files: old frames behind the end of the log, and in the files made ready.
  const stale = new Map(files);
  for (const name of logs.filter((each) => each >= last)) {
    const from = name === last ? end + 8 - (end % 8) : 512;
    const bytes = Buffer.from(files.get(name)!);
    files.get(old)!.copy(bytes, from, 512, 512 + bytes.length - from);
    stale.set(name, bytes);
  }
  const spoiled = flip(stale, last, frames[3]!.offset + 60);
  const losses: string[] = [];
  const disk = await writeFiles(spoiled);
  const accepted = await open(disk, undefined, (what) => losses.push(what));
  assert.match(
    losses[0]!,
    new RegExp(`^shard-0/${last} from byte ${frames[3]!.offset} to byte ${frames[4]!.offset}: 1 `),
  );
  await accepted.broker.close();
  const again = await open(disk);
  const offsets = (await collect(again.broker.vhost('/')!.queue('work')!, messageCount - 1)).map(
    ({ offset }) => offset,
  );
  assert.deepEqual(
    offsets,
    [...new Set(offsets)].sort((left, right) => left - right),
  );
  assert.equal(again.broker.vhost('/')!.topic('events')!.partitions[0]!.endOffset, recordCount);
  await again.broker.close();
});

test('a queue that subscribes a topic whose creation is lost is passed over; ids that are lost are not given again', async () => {
  const stand = await open(new MemoryDisk());
  const topic = stand.broker.createTopic({ vhost: '/', name: 'lost-topic', partitions: 1, config: new Map() });
  const lostId = topic.partitions[0]!.id;
  await stand.broker.gate.durableNow();
  stand.broker
    .vhost('/')!
    .declareQueue(
      'reader',
      { durable: true, exclusive: false, autoDelete: false, arguments: new Map([['x-topic', 'lost-topic']]) },
      undefined,
    );
  await stand.broker.gate.durableNow();
  const queue = declare(stand.broker, 'queue');
  publish(stand, [queue.log!], 'kept');
  await stand.broker.close();
  await (await open(stand.disk)).broker.close();
  const files = await readFiles(stand.disk);
  const [name, bytes] = [...files].find(([, content]) => content.includes('"op":"topic-create"'))!;
  const disk = await writeFiles(flip(files, name, bytes.indexOf('"op":"topic-create"')));
  const losses: string[] = [];
  const accepted = await open(disk, undefined, (what) => losses.push(what));
  assert.ok(
    losses.includes("a queue subscribes the unknown topic 'lost-topic': a change of kind queue-create is passed over"),
    losses.join('\n'),
  );
  const host = accepted.broker.vhost('/')!;
  assert.deepEqual([host.topic('lost-topic'), host.queue('reader')], [undefined, undefined]);
  assert.equal((await collect(host.queue('queue')!, 1))[0]!.body, 'kept');
  const created: Log = declare(accepted.broker, 'created').log!;
  assert.ok(created.id > lostId);
  await accepted.broker.close();
  await (await open(disk)).broker.close();
});

test('a producer goes on after batches of it were lost, and what is left of them is still known', () => {
  const producers = new Producers();
  producers.apply(7, 0, 0, 10, 100, 1);
  producers.acceptLoss();
  const restored = new Producers();
  const saved = new PieceWriter();
  producers.save(saved);
  restored.restore(new PieceReader(saved.take(), 0), 1);
  for (const each of [producers, restored]) {
    assert.deepEqual(each.check(7, 0, 0, 10, 0), { kind: 'duplicate', baseOffset: 100, timestampMs: 1 });
    assert.equal(each.check(7, 0, 30, 10, 0).kind, 'next');
    assert.equal(each.check(7, 1, 30, 10, 0).kind, 'next');
    each.apply(7, 0, 30, 10, 130, 2);
    assert.equal(each.check(7, 0, 50, 10, 0).kind, 'out-of-order');
    assert.equal(each.check(7, 0, 40, 10, 0).kind, 'next');
  }
});
