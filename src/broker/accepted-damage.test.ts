/**
 * Damaged files opened by somebody who accepts the damage: what does not lie in it is all there, nothing else is served than what
 * was written, no offset is given twice, and the next open needs no acceptance.
 *
 * ACCEPTED_DAMAGE_SEED replays one run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchBaseOffset } from '../log/batch-header.ts';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import type { FrameItem } from '../shard/local/inspect-items.ts';
import { inspectLog } from '../shard/local/inspect-log.ts';
import { FaultyStorage } from '../storage/faulty-storage.ts';
import { type MemoryDisk, MemoryStorage, seededRandom } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { type Files, makeFiles, messageCount, messageOf, recordCount, recordOf, writeFiles } from './damaged-files.ts';
import { collect, open, produce, publish, type Stand } from './folding-stand.ts';

const runs = Number(process.env.ACCEPTED_DAMAGE_RUNS ?? 60);
const seeds =
  process.env.ACCEPTED_DAMAGE_SEED === undefined
    ? Array.from({ length: runs }, () => Math.floor(Math.random() * 2 ** 32))
    : [Number(process.env.ACCEPTED_DAMAGE_SEED)];

const isDamage = (error: unknown): error is Error => (error as { kind?: string }).kind === 'corrupt';

interface Contents {
  /** Offsets of records and messages that can be read. */
  readonly records: readonly number[];
  readonly messages: readonly number[];
  /** What is told to readers. */
  readonly damage: readonly Error[];
}

const readRecords = async (log: Log, damage: Error[]): Promise<number[]> => {
  const reader = new LogReader(log);
  const offsets: number[] = [];
  for (let offset = log.startOffset; ; ) {
    const entry = log.findEntry(offset);
    if (entry < 0) return offsets;
    offset = Math.max(offset, log.entryFirstOffset(entry));
    try {
      // What is read in meanwhile may be folded meanwhile.
      while (!reader.locate(log.findEntry(offset), offset)) await reader.fill();
      assert.equal(batchBaseOffset(reader.chunk.buffer, reader.at), offset);
      if (offset < recordCount) {
        const value = Buffer.from(recordOf(offset));
        assert.ok(reader.chunk.buffer.indexOf(value, reader.at) < reader.entryEnd, `record ${offset}`);
      }
      offsets.push(offset);
    } catch (error) {
      if (!isDamage(error)) throw error;
      damage.push(error);
    }
    offset++;
  }
};

const readMessages = async ({ broker }: Stand, damage: Error[]): Promise<number[]> => {
  const queue = broker.vhost('/')?.queue('work');
  const offsets: number[] = [];
  for (let left = queue?.subscription.readyCount ?? 0; left > 0; left--) {
    try {
      const [received] = await collect(queue!, 1, true);
      const { offset, body } = received!;
      if (offset < messageCount) assert.equal(body, messageOf(offset));
      offsets.push(offset);
    } catch (error) {
      if (!isDamage(error)) throw error;
      damage.push(error);
      return offsets;
    }
  }
  return offsets;
};

const topicLog = ({ broker }: Stand): Log | undefined => broker.vhost('/')?.topic('events')?.partitions[0];
const queueLog = ({ broker }: Stand): Log | undefined => broker.vhost('/')?.queue('work')?.log;

/** Opens with acceptance, writes a little, and opens again without. */
const acceptAndReopen = async (disk: MemoryDisk): Promise<Contents & { readonly losses: readonly string[] }> => {
  const losses: string[] = [];
  const accepted = await open(disk, undefined, (what) => losses.push(what));
  const [topic, queue] = [topicLog(accepted), queueLog(accepted)];
  const damage: Error[] = [];
  const before = topic === undefined ? [] : await readRecords(topic, damage);
  const [nextRecord, nextMessage] = [topic?.endOffset ?? 0, queue?.endOffset ?? 0];
  if (topic !== undefined) {
    assert.ok(nextRecord >= recordCount, `record ${nextRecord} is given again`);
    produce(topic, ['new']);
  }
  if (queue !== undefined) {
    assert.ok(nextMessage >= messageCount, `message ${nextMessage} is given again`);
    publish(accepted, [queue], 'new');
  }
  await accepted.broker.close();
  const again = await open(disk);
  const log = topicLog(again);
  const records = log === undefined ? [] : await readRecords(log, damage);
  assert.deepEqual(records, topic === undefined ? [] : [...before, nextRecord]);
  const messages = await readMessages(again, damage);
  if (damage.length === 0 && queue !== undefined) assert.equal(messages.at(-1), nextMessage);
  await again.broker.close();
  return { records: before, messages: messages.filter((offset) => offset < messageCount), damage, losses };
};

const missing = (found: readonly number[], count: number): number => count - found.length;

/** Bytes [at, at + lengthBytes) of a file. */
const spoil = (files: Files, name: string, at: number, lengthBytes: number): Files => {
  const bytes = Buffer.from(files.get(name)!);
  for (let i = at; i < Math.min(bytes.length, at + lengthBytes); i++) bytes[i] = bytes[i]! ^ (1 + (i % 255));
  return new Map([...files, [name, bytes]]);
};

/** Opens without acceptance and reads all that is there. */
const openOrdinarily = async (files: Files): Promise<'refused' | 'told' | 'whole'> => {
  let stand: Stand;
  try {
    stand = await open(await writeFiles(files));
  } catch (error) {
    assert.ok(isDamage(error), String(error));
    return 'refused';
  }
  const damage: Error[] = [];
  const log = topicLog(stand);
  if (log !== undefined) await readRecords(log, damage);
  await readMessages(stand, damage);
  await stand.broker.close();
  return damage.length > 0 ? 'told' : 'whole';
};

const pick = <Item>(items: readonly Item[], random: () => number): Item => items[Math.floor(random() * items.length)]!;

const run = async (files: Files, seed: number): Promise<'nothing' | 'told' | 'lost'> => {
  const random = seededRandom(seed);
  const name = pick([...files.keys()], random);
  const at = Math.floor(random() * files.get(name)!.length);
  const lengthBytes = random() < 0.7 ? 1 : Math.floor(random() * 4096);
  const spoiled = spoil(files, name, at, lengthBytes);
  const place = `${name} ${at}+${lengthBytes}`;
  const ordinarily = await openOrdinarily(spoiled);
  const { records, messages, damage, losses } = await acceptAndReopen(await writeFiles(spoiled));
  for (const error of damage) assert.ok(error.message.includes(name), `${place}: ${error.message}`);
  const gone = missing(records, recordCount) + missing(messages, messageCount);
  if (ordinarily === 'refused') assert.ok(losses.length > 0, `${place}: refused, but nothing is said to be lost`);
  if (damage.length > 0) return 'told';
  if (gone > 0) assert.ok(losses.length > 0, `${place}: ${gone} messages are gone silently`);
  if (name.startsWith('wal-')) {
    // One frame holds a message and a record; a piece of 4 KiB touches up to four.
    const framesMax = lengthBytes === 1 ? 1 : 6;
    assert.ok(missing(records, recordCount) <= framesMax && missing(messages, messageCount) <= framesMax, place);
  }
  return losses.length > 0 ? 'lost' : 'nothing';
};

/** The last frame of the log: without it damage at the end looks like a write that was cut off. */
const lastFrame = async (files: Files): Promise<FrameItem> => {
  const shard = await new MemoryStorage(await writeFiles(files)).subdirectory('shard-0');
  let last: FrameItem | undefined;
  for await (const item of inspectLog(shard)) if (item.kind === 'frame' && item.chain === 'ok') last = item;
  return last!;
};

/** Several places, and files that are gone; not the last one, of which nobody can know without a checkpoint. */
const spoilMuch = (files: Files, proof: FrameItem, random: () => number): Files => {
  let spoiled = files;
  for (let count = 1 + Math.floor(random() * 4); count > 0; count--) {
    const name = pick([...spoiled.keys()], random);
    const bytes = spoiled.get(name)!;
    if (random() < 0.25 && name !== proof.file) spoiled = new Map([...spoiled].filter(([each]) => each !== name));
    else spoiled = spoil(spoiled, name, Math.floor(random() * bytes.length), Math.floor(random() * 9000));
  }
  const { file, offset, lengthBytes } = proof;
  files.get(file)!.copy(spoiled.get(file) ?? Buffer.alloc(0), offset, offset, offset + lengthBytes);
  return spoiled;
};

/** Dies at some operation, with what it has written and not synced. */
const crashWhileAccepting = async (disk: MemoryDisk, random: () => number): Promise<void> => {
  const crashed = new Promise<void>((resolve) => {
    const wrap = (storage: Storage): Storage => {
      const faulty = new FaultyStorage(storage);
      faulty.inject({ nth: 1 + Math.floor(random() * 120), effect: 'crash' });
      faulty.onCrash = resolve;
      return faulty;
    };
    // One that lives long enough is closed, which dies too or is done.
    void open(disk, wrap, () => {}).then(({ broker }) => broker.close().then(resolve));
  });
  await crashed;
  disk.crash(Math.floor(random() * 2 ** 32));
};

const forEachSeed = async (action: (seed: number) => Promise<void>): Promise<void> => {
  for (const seed of seeds) {
    try {
      await action(seed);
    } catch (error) {
      throw new Error(`ACCEPTED_DAMAGE_SEED=${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
};

test('what does not lie in the damage is there, no offset is given again, and the next open is an ordinary one', async (t) => {
  const files = await makeFiles();
  const outcomes = { nothing: 0, told: 0, lost: 0 };
  await forEachSeed(async (seed) => {
    outcomes[await run(files, seed)]++;
  });
  t.diagnostic(JSON.stringify(outcomes));
});

test('so it is with damage in several places, with files that are gone, and when the open that accepts it dies', async (t) => {
  const files = await makeFiles();
  const proof = await lastFrame(files);
  let crashes = 0;
  await forEachSeed(async (seed) => {
    const random = seededRandom(seed);
    const spoiled = spoilMuch(files, proof, random);
    const disk = await writeFiles(spoiled);
    const ordinarily = await openOrdinarily(spoiled);
    if (random() < 0.6) {
      crashes++;
      await crashWhileAccepting(disk, random);
    }
    const { records, messages, damage, losses } = await acceptAndReopen(disk);
    const gone = missing(records, recordCount) + missing(messages, messageCount);
    if (gone > 0 && damage.length === 0) assert.notEqual(ordinarily, 'whole', `${gone} messages are gone: ${losses}`);
  });
  t.diagnostic(`${crashes} crashes`);
});

test('a damaged checkpoint still says how far the log went', async () => {
  const files = await makeFiles();
  const names = [...files.keys()];
  const checkpoint = names.filter((name) => /^checkpoint-\d+$/.test(name)).at(-1)!;
  const { file } = await lastFrame(files);
  const spoiled = new Map([...spoil(files, checkpoint, 8, 1)].filter(([name]) => name !== file));
  assert.equal(await openOrdinarily(spoiled), 'refused');
  await acceptAndReopen(await writeFiles(spoiled));
});
