// A broker on a disk in memory that crashes on demand, driven without any protocol. Files and memory are so small that a
// few hundred messages roll files, evict the arena and need checkpoints.
import { type Broker, openBroker } from '../../src/broker/broker.ts';
import { plainForm } from '../../src/broker/test-form.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { limits } from '../../src/core/limits.ts';
import { type AppendOutcome, appendBatch } from '../../src/log/append-batch.ts';
import type { Log } from '../../src/log/log.ts';
import type { WalLimits } from '../../src/shard/local/wal-limits.ts';
import { recordType } from '../../src/shard/shard.ts';
import { MemoryDisk, MemoryStorage } from '../../src/storage/memory-storage.ts';

const kib = 1024;
/** Seven files, of which two are the reserve: from four files on there is something to fold. */
const smallLimits = (walFileBytes: number): Partial<WalLimits> => ({
  walFileBytes,
  walBytesMax: 7 * walFileBytes,
  walReserveBytes: 2 * walFileBytes,
  walGroupBytes: walFileBytes / 8,
  arenaChunkBytes: walFileBytes / 4,
  arenaBytes: walFileBytes,
  readAheadBytes: walFileBytes / 8,
});

/** Every record stays valid this long. */
const neverExpires = 0;

/** A commit as the gate saw it. */
export interface SeenCommit {
  readonly ticket: number;
  readonly shard: number;
  /** Position in the shard's log where it ends. */
  readonly end: number;
  /** The broker's own, that nobody asked for: a fold or a rewrite. */
  readonly background: 'fold' | 'rewrite' | undefined;
}

export interface PublishedMessage {
  readonly body: string;
  readonly transient: boolean;
  readonly logs: readonly Log[];
}

/** The system's, but what waits for long waits until it is called. */
class StandClock implements Clock {
  #waiting: (() => void)[] = [];

  now(): number {
    return systemClock.now();
  }

  after(delayMs: number, callback: () => void): { cancel(): void } {
    if (delayMs < limits.segmentCheckMs) return systemClock.after(delayMs, callback);
    this.#waiting.push(callback);
    return {
      cancel: () => {
        this.#waiting = this.#waiting.filter((each) => each !== callback);
      },
    };
  }

  callWaiting(): void {
    for (const callback of this.#waiting.splice(0)) callback();
  }
}

export const backgroundTypes = new Map<number, 'fold' | 'rewrite'>([
  [recordType.fold, 'fold'],
  [recordType.rewrite, 'rewrite'],
]);

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Stand {
  readonly disk = new MemoryDisk();
  readonly shardCount: number;
  broker!: Broker;
  /** Commits since the broker was opened, in order. */
  commits: SeenCommit[] = [];

  readonly #walFileBytes: number;
  #clock = new StandClock();

  constructor(shardCount: number, walFileBytes: number = 64 * kib) {
    this.shardCount = shardCount;
    this.#walFileBytes = walFileBytes;
  }

  async open(): Promise<void> {
    this.#clock = new StandClock();
    this.broker = await openBroker({
      clock: this.#clock,
      storage: new MemoryStorage(this.disk),
      durability: 'sync',
      shardCount: this.shardCount,
      walLimits: smallLimits(this.#walFileBytes),
      sliceEntities: 1,
      storeLimits: { entriesPerTurn: 1, foldGatherBytes: 4 * kib },
      forms: [plainForm],
      onFailed: (error) => {
        throw error;
      },
    });
    const { gate } = this.broker;
    const commits: SeenCommit[] = [];
    this.commits = commits;
    const committed = gate.committed.bind(gate);
    gate.committed = (shard, end) => {
      committed(shard, end);
      const { reservedBuffer, reservedStart } = this.broker.shards[shard]!.log;
      const background = backgroundTypes.get(reservedBuffer[reservedStart]!);
      commits.push({ ticket: gate.current, shard, end, background });
    };
  }

  /** Lets the broker look for segments to be written anew: twice, because of what is consumed it is to wait for the rest. */
  checkSegments(): void {
    this.#clock.callWaiting();
    this.#clock.callWaiting();
  }

  /** A power cut, or the end of the process alone. The broker is dead; open() the next one. */
  crash(seed: number, kind: 'machine' | 'process'): void {
    if (kind === 'machine') this.disk.crash(seed);
    else this.disk.killProcess(seed);
  }

  /** Resolves when all that was committed so far is durable. */
  durable(): Promise<void> {
    return this.broker.gate.durableNow();
  }

  /** The commit with this ticket alone; others before it, in other shards, may not be durable yet. */
  isDurable(ticket: number, log: Log): boolean {
    const commit = this.commits.find((each) => each.ticket === ticket);
    return commit === undefined || commit.end <= log.store.shard.log.durablePosition;
  }

  /** One commit per shard that has any of the logs. */
  publish(messages: readonly PublishedMessage[]): void {
    const builder = this.broker.blockBuilder(this.broker.vhost('/')!);
    builder.begin(plainForm.id, this.broker.clock.now());
    for (const { body, transient, logs } of messages) {
      const bytes = Buffer.from(body);
      const middle = bytes.length >> 1;
      builder.beginMessage();
      builder.piece(bytes, 0, middle);
      builder.piece(bytes, middle, bytes.length);
      const message = builder.endMessage();
      for (const log of logs) builder.deliver(log, message, transient);
    }
    builder.commit();
  }

  appendBatch(log: Log, batch: Buffer): AppendOutcome {
    return appendBatch(
      log,
      { lengthBytes: batch.length, copyTo: (target, at) => void batch.copy(target, at) },
      { nowMs: this.broker.clock.now(), stampsAppendTime: false, producersExpiredBeforeMs: neverExpires },
    );
  }
}
