/**
 * Stored bytes that the system does not give (bad sectors, EIO): whoever wants them is told, by file and byte, and everything else
 * goes on. The broker does not start with a log that has such places, unless that is accepted.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '../core/ids.ts';
import { LogReader } from '../log/log-reader.ts';
import { inspectLog } from '../shard/local/inspect-log.ts';
import { type Fault, FaultyStorage } from '../storage/faulty-storage.ts';
import { type MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { type Files, makeFiles, messageCount, messageOf, recordCount, writeFiles } from './damaged-files.ts';
import { collect, declare, kib, open, publish, type Stand } from './folding-stand.ts';
import type { Queue } from './queues/queue.ts';

const blockBytes = 4096;

/** A bad sector of a file, until the storage is healed. */
const badSector = (name: string, at: number): Fault => ({
  operation: 'read',
  name: new RegExp(`^${name}$`),
  bytes: { start: at, end: at + 1 },
  nth: 1,
  times: Number.POSITIVE_INFINITY,
  effect: 'error',
  code: 'EIO',
});

/** Opens the disk with faults; what they are can be changed. */
const openFaulty = async (
  disk: MemoryDisk,
  faults: readonly Fault[],
  onLoss?: (what: string) => void,
): Promise<{ stand: Stand; faulty: FaultyStorage }> => {
  let faulty: FaultyStorage | undefined;
  const wrap = (storage: MemoryStorage): FaultyStorage => {
    faulty = new FaultyStorage(storage);
    for (const fault of faults) faulty.inject(fault);
    return faulty;
  };
  const stand = await open(disk, (storage) => wrap(storage as MemoryStorage), onLoss);
  return { stand, faulty: faulty! };
};

const isDamage = (error: unknown): error is Error => (error as { kind?: string }).kind === 'corrupt';

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

const close = async ({ broker, clock }: Stand): Promise<void> => {
  let isClosed = false;
  const closing = broker.close().finally(() => {
    isClosed = true;
  });
  while (!isClosed) {
    clock.advance(100);
    await turns(1);
  }
  await closing;
};

const assertServes = async (stand: Stand): Promise<void> => {
  const other = declare(stand.broker, 'other');
  publish(stand, [other.log!], 'goes on');
  assert.equal((await collect(other, 1, true))[0]!.body, 'goes on');
  assert.equal(stand.broker.gate.hasFailed, false);
};

/** The file in which the first message of the queue lies, and where. */
const placeOf = async ({ broker, disk }: Stand, queue: Queue): Promise<{ name: string; at: number }> => {
  const position = queue.log!.entryPosition(0);
  const walFileBytes = 64 * kib;
  if (position < 2 ** 51) {
    const name = `wal-${String(Math.floor(position / walFileBytes)).padStart(12, '0')}`;
    return { name, at: position % walFileBytes };
  }
  const { segments } = broker.shards[0]!.log;
  const shard = await new MemoryStorage(disk).subdirectory('shard-0');
  for (const name of await shard.list()) {
    const range = name.startsWith('segment-') ? segments.rangeOf(Number(name.slice('segment-'.length))) : undefined;
    if (range !== undefined && position >= range.start && position < range.end)
      return { name, at: position - range.start };
  }
  assert.fail('no file');
};

test('a consumer is told of a segment that cannot be read, by file and byte, and everybody else goes on', async () => {
  const disk = await writeFiles(await makeFiles());
  const { stand, faulty } = await openFaulty(disk, []);
  const queue = stand.broker.vhost('/')!.queue('work')!;
  const { name, at } = await placeOf(stand, queue);
  assert.match(name, /^segment-/);
  faulty.inject(badSector(name, at));
  for (let attempt = 0; attempt < 3; attempt++) {
    await assert.rejects(collect(queue, 1), (error) => {
      assert.ok(isDamage(error));
      const block = at - (at % blockBytes);
      assert.match(error.message, new RegExp(`^${name} is damaged: .*nothing can be read at byte ${block} \\(EIO`));
      return true;
    });
  }
  await assertServes(stand);
  faulty.heal();
  assert.equal((await collect(queue, 1))[0]!.body, messageOf(0));
  await close(stand);
});

test('so it is with a file of the log', async () => {
  const disk = await writeFiles(await makeFiles());
  const { stand, faulty } = await openFaulty(disk, []);
  const log = stand.broker.vhost('/')!.topic('events')!.partitions[0]!;
  const position = log.entryPosition(log.firstEntryFrom(0 as Position));
  assert.ok(position < 2 ** 51);
  const name = `wal-${String(Math.floor(position / (64 * kib))).padStart(12, '0')}`;
  faulty.inject(badSector(name, position % (64 * kib)));
  await assert.rejects(log.store.shard.log.load(position, 500), (error) => {
    assert.ok(isDamage(error));
    assert.match(
      error.message,
      new RegExp(`^${name} is damaged at byte \\d+: nothing can be read at byte \\d+ \\(EIO`),
    );
    return true;
  });
  await assertServes(stand);
  await close(stand);
});

test('a place in the log that is none is the matter of whoever is led there', async () => {
  const { stand } = await openFaulty(await writeFiles(await makeFiles()), []);
  const queue = declare(stand.broker, 'misled');
  publish(stand, [queue.log!], 'here');
  await stand.broker.gate.durableNow();
  const reader = stand.broker.shards[0]!.log;
  const load = reader.load.bind(reader);
  reader.chunkAt = () => undefined;
  reader.load = (position) => load(position, 2 ** 30);
  await assert.rejects(collect(queue, 1), { kind: 'corrupt', message: /^wal-\d+ is to be read at byte \d+/ });
  assert.equal(stand.broker.gate.hasFailed, false);
  await close(stand);
});

test('a read for which the process lacks something is tried again, and nobody is sent away', async () => {
  const disk = await writeFiles(await makeFiles());
  const { stand, faulty } = await openFaulty(disk, []);
  const queue = stand.broker.vhost('/')!.queue('work')!;
  faulty.inject({ operation: 'open', name: /^segment-/, nth: 1, times: 2, effect: 'error', code: 'EMFILE' });
  const collected = collect(queue, 1);
  await turns(20);
  const attempts = (): number => faulty.trace.filter((operation) => operation.startsWith('open segment-')).length;
  const before = attempts();
  await turns(20);
  assert.equal(attempts(), before, 'it waits');
  for (let retry = 0; retry < 3; retry++) {
    stand.clock.advance(100);
    await turns(20);
  }
  assert.equal((await collected)[0]!.body, messageOf(0));
  assert.equal(stand.broker.gate.hasFailed, false);
  await close(stand);
});

/** Every eleventh block of each file, and the last one. */
const blocksOf = (bytes: Buffer): number[] => {
  const blocks = Array.from({ length: Math.ceil(bytes.length / blockBytes) }, (_, index) => index);
  return blocks.filter((index) => index % 11 === 0 || index === blocks.length - 1).map((index) => index * blockBytes);
};

const eachBadSector = async (action: (files: Files, name: string, at: number) => Promise<void>): Promise<void> => {
  const files = await makeFiles();
  for (const [name, bytes] of files) {
    for (const at of blocksOf(bytes)) {
      try {
        await action(files, name, at);
      } catch (error) {
        throw new Error(`${name} ${at}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
};

/** Messages of the queue and records of the topic that are served; what is not is told as damage of the file. */
const countServed = async (stand: Stand, name: string): Promise<number> => {
  const host = stand.broker.vhost('/')!;
  let served = 0;
  for (const log of [host.queue('work')!.log!, host.topic('events')!.partitions[0]!]) {
    const reader = new LogReader(log);
    for (let offset = log.startOffset; offset < log.durableEnd; offset++) {
      const entry = log.findEntry(offset);
      if (entry < 0) break;
      offset = Math.max(offset, log.entryFirstOffset(entry));
      try {
        while (!reader.locate(log.findEntry(offset), offset)) await reader.fill();
        served++;
      } catch (error) {
        assert.ok(isDamage(error), String(error));
        assert.match(error.message, new RegExp(`${name} .*\\(EIO`));
      }
    }
    reader.release();
  }
  return served;
};

test('an open that needs what cannot be read refuses, and names the file, the byte and the error', async (t) => {
  const outcomes = { refused: 0, told: 0, harmless: 0 };
  await eachBadSector(async (files, name, at) => {
    let stand: Stand;
    try {
      ({ stand } = await openFaulty(await writeFiles(files), [badSector(name, at)]));
    } catch (error) {
      assert.ok(isDamage(error), String(error));
      assert.match(error.message, new RegExp(`${name}.*nothing can be read at byte ${at} \\(EIO`));
      outcomes.refused++;
      return;
    }
    const served = await countServed(stand, name);
    outcomes[served === messageCount + recordCount ? 'harmless' : 'told']++;
    await close(stand);
  });
  t.diagnostic(JSON.stringify(outcomes));
  assert.ok(outcomes.refused > 0 && outcomes.told > 0 && outcomes.harmless > 0);
});

test('an open that accepts damage passes over what cannot be read, and the next one needs no acceptance', async () => {
  await eachBadSector(async (files, name, at) => {
    const disk = await writeFiles(files);
    const losses: string[] = [];
    const accepting = await openFaulty(disk, [badSector(name, at)], (what) => losses.push(what));
    if (accepting.stand.broker.vhost('/')!.queue('work') === undefined) {
      // Of a part that all checkpoints name: none can be used, and topics and queues are gone.
      assert.ok(name.startsWith('checkpoint-part-') && losses.length > 0);
      await assertServes(accepting.stand);
      await close(accepting.stand);
      return;
    }
    const served = await countServed(accepting.stand, name);
    if (losses.length > 0) {
      assert.ok(
        losses.some((what) => what.includes(name) && what.includes('EIO')),
        losses.join('\n'),
      );
    }
    const fewest = messageCount + recordCount - (name.startsWith('wal-') ? 16 : 200);
    assert.ok(served >= fewest, `${served} of ${messageCount + recordCount}: ${losses}`);
    await assertServes(accepting.stand);
    await close(accepting.stand);

    // A header was written again, for which the drive takes another sector.
    const isWritten = name.startsWith('wal-') && at === 0;
    const { stand } = await openFaulty(disk, isWritten ? [] : [badSector(name, at)]);
    assert.ok((await countServed(stand, name)) >= fewest);
    await close(stand);
  });
});

test('an inspection goes on behind what cannot be read, and names it', async () => {
  await eachBadSector(async (files, name, at) => {
    const shard = await new MemoryStorage(await writeFiles(files)).subdirectory('shard-0');
    const faulty = new FaultyStorage(shard);
    faulty.inject(badSector(name, at));
    const seen = new Set<string>();
    let isNamed = false;
    for await (const item of inspectLog(faulty)) {
      seen.add(item.file);
      if (item.kind === 'damage' && item.file === name && item.what.includes(`byte ${at} (EIO`)) isNamed = true;
    }
    for (const each of files.keys()) if (!each.startsWith('checkpoint-')) assert.ok(seen.has(each), each);
    assert.ok(isNamed, 'it is not named');
  });
});
