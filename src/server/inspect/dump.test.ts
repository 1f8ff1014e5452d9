// What a broker has stored is shown again, and a flipped bit is named with file and byte while the rest is still shown.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Broker, openBroker } from '../../broker/broker.ts';
import { foldingLimits } from '../../broker/folding-stand.ts';
import { appendBatch } from '../../log/append-batch.ts';
import { encodeBatch } from '../../log/batch-encode.ts';
import type { Log } from '../../log/log.ts';
import { inspectCheckpoint } from '../../shard/local/checkpoint-file.ts';
import { segmentPageBytes } from '../../shard/local/segment-file.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { crc32c } from '../../wire/crc32c.ts';
import { dumpShard, type ShardDumpOptions } from './dump.ts';
import type { DumpLine } from './dump-lines.ts';

const kib = 1024;
const open = (disk: MemoryDisk): Promise<Broker> =>
  openBroker({ storage: new MemoryStorage(disk), durability: 'sync', walLimits: foldingLimits });

const createQueue = (broker: Broker, name: string): Log =>
  broker
    .vhost('/')!
    .declareQueue(name, { durable: true, exclusive: false, autoDelete: false, arguments: new Map() }, undefined).log!;

const publish = (broker: Broker, log: Log, body: string): void => {
  const builder = broker.blockBuilder(broker.vhost('/')!);
  builder.begin(200, 7_000);
  builder.beginMessage();
  builder.piece(Buffer.from(body), 0, Buffer.byteLength(body));
  builder.deliver(log, builder.endMessage(), false);
  builder.commit();
};

const produce = (log: Log, values: readonly string[]): void => {
  const batch = encodeBatch(
    values.map((value) => ({ key: null, value: Buffer.from(value), headers: [], timestampMs: 7_000 })),
  );
  const source = { lengthBytes: batch.length, copyTo: (target: Buffer, at: number) => void batch.copy(target, at) };
  appendBatch(log, source, { nowMs: 7_000, stampsAppendTime: false, producersExpiredBeforeMs: 0 });
};

/** A topic of one partition and a queue, each with messages in segments and in the log. */
const storedMessages = async (): Promise<Storage> => {
  const disk = new MemoryDisk();
  const broker = await open(disk);
  const [events] = broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() }).partitions;
  const work = createQueue(broker, 'work');
  const { log } = broker.shards[0]!;
  for (let round = 0; log.liveSegments.length < 3 || log.wantsCheckpoint; round++) {
    assert.ok(round < 2_000, 'the log is folded');
    produce(events!, [`event ${round}`]);
    publish(broker, work, 'x'.repeat(2 * kib));
    await broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const start = log.endPosition; log.endPosition - start < log.limitBytes / 3; ) {
    publish(broker, work, 'x'.repeat(2 * kib));
    await broker.gate.durableNow();
  }
  publish(broker, work, 'the last one');
  broker.ack(broker.vhost('/')!.queue('work')!.subscription.parts[0]!, 0);
  broker.flushAcks();
  await broker.close();
  return new MemoryStorage(disk).subdirectory('shard-0');
};

/** Messages in the first file of the log and no checkpoint; each has a frame of its own. */
const storedFrames = async (count: number): Promise<Storage> => {
  const disk = new MemoryDisk();
  const broker = await open(disk);
  const work = createQueue(broker, 'work');
  for (let i = 0; i < count; i++) {
    publish(broker, work, `message ${i}`);
    await broker.gate.durableNow();
  }
  await broker.close();
  return new MemoryStorage(disk).subdirectory('shard-0');
};

const dump = async (storage: Storage, options: Partial<ShardDumpOptions> = {}): Promise<DumpLine[]> => {
  const lines: DumpLine[] = [];
  for await (const line of dumpShard(storage, { shard: 0, file: undefined, records: true, ...options })) {
    lines.push(JSON.parse(JSON.stringify(line)) as DumpLine);
  }
  return lines;
};

const ofKind = (lines: readonly DumpLine[], kind: string): DumpLine[] => lines.filter((line) => line.kind === kind);

const damages = (lines: readonly DumpLine[]): [file: string, offset: number][] =>
  ofKind(lines, 'damage').map(({ file, offset }) => [file!, offset!]);

const change = async (storage: Storage, name: string, at: number, edit: (bytes: Buffer) => void): Promise<void> => {
  const file = await storage.open(name, { create: false, durable: false });
  const bytes = Buffer.alloc(64);
  const lengthBytes = await file.read(bytes, 0, bytes.length, at);
  edit(bytes);
  await new Promise<void>((resolve) => file.write(bytes, 0, lengthBytes, at, () => resolve()));
  await file.close();
};

const flip = (storage: Storage, name: string, at: number): Promise<void> =>
  change(storage, name, at, (bytes) => {
    bytes[0] = bytes[0]! ^ 1;
  });

const base = (file: string): string => file.slice('shard-0/'.length);

test('checkpoints, log files, segments and records of a broker are shown, and nothing is damaged', async () => {
  const storage = await storedMessages();
  const lines = await dump(storage);
  assert.deepEqual(damages(lines), []);
  const [checkpoint] = ofKind(lines, 'checkpoint');
  assert.equal(checkpoint!.isNewest, true);
  const stored = await inspectCheckpoint(storage, checkpoint!.number as number);
  assert.ok('files' in stored);
  assert.equal(checkpoint!.position, stored.position);
  assert.deepEqual(
    checkpoint!.walFiles,
    stored.files.map(({ sequence }) => sequence),
  );
  const uses = new Map(ofKind(lines, 'wal-end').map(({ file, use }) => [base(file!), use]));
  for (const { sequence } of stored.files) assert.equal(uses.get(`wal-${String(sequence).padStart(12, '0')}`), 'log');
  const frames = ofKind(lines, 'frame');
  assert.ok(frames.length > 20, 'there are frames');
  assert.deepEqual(
    frames.filter(({ crc, chain }) => crc !== 'ok' || chain !== 'ok'),
    [],
  );

  const records = ofKind(lines, 'record');
  const last = (type: string): DumpLine => records.findLast((record) => record.type === type)!;
  assert.deepEqual(last('message-block').runs, [
    {
      logId: 2,
      firstOffset: (last('message-block').runs as { firstOffset: number }[])[0]!.firstOffset,
      count: 1,
      transient: false,
    },
  ]);
  assert.equal(last('message-block').payloadBytes, 'the last one'.length);
  assert.deepEqual(last('ack').acks, [{ logId: 2, subscriptionId: 0, from: 0, to: 1 }]);
  const { logId, records: count, codec, crc, producerId, baseTimestampMs } = last('batch');
  assert.deepEqual([logId, count, codec, crc, producerId, baseTimestampMs], [1, 1, 'none', 'ok', -1, 7_000]);

  const segments = ofKind(lines, 'segment');
  assert.ok(segments.length > 0, 'there are segments');
  assert.deepEqual(
    segments.filter(({ isNamed }) => isNamed !== true),
    [],
  );
  const rows = ofKind(lines, 'row');
  assert.equal(
    rows.length,
    segments.reduce((sum, segment) => sum + (segment.rows as number), 0),
  );
  assert.deepEqual([...new Set(rows.map(({ logId, stored }) => `${logId} ${stored}`))].sort(), [
    '1 batches',
    '2 messages',
  ]);
  for (const { file, pages } of segments) {
    assert.equal(ofKind(lines, 'segment-end').find((end) => end.file === file)!.goodPages, pages);
  }
});

test('the catalog is shown as JSON, and --file shows one file', async () => {
  const storage = await storedFrames(3);
  const lines = await dump(storage);
  const changes = ofKind(lines, 'record')
    .filter(({ type }) => type === 'catalog')
    .flatMap(({ json }) => json as { op: string }[]);
  assert.deepEqual(
    changes.map(({ op }) => op),
    ['cluster-id', 'queue-create'],
  );
  const inLog = lines.filter(({ kind }) => kind !== 'closed');
  assert.equal(inLog.length, lines.length - 1);
  assert.deepEqual(await dump(storage, { file: 'wal-000000000001' }), inLog);
  assert.deepEqual(await dump(storage, { file: 'wal-000000000009' }), []);
  assert.ok(
    (await dump(storage, { records: false })).every(({ kind }) => !['commit', 'record'].includes(kind)),
    'no records',
  );
});

test('a flipped bit in a frame is named, and the frames behind it are shown', async () => {
  const storage = await storedFrames(10);
  const before = ofKind(await dump(storage), 'frame');
  for (const within of [0, 8, 24, 60]) {
    const damaged = before[5]!;
    await flip(storage, 'wal-000000000001', damaged.offset! + within);
    const lines = await dump(storage);
    assert.deepEqual(damages(lines), [['shard-0/wal-000000000001', damaged.offset]], `a bit of byte ${within}`);
    const whole = ofKind(lines, 'frame').filter(({ crc }) => crc === 'ok');
    assert.deepEqual(
      whole.map(({ sequence }) => sequence),
      before.map(({ sequence }) => sequence).filter((sequence) => sequence !== damaged.sequence),
    );
    assert.deepEqual(
      whole.filter(({ chain }) => chain === 'broken').map(({ sequence }) => sequence),
      [7],
    );
    await flip(storage, 'wal-000000000001', damaged.offset! + within);
  }
  assert.deepEqual(damages(await dump(storage)), []);
});

test('a torn last frame is no damage', async () => {
  const storage = await storedFrames(10);
  const { offset } = ofKind(await dump(storage), 'frame').at(-1)!;
  await flip(storage, 'wal-000000000001', offset! + 50);
  const lines = await dump(storage);
  assert.deepEqual(damages(lines), []);
  assert.equal(ofKind(lines, 'frame').at(-1)!.crc, 'damaged');
  assert.equal(ofKind(lines, 'wal-end')[0]!.offset, offset);
});

test('damage before the end of a file that a checkpoint knows, in its header, and at the first frame of the last file', async () => {
  const storage = await storedMessages();
  const before = await dump(storage);
  const inUse = ofKind(before, 'wal-end').filter(({ use }) => use === 'log');
  assert.ok(inUse.length > 2, `${inUse.length} files are in use`);
  const frames = ofKind(before, 'frame');
  const lastFrame = frames.filter(({ file }) => file === inUse[0]!.file).at(-1)!;
  const cases: [file: string, at: number, named: number][] = [
    [lastFrame.file!, lastFrame.offset! + 45, lastFrame.offset!],
    [inUse[1]!.file!, 9, 0],
    [inUse.at(-1)!.file!, 512 + 45, 512],
  ];
  for (const [file, at, named] of cases) {
    await flip(storage, base(file), at);
    assert.deepEqual(damages(await dump(storage)), [[file, named]]);
    await flip(storage, base(file), at);
  }
});

test('a damaged checkpoint, and files that are missing', async () => {
  const storage = await storedMessages();
  const checkpoints = ofKind(await dump(storage), 'checkpoint');
  assert.equal(checkpoints.length, 2);
  await flip(storage, base(checkpoints[0]!.file!), 60);
  const lines = await dump(storage);
  assert.deepEqual(damages(lines)[0], [checkpoints[0]!.file, 8]);
  assert.equal(ofKind(lines, 'checkpoint')[0]!.isNewest, true, 'the one before it is used');
  await flip(storage, base(checkpoints[0]!.file!), 60);

  const [part] = (checkpoints[0]!.parts as string[]).slice(-1);
  assert.ok(!(checkpoints[1]!.parts as string[]).includes(part!));
  await flip(storage, part!, 40);
  assert.deepEqual(damages(await dump(storage))[0], [`shard-0/${part}`, 24]);
  await flip(storage, part!, 40);

  const whole = await dump(storage);
  const [walFile] = ofKind(whole, 'wal-end').filter(({ use }) => use === 'log');
  const [segment] = ofKind(whole, 'segment');
  await storage.remove(base(walFile!.file!));
  await storage.remove(base(segment!.file!));
  const missing = await dump(storage);
  assert.deepEqual(damages(missing), [
    [walFile!.file, 0],
    [segment!.file, 0],
  ]);
});

test('damaged pages, index, page table and footer of a segment', async () => {
  const storage = await storedMessages();
  const segment = ofKind(await dump(storage), 'segment').find(({ pages }) => (pages as number) > 1)!;
  const { file, sizeBytes, dataBytes, rows, pages } = segment as DumpLine & Record<string, number>;
  const pageTableOffset = sizeBytes! - 64 - 4 * pages!;
  const cases: [at: number, named: number, rows: number, goodPages: number | undefined][] = [
    [segmentPageBytes + 5, segmentPageBytes, rows!, pages! - 1],
    [dataBytes! + 3, dataBytes!, 0, pages!],
    [pageTableOffset + 1, pageTableOffset, rows!, undefined],
    [sizeBytes! - 30, sizeBytes! - 64, 0, undefined],
  ];
  for (const [at, named, rowCount, goodPages] of cases) {
    await flip(storage, base(file!), at);
    const lines = (await dump(storage)).filter((line) => line.file === file);
    assert.deepEqual(damages(lines), [[file, named]]);
    assert.equal(ofKind(lines, 'row').length, rowCount);
    assert.equal(ofKind(lines, 'segment-end')[0]?.goodPages, goodPages);
    await flip(storage, base(file!), at);
  }
});

test('files of another format are told from damaged ones', async () => {
  const storage = await storedMessages();
  const lines = await dump(storage);
  const [checkpoint] = ofKind(lines, 'checkpoint');
  const wal = ofKind(lines, 'wal-end').findLast(({ use }) => use === 'log')!;
  const setVersion = (bytes: Buffer): void => {
    bytes.writeUInt16LE(9, 6);
    bytes.writeUInt32LE(crc32c(bytes, 0, 24), 24);
  };
  await change(storage, base(wal.file!), 0, setVersion);
  await change(storage, base(checkpoint!.file!), 0, (bytes) => bytes.writeUInt16LE(9, 6));
  const found = ofKind(await dump(storage), 'unsupported');
  assert.deepEqual(
    found.map(({ file }) => file),
    [checkpoint!.file, wal.file],
  );
  for (const { what } of found) assert.match(what as string, /it has format 9/);
});
