/**
 * Retention of topics: messages that are older than a topic keeps them, or more than it keeps, are given back from its start. It
 * deletes whole entries (a batch, what was published together, or some megabytes of what was folded) and looks at every topic once
 * per interval, and at one whose config was changed at once. Deleting is moving the start of the log, as a commit; the space comes
 * back when nothing else needs it.
 *
 * Queues with replay keep what was settled in the same way, and lose only that: what waits or is out stays, however old it is.
 */
import type { Clock } from '../core/clock.ts';
import type { Log } from '../log/log.ts';
import type { Queue } from './queues/queue.ts';
import type { Topic } from './topic.ts';

export interface RetentionPolicy {
  /** Messages are kept this long; Infinity: forever. */
  readonly ageMs: number;
  /** Most bytes of a partition; Infinity: any. */
  readonly sizeBytes: number;
}

export interface RetentionOptions {
  readonly topics: () => Iterable<Topic>;
  readonly queues: () => Iterable<Queue>;
  readonly policyOf: (topic: Topic) => RetentionPolicy;
  readonly clock: Clock;
  readonly checkIntervalMs: number;
  readonly onFailed: (error: Error) => void;
}

export class Retention {
  readonly #options: RetentionOptions;
  #timer: { cancel(): void } | undefined;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, checkIntervalMs, onFailed } = this.#options;
    this.#timer = clock.after(checkIntervalMs, () => {
      this.start();
      try {
        this.#sweep();
      } catch (error) {
        onFailed(error as Error);
      }
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #sweep(): void {
    const { topics, queues, clock } = this.#options;
    const nowMs = clock.now();
    for (const topic of topics()) this.check(topic);
    for (const { log, replayRetentionMs } of queues()) {
      if (log === undefined || replayRetentionMs === 0) continue;
      const keptFrom = firstToReplay(log, nowMs - replayRetentionMs);
      if (keptFrom > log.keptFrom) log.store.moveStart(log, keptFrom);
    }
  }

  /** Deletes what the topic no longer keeps. */
  check(topic: Topic): void {
    const { policyOf, clock } = this.#options;
    const { ageMs, sizeBytes } = policyOf(topic);
    const oldestMs = clock.now() - ageMs;
    for (const log of topic.partitions) {
      const start = startToKeep(log, oldestMs, sizeBytes);
      if (start > log.startOffset) log.store.moveStart(log, start);
    }
  }
}

/** The first offset from which on a queue keeps what is settled. What has no time of its own is not kept. */
const firstToReplay = (log: Log, oldestMs: number): number => {
  const first = log.findEntry(log.keptFrom);
  if (first < 0) return log.durableEnd;
  let keptFrom = log.keptFrom;
  for (let entry = first; entry < log.entryCount && log.entryEndOffset(entry) <= log.durableEnd; entry++) {
    if (log.entryTimestamp(entry) >= oldestMs) break;
    keptFrom = log.entryEndOffset(entry);
  }
  return keptFrom;
};

/** The first offset to keep. Entries go from the start on while each is too old or the log too large without it. */
const startToKeep = (log: Log, oldestMs: number, sizeBytesMax: number): number => {
  let start = log.startOffset;
  let sizeBytes = log.sizeBytes;
  for (let entry = 0; entry < log.entryCount && log.entryEndOffset(entry) <= log.durableEnd; entry++) {
    sizeBytes -= log.entrySizeBytes(entry);
    const timestampMs = log.entryTimestamp(entry);
    // A producer may leave out the time; such records go by size alone.
    const isYoung = timestampMs < 0 || timestampMs >= oldestMs;
    if (isYoung && sizeBytes < sizeBytesMax) break;
    start = log.entryEndOffset(entry);
  }
  return start;
};
