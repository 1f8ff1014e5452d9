/** For tests: the files of a broker with messages in its log, in segments and in a checkpoint, to be damaged. */
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { declare, kib, open, produce, publish } from './folding-stand.ts';

/** In the queue 'work'. */
export const messageCount = 260;
/** In the topic 'events', each in a batch of its own. */
export const recordCount = 130;

export const messageOf = (offset: number): string => `message ${offset} `.padEnd(kib, String(offset % 10));
export const recordOf = (offset: number): string => `record ${offset} `.padEnd(kib, String(offset % 10));

/** Every file of a shard, by name. */
export type Files = ReadonlyMap<string, Buffer>;

/**
 * Some folded, some behind the arena in the log, some in both kinds of file on their way.
 * @param end how the broker ended: after 'kill' the next one looks at all of them
 */
export const makeFiles = async (end: 'close' | 'kill' = 'close'): Promise<Files> => {
  const stand = await open(new MemoryDisk());
  const { broker } = stand;
  const queue = declare(broker, 'work');
  const topic = broker.createTopic({ vhost: '/', name: 'events', partitions: 1, config: new Map() });
  for (let offset = 0; offset < messageCount; offset++) {
    publish(stand, [queue.log!], messageOf(offset));
    if (offset % 2 === 0) produce(topic.partitions[0]!, [recordOf(offset / 2)]);
    await broker.gate.durableNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (end === 'kill') {
    stand.disk.crash(1);
    return readFiles(stand.disk);
  }
  await broker.close();
  // The first frame of another broker says that all before it is on disk: a damaged one among them is no torn write.
  const again = await open(stand.disk);
  await again.broker.close();
  return readFiles(stand.disk);
};

export const readFiles = async (disk: MemoryDisk): Promise<Files> => {
  const shard = await new MemoryStorage(disk).subdirectory('shard-0');
  const files = new Map<string, Buffer>();
  for (const name of (await shard.list()).sort()) {
    const file = await shard.open(name, { create: false, durable: false });
    const bytes = Buffer.alloc(await file.sizeBytes());
    await file.read(bytes, 0, bytes.length, 0);
    files.set(name, bytes);
  }
  return files;
};

export const writeFiles = async (files: Files): Promise<MemoryDisk> => {
  const disk = new MemoryDisk();
  const shard: Storage = await new MemoryStorage(disk).subdirectory('shard-0');
  for (const [name, bytes] of files) {
    const file = await shard.open(name, { create: true, durable: false });
    await file.truncate(bytes.length);
    await new Promise((resolve) => file.write(bytes, 0, bytes.length, 0, resolve));
    await file.sync();
  }
  await shard.syncDirectory();
  return disk;
};
