/**
 * Bits that flip in the files of a closed broker: what is delivered afterwards is what was written. Damage is refused at open or
 * told to the reader that meets it, by file and place, and everything else is served.
 *
 * BIT_FLIP_SEED replays one flip.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '../core/ids.ts';
import { batchBaseOffset, batchHeaderBytes } from '../log/batch-header.ts';
import { batchPayload, decodeBatchRecords } from '../log/batch-records.ts';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import { MemoryStorage, seededRandom } from '../storage/memory-storage.ts';
import { type Files, makeFiles, messageCount, messageOf, recordCount, recordOf, writeFiles } from './damaged-files.ts';
import { collect, declare, kib, open, publish, type Stand } from './folding-stand.ts';

const runs = 150;
const seeds =
  process.env.BIT_FLIP_SEED === undefined
    ? Array.from({ length: runs }, () => Math.floor(Math.random() * 2 ** 32))
    : [Number(process.env.BIT_FLIP_SEED)];
const isDamage = (error: unknown): error is Error => (error as { kind?: string }).kind === 'corrupt';

/** What can be read of the log, by offset; asks for each offset, and notes where damage is told. */
const readLog = async (log: Log, damage: Error[]): Promise<number> => {
  const reader = new LogReader(log);
  let readCount = 0;
  for (let offset = log.startOffset; offset < log.durableEnd; offset++) {
    try {
      while (!reader.locate(log.findEntry(offset), offset)) await reader.fill();
    } catch (error) {
      if (!isDamage(error)) throw error;
      damage.push(error);
      continue;
    }
    const { buffer } = reader.chunk;
    const header = Buffer.from(buffer.subarray(reader.at, reader.at + batchHeaderBytes));
    const base = batchBaseOffset(buffer, reader.at);
    for (const { offsetDelta, value } of decodeBatchRecords(header, 0, batchPayload(buffer, reader.at)))
      assert.equal(String(value), recordOf(base + offsetDelta));
    readCount++;
  }
  return readCount;
};

const readAll = async (stand: Stand, damage: Error[]): Promise<{ messages: number; records: number }> => {
  const host = stand.broker.vhost('/')!;
  const queue = host.queue('work');
  const log = host.topic('events')?.partitions[0];
  assert.ok(queue !== undefined && log !== undefined);
  const records = await readLog(log, damage);
  let messages = 0;
  for (; messages < messageCount; messages++) {
    try {
      const [received] = await collect(queue, 1, true);
      assert.equal(received!.offset, messages);
      assert.equal(received!.body, messageOf(messages));
    } catch (error) {
      if (!isDamage(error)) throw error;
      damage.push(error);
      break;
    }
  }
  return { messages, records };
};

type Outcome = 'refused' | 'told' | 'harmless';

const flipRun = async (files: Files, seed: number): Promise<Outcome> => {
  const random = seededRandom(seed);
  const names = [...files.keys()].filter((name) => files.get(name)!.length > 0);
  const name = names[Math.floor(random() * names.length)]!;
  const at = Math.floor(random() * files.get(name)!.length);
  return await flipAt(files, { name, at, bit: Math.floor(random() * 8) });
};

const flipAt = async (files: Files, { name, at, bit }: { name: string; at: number; bit: number }): Promise<Outcome> => {
  const bytes = Buffer.from(files.get(name)!);
  bytes[at] = bytes[at]! ^ (1 << bit);
  const disk = await writeFiles(new Map([...files, [name, bytes]]));
  let stand: Stand;
  try {
    stand = await open(disk);
  } catch (error) {
    assert.ok(isDamage(error) || (error as { kind?: string }).kind === 'unsupported', `${name} ${at}: ${error}`);
    const { message } = error as Error;
    assert.ok(message.includes(name), `${name} ${at}: ${message}`);
    assert.match(message.replaceAll(/[a-z]-\d+/g, ''), /\d/, `${name} ${at}: no offset in ${message}`);
    return 'refused';
  }
  const damage: Error[] = [];
  const { messages, records } = await readAll(stand, damage);
  await stand.broker.close();
  for (const error of damage) assert.ok(error.message.includes(name), `${name} ${at}: ${error.message}`);
  if (damage.length > 0) return 'told';
  assert.deepEqual({ messages, records }, { messages: messageCount, records: recordCount }, `${name} ${at}`);
  return 'harmless';
};

test('what is served is what was written, wherever a bit has flipped', async (t) => {
  const files = await makeFiles();
  const kinds = new Set([...files.keys()].map((name) => name.split('-')[0]));
  assert.deepEqual([...kinds].sort(), ['checkpoint', 'closed', 'segment', 'wal']);
  const outcomes = { refused: 0, told: 0, harmless: 0 };
  for (const seed of seeds) {
    try {
      outcomes[await flipRun(files, seed)]++;
    } catch (error) {
      throw new Error(`BIT_FLIP_SEED=${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  t.diagnostic(JSON.stringify(outcomes));
});

test('so it is in what files begin and end with', async () => {
  const files = await makeFiles();
  let refusedCount = 0;
  for (const [name, { length }] of files) {
    const places = [8, 30, 60, length - 71, length - 21, length - 1].filter((at) => at >= 0 && at < length);
    for (const at of places) if ((await flipAt(files, { name, at, bit: 5 })) === 'refused') refusedCount++;
  }
  assert.ok(refusedCount > 20, `${refusedCount} refused`);
});

test('a bit that flips in the log while the broker runs is told to whoever reads there, and only to them', async () => {
  const disk = await writeFiles(await makeFiles());
  const stand = await open(disk);
  const log = stand.broker.vhost('/')!.topic('events')!.partitions[0]!;
  const entry = log.firstEntryFrom(0 as Position);
  const position = log.entryPosition(entry);
  const name = `wal-${String(Math.floor(position / (64 * kib))).padStart(12, '0')}`;
  const shard = await new MemoryStorage(disk).subdirectory('shard-0');
  const file = await shard.open(name, { create: false, durable: false });
  const at = (position % (64 * kib)) + 100;
  await new Promise((resolve) => file.write(Buffer.from([0xff]), 0, 1, at, resolve));
  const damage: Error[] = [];
  const { records } = await readAll(stand, damage);
  assert.ok(records > 0 && records < recordCount);
  assert.ok(damage.length > 0);
  for (const error of damage) assert.match(error.message, new RegExp(`${name} is damaged at byte \\d+$`));
  const other = declare(stand.broker, 'other');
  publish(stand, [other.log!], 'goes on');
  assert.equal((await collect(other, 1))[0]!.body, 'goes on');
  await stand.broker.close();
});
