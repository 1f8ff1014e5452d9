// The disk runs full under load, again and again: on a small file system of the machine if the test may mount one, else on
// a disk in memory.
import { startBrokerUnderTest } from '../clients/broker-under-test.ts';
import { FullDiskLoad, type LoadOptions } from './full-disk-load.ts';
import { startMemoryBroker } from './memory-broker.ts';
import { mountSmallDisk, type SmallDisk } from './small-disk.ts';

const kib = 1024;
const mib = 1024 * kib;

interface RunningBroker extends AsyncDisposable {
  readonly kafka: string;
  readonly amqp: string;
  restart(): Promise<void>;
}

type Shape = Omit<LoadOptions, 'kafka' | 'amqp'>;

/** Nine files of the write-ahead log; folds begin when five hold something, and the disk has room for seven and a half. */
const diskBytes = 480 * mib;
const walBytesMax = 576 * mib;
const diskShape: Shape = { recordBytes: 900 * kib, messageBytes: 32 * kib, recordsPerTopic: 32, topicsDeleted: 3 };

/** The same, an eighth of it. */
const memoryOptions = { diskBytes: diskBytes / 8, walFileBytes: 8 * mib, walFiles: 9 };
const memoryShape: Shape = { recordBytes: 110 * kib, messageBytes: 4 * kib, recordsPerTopic: 32, topicsDeleted: 3 };

const onSmallDisk = async (disk: SmallDisk): Promise<RunningBroker> => {
  const broker = await startBrokerUnderTest([`storage.wal.bytes.max=${walBytesMax}`], disk);
  const { kafka, amqp } = broker;
  return {
    kafka,
    amqp,
    restart: async () => {
      await broker.kill();
      await broker.restart();
    },
    [Symbol.asyncDispose]: () => broker.stop(),
  };
};

/** @throws AssertionError when the broker broke a promise. Returns how many promises there were. */
const checkBroker = async (broker: RunningBroker, shape: Shape, cycles: number): Promise<number> => {
  const load = new FullDiskLoad({ kafka: broker.kafka, amqp: broker.amqp, ...shape });
  try {
    await load.start();
    for (let cycle = 0; cycle < cycles; cycle++) await load.fillAndFree();
  } finally {
    await load[Symbol.asyncDispose]();
  }
  // With a disk as full as the last cycle left it.
  await broker.restart();
  await load.verifyAll();
  return load.acknowledgedCount;
};

/** With a broker in this process. */
export const checkFullMemoryDisk = async (cycles: number): Promise<number> => {
  await using broker = await startMemoryBroker(memoryOptions);
  return await checkBroker(broker, memoryShape, cycles);
};

/** With a broker in a process of its own. @param onFallback told why it is a disk in memory after all */
export const checkFullDisk = async (cycles: number, onFallback: (reason: string) => void): Promise<number> => {
  const disk = await mountSmallDisk(diskBytes);
  if (typeof disk === 'string') {
    onFallback(disk);
    return checkFullMemoryDisk(cycles);
  }
  try {
    await using broker = await onSmallDisk(disk);
    return await checkBroker(broker, diskShape, cycles);
  } finally {
    await disk[Symbol.asyncDispose]();
  }
};
