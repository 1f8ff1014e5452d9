/**
 * A fault or a crash at any operation of the storage, while queues and topics are written, settled, folded, checkpointed and
 * given back: what was durable is there afterwards, once and in order, what was settled stays away, and nothing is left over.
 *
 * Operations are sampled evenly; folding-faults.long.test.ts takes all. FOLDING_FAULT_RUNS sets how many for each kind of fault,
 * FOLDING_FAULT_AT tries that one only.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../core/limits.ts';
import { batchBaseOffset, batchHeaderBytes } from '../log/batch-header.ts';
import { batchPayload, decodeBatchRecords } from '../log/batch-records.ts';
import type { Log } from '../log/log.ts';
import { LogReader } from '../log/log-reader.ts';
import { checkpointDeltasMax } from '../shard/local/wal-limits.ts';
import { recordType } from '../shard/shard.ts';
import { type Fault, FaultyStorage } from '../storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../storage/memory-storage.ts';
import { collect, declare, kib, open, produce, publish, type Stand } from './folding-stand.ts';
import type { Queue } from './queues/queue.ts';

const rounds = 70;
const messagesPerRound = 4;
const settledPerRound = 3;
/** The first so many rounds only fill a topic, which has segments for itself so. */
const fillingRounds = 22;
/** That topic is deleted. */
const deletingRound = 40;
/** In these rounds the broker looks for segments to be written anew. */
const isCheckingRound = (round: number): boolean => round > deletingRound && round % 4 === 0;
const runsPerKind = Number(process.env.FOLDING_FAULT_RUNS ?? 20);
const onlyAt = process.env.FOLDING_FAULT_AT;

/** Nothing that goes on by itself takes so many turns of the event loop. */
const turnsMax = 2_000;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What was asked of the broker, and how much of it was answered. */
class Model {
  /** By offset. */
  readonly messages: string[] = [];
  readonly records: string[] = [];
  durableMessages = 0;
  durableRecords = 0;
  /** Settled, answered or not; the answered ones. */
  readonly settled = new Set<number>();
  readonly durablySettled = new Set<number>();

  noteDurable(): void {
    this.durableMessages = this.messages.length;
    this.durableRecords = this.records.length;
    for (const offset of this.settled) this.durablySettled.add(offset);
  }
}

const partition = ({ broker }: Stand, topic: string): Log | undefined => broker.vhost('/')!.topic(topic)?.partitions[0];

/** Lets time pass until the work is done; false if the storage failed or crashed before. */
const during = async (stand: Stand, work: Promise<unknown>): Promise<boolean> => {
  let outcome: boolean | undefined;
  void stand.failed.then(() => {
    outcome ??= false;
  });
  const done = work.then(() => {
    outcome ??= true;
  });
  while (outcome === undefined && !stand.isDead()) {
    stand.clock.advance(100);
    await Promise.race([turn(), done]);
  }
  return outcome ?? false;
};

const untilDurable = (stand: Stand): Promise<boolean> => during(stand, stand.broker.gate.durableNow());

/** Also of one whose storage has failed. */
const close = async ({ broker, clock }: Stand): Promise<void> => {
  let isClosed = false;
  const closed = broker.close().finally(() => {
    isClosed = true;
  });
  while (!isClosed) {
    clock.advance(100);
    await Promise.race([turn(), closed]);
  }
};

/** Returns false if the storage failed, at a commit or in the background. */
const workload = async (stand: Stand, model: Model): Promise<boolean> => {
  const { broker } = stand;
  try {
    const queue = declare(broker, 'work');
    const ballast = declare(broker, 'ballast');
    for (const name of ['events', 'deleted'])
      broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
    for (let round = 0; round < rounds; round++) {
      if (round < fillingRounds) produce(partition(stand, 'deleted')!, ['d'.repeat(8 * kib)]);
      else write(stand, queue, model);
      if (round === deletingRound) broker.deleteTopic(broker.vhost('/')!.topic('deleted')!);
      if (isCheckingRound(round)) stand.clock.advance(limits.segmentCheckMs);
      publish(stand, [ballast.log!], 'b'.repeat(6 * kib));
      broker.vhost('/')!.purgeQueue(ballast);
      if (!(await untilDurable(stand))) return false;
      model.noteDurable();
      if (round <= fillingRounds || round % 2 === 0) continue;
      if (!(await during(stand, settleSome(stand, queue, model)))) return false;
    }
    broker.flushAcks();
    if (!(await untilDurable(stand))) return false;
    model.noteDurable();
    return true;
  } catch (error) {
    assert.equal((error as { kind?: string }).kind, 'storage-failed', String(error));
    return false;
  }
};

const write = (stand: Stand, queue: Queue, model: Model): void => {
  for (let i = 0; i < messagesPerRound; i++) {
    const body = `message ${model.messages.length} `.padEnd(kib, 'm');
    model.messages.push(body);
    publish(stand, [queue.log!], body);
  }
  const value = `record ${model.records.length} `.padEnd(kib, 'r');
  model.records.push(value);
  produce(partition(stand, 'events')!, [value]);
};

/** Settles every other message of some that wait, and gives the others back. */
const settleSome = async (stand: Stand, queue: Queue, model: Model): Promise<void> => {
  const { broker } = stand;
  const part = queue.subscription.parts[0]!;
  const received = await collect(queue, 2 * settledPerRound);
  for (const [index, { offset }] of received.entries()) {
    if (index % 2 === 0) {
      model.settled.add(offset);
      broker.ack(part, offset);
    } else {
      broker.requeue(part, offset);
    }
  }
};

/** Values by offset. */
const readBatches = async (log: Log): Promise<Map<number, string>> => {
  const reader = new LogReader(log);
  const found = new Map<number, string>();
  for (let offset = log.startOffset; offset < log.durableEnd; offset++) {
    while (!reader.locate(log.findEntry(offset), offset)) await reader.fill();
    const { buffer } = reader.chunk;
    const header = Buffer.from(buffer.subarray(reader.at, reader.at + batchHeaderBytes));
    for (const { offsetDelta, value } of decodeBatchRecords(header, 0, batchPayload(buffer, reader.at)))
      found.set(batchBaseOffset(buffer, reader.at) + offsetDelta, String(value));
  }
  return found;
};

const verify = async (stand: Stand, model: Model): Promise<void> => {
  const queue = stand.broker.vhost('/')!.queue('work');
  assert.ok(queue !== undefined || model.durableMessages === 0, 'the queue is there');
  if (queue !== undefined) await verifyQueue(stand, queue, model);
  const log = partition(stand, 'events');
  assert.ok(log !== undefined || model.durableRecords === 0, 'the topic is there');
  if (log === undefined) return;
  const records = await readBatches(log);
  assert.ok(log.endOffset >= model.durableRecords && log.endOffset <= model.records.length);
  assert.deepEqual([...records.values()], model.records.slice(0, log.endOffset));
};

const verifyQueue = async (stand: Stand, queue: Queue, model: Model): Promise<void> => {
  const { endOffset } = queue.log!;
  assert.ok(endOffset >= model.durableMessages && endOffset <= model.messages.length, 'no offset is given again');
  const received = queue.messageCount === 0 ? [] : await collect(queue, queue.messageCount);
  const offsets = received.map(({ offset }) => offset);
  assert.deepEqual(
    offsets,
    [...new Set(offsets)].sort((left, right) => left - right),
  );
  for (const { offset, body } of received) {
    assert.equal(body, model.messages[offset]);
    assert.ok(!model.durablySettled.has(offset), `message ${offset} was settled`);
  }
  const there = new Set(offsets);
  for (let offset = 0; offset < model.durableMessages; offset++)
    assert.ok(there.has(offset) || model.settled.has(offset), `message ${offset} is lost`);
  for (const offset of offsets) stand.broker.requeue(queue.subscription.parts[0]!, offset);
};

const filesOf = async (disk: MemoryDisk): Promise<string[]> =>
  (await new MemoryStorage(disk).subdirectory('shard-0')).list();

/** Deletes everything: no segment is left over, before long and by itself, and no more log files than are in use. */
const verifyNothingLeaks = async (stand: Stand): Promise<void> => {
  const host = stand.broker.vhost('/')!;
  for (const name of ['events', 'deleted']) {
    const topic = host.topic(name);
    if (topic !== undefined) stand.broker.deleteTopic(topic);
  }
  const queue = host.queue('work');
  if (queue !== undefined) host.removeQueue(queue);
  const { log } = stand.broker.shards[0]!;
  const ballast = host.queue('ballast') ?? declare(stand.broker, 'ballast');
  host.purgeQueue(ballast);
  await untilDurable(stand);
  // A fold that is moving entries just now holds its segments until the end.
  for (let turns = 0; turns < turnsMax && log.liveSegments.length > 0; turns++) await turn();
  assert.deepEqual(log.liveSegments, []);
  let leftOver: string[] = [];
  for (let turns = 0; turns < turnsMax; turns++) {
    const names = await filesOf(stand.disk);
    leftOver = names.filter((name) => name.startsWith('segment-') || name.endsWith('.tmp'));
    if (leftOver.length === 0) break;
  }
  assert.deepEqual(leftOver, []);
  await close(stand);
  const names = await filesOf(stand.disk);
  const parts = names.filter((name) => name.startsWith('checkpoint-part-'));
  assert.ok(parts.length <= checkpointDeltasMax + 2, `left over: ${parts}`);
  assert.ok(names.length - parts.length <= 12, `left over: ${names}`);
};

interface Counted {
  readonly count: number;
  readonly trace: readonly string[];
}

const count = async (): Promise<Counted> => {
  let faulty!: FaultyStorage;
  const stand = await open(new MemoryDisk(), (storage) => {
    faulty = new FaultyStorage(storage);
    return faulty;
  });
  const model = new Model();
  const recordTypes: number[] = [];
  const { gate } = stand.broker;
  const committed = gate.committed.bind(gate);
  gate.committed = (shard, end) => {
    committed(shard, end);
    const { reservedBuffer, reservedStart } = stand.broker.shards[shard]!.log;
    recordTypes.push(reservedBuffer[reservedStart]!);
  };
  assert.ok(await workload(stand, model));
  const trace = [...faulty.trace];
  await verify(stand, model);
  await close(stand);
  const counts = (pattern: RegExp): number => trace.filter((step) => pattern.test(step)).length;
  assert.ok(counts(/^rename segment-/) >= 3, 'folds');
  assert.ok(recordTypes.includes(recordType.rewrite), 'rewrites');
  assert.ok(counts(/^rename checkpoint-/) >= 3, 'checkpoints');
  assert.ok(counts(/^rename wal-/) >= 3, 'log files used again');
  assert.ok(counts(/^remove segment-/) >= 1, 'segments given back');
  return { count: trace.length, trace };
};

const sampled = (candidates: readonly number[]): readonly number[] => {
  if (onlyAt !== undefined) return [Number(onlyAt)];
  const step = Math.max(1, candidates.length / runsPerKind);
  return candidates.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
};

const faultRun = async (fault: Omit<Fault, 'nth'>, nth: number): Promise<void> => {
  const disk = new MemoryDisk();
  const model = new Model();
  let faulty!: FaultyStorage;
  const wrap = (storage: MemoryStorage): FaultyStorage => {
    faulty = new FaultyStorage(storage);
    faulty.inject({ ...fault, nth });
    return faulty;
  };
  const stand = await open(disk, (storage) => wrap(storage as MemoryStorage)).catch(() => undefined);
  if (stand !== undefined) {
    const isServing = await workload(stand, model);
    faulty.heal();
    if (isServing) await verify(stand, model);
    await close(stand);
  }
  await verifyReopened(disk, model);
};

const crashRun = async (nth: number, kind: 'machine' | 'process'): Promise<void> => {
  const disk = new MemoryDisk();
  const model = new Model();
  const crash = (): void => {
    if (kind === 'machine') disk.crash(nth);
    else disk.killProcess(nth);
  };
  let onCrash = (): void => {};
  const crashed = new Promise<void>((resolve) => {
    onCrash = resolve;
  });
  const working = open(disk, (storage) => {
    const faulty = new FaultyStorage(storage);
    faulty.onCrash = () => {
      crash();
      onCrash();
    };
    faulty.inject({ nth, effect: 'crash' });
    return faulty;
  }).then((stand) => workload(stand, model));
  await Promise.race([crashed, working]);
  // Timers make the last operations come in another order, or not at all.
  if (disk.generation === 0) crash();
  await verifyReopened(disk, model);
};

const verifyReopened = async (disk: MemoryDisk, model: Model): Promise<void> => {
  const stand = await open(disk);
  await verify(stand, model);
  const queue = stand.broker.vhost('/')!.queue('work');
  if (queue !== undefined) {
    const { endOffset } = queue.log!;
    publish(stand, [queue.log!], 'one more');
    assert.ok(endOffset >= model.durableMessages && queue.log!.endOffset === endOffset + 1);
  }
  await verifyNothingLeaks(stand);
};

describe('at any operation of the storage', async () => {
  const { count: operationCount, trace } = await count();
  const all = Array.from({ length: operationCount }, (_, index) => index + 1);
  const writes = all.filter((nth) => trace[nth - 1]!.startsWith('write'));
  const butReads = all.filter((nth) => !trace[nth - 1]!.startsWith('read'));

  const each = async (nths: readonly number[], run: (nth: number) => Promise<void>): Promise<void> => {
    for (const nth of nths) {
      try {
        await run(nth);
      } catch (error) {
        const what = `FOLDING_FAULT_AT=${nth} (${trace[nth - 1]}): ${(error as Error).message}`;
        throw new Error(what, { cause: error });
      }
    }
  };

  const faults = [
    { name: 'EIO', candidates: all, fault: { effect: 'error', code: 'EIO' } },
    { name: 'ENOSPC', candidates: butReads, fault: { effect: 'error', code: 'ENOSPC' } },
    { name: 'ENOSPC in the middle of a write', candidates: writes, fault: { effect: 'short', code: 'ENOSPC' } },
    { name: 'EIO after all was done', candidates: all, fault: { effect: 'late', code: 'EIO' } },
  ] as const;
  for (const { name, candidates, fault } of faults) {
    const nths = sampled(candidates);
    test(`${name}, at ${nths.length} of ${candidates.length}`, () => each(nths, (nth) => faultRun(fault, nth)));
  }
  for (const kind of ['machine', 'process'] as const) {
    const nths = sampled(all);
    test(`a crash of the ${kind}, at ${nths.length} of ${all.length}`, () => each(nths, (nth) => crashRun(nth, kind)));
  }
});
