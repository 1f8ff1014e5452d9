// The simulated world: a disk, a clock and one broker at a time, which dies and comes back. Everything in it happens in one
// thread and in an order that the seed decides; no real time passes in it and no thread pool works for it.
import assert from 'node:assert/strict';
import { type Broker, openBroker } from '../../src/broker/broker.ts';
import { GroupCoordinator } from '../../src/broker/groups/group-coordinator.ts';
import type { Queue } from '../../src/broker/queues/queue.ts';
import { plainForm } from '../../src/broker/test-form.ts';
import type { Topic } from '../../src/broker/topic.ts';
import { BrokerError, isDamage } from '../../src/core/errors.ts';
import type { Log } from '../../src/log/log.ts';
import type { Durability } from '../../src/shard/shard-log.ts';
import type { Dice } from '../model/dice.ts';
import { backgroundTypes, type SeenCommit, turn } from '../model/stand.ts';
import type { LogModel } from './log-model.ts';
import { type Destination, Model } from './model.ts';
import { SimulatedClock } from './simulated-clock.ts';
import { SimulatedDisk } from './simulated-disk.ts';
import { Trace } from './trace.ts';

const kib = 1024;
/** Retention of this topic deletes what is older. */
export const agedTopic = 'aged';
export const agedTopicMs = 2_000;
/** This queue keeps for so long what is settled. */
export const replayedQueue = 'history';
export const replayedMs = 1_000;
const retentionCheckMs = 300;

/** Steps in which whatever is waited for must come about, once there are no faults. */
const stepsMax = 20_000;
/** Time passes so fast while nothing else is to happen. */
const idleMs = 50;

const groupOptions = {
  initialRebalanceDelayMs: 20,
  sessionTimeoutMsMin: 100,
  sessionTimeoutMsMax: 60_000,
  membersMax: 10,
  offsetMetadataBytesMax: 4096,
  offsetsRetentionMs: 1_000_000_000,
  offsetsRetentionCheckMs: 1_000_000_000,
  newMemberJoinTimeoutMs: 1_000,
};

export class World {
  readonly dice: Dice;
  readonly shardCount: number;
  /** What is durable in mode 'os' survives the process only. */
  readonly durability: Durability;
  readonly trace = new Trace();
  readonly clock = new SimulatedClock();
  readonly disk: SimulatedDisk;
  readonly model = new Model();
  readonly walFileBytes: number;
  broker!: Broker;
  groups!: GroupCoordinator;
  /** Of this process, in order. */
  commits: SeenCommit[] = [];
  /** The storage has failed under the broker. */
  failure: Error | undefined;
  /** What somebody saw that must not be; the loops of the broker are no place to throw it. */
  #violation: unknown;
  #pairedBroker: Broker | undefined;
  #pairedDestinations: readonly Destination[] = [];
  #pairedLogs: readonly { readonly model: LogModel; readonly log: Log }[] = [];
  /** Commits that moved messages into segments, and times that there was no more room. */
  foldCount = 0;
  fullCount = 0;
  /** Counts the processes. What belongs to an earlier one is not heard any more. */
  generation = 0;

  constructor(dice: Dice) {
    this.dice = dice;
    this.shardCount = dice.pick([1, 1, 2, 3])!;
    this.durability = dice.chance(0.15) ? 'os' : 'sync';
    this.walFileBytes = dice.pick([8, 16, 32])! * kib;
    this.disk = new SimulatedDisk(dice, this.trace);
  }

  /** Starts the next process. Rejects when the storage fails meanwhile. */
  async open(): Promise<void> {
    const generation = ++this.generation;
    this.failure = undefined;
    this.commits = [];
    const { walFileBytes, dice } = this;
    const broker = await openBroker({
      storage: this.disk.startProcess(),
      durability: this.durability,
      shardCount: this.shardCount,
      walLimits: {
        walFileBytes,
        walBytesMax: 7 * walFileBytes,
        walReserveBytes: 2 * walFileBytes,
        walGroupBytes: walFileBytes / 8,
        arenaChunkBytes: walFileBytes / 4,
        arenaBytes: walFileBytes,
        readAheadBytes: walFileBytes / 8,
      },
      storeLimits: { entriesPerTurn: 1, foldGatherBytes: walFileBytes / 8 },
      clock: this.clock.startProcess(),
      random: { hex: (count) => Array.from({ length: count * 2 }, () => dice.below(16).toString(16)).join('') },
      forms: [plainForm],
      retention: {
        policyOf: ({ name }) => ({
          ageMs: name === agedTopic ? agedTopicMs : Number.POSITIVE_INFINITY,
          sizeBytes: Number.POSITIVE_INFINITY,
        }),
        checkIntervalMs: retentionCheckMs,
      },
      onFailed: (error) => {
        if (generation === this.generation) this.failure = error;
      },
      onFoldFailed: (error) => this.trace.note(`a fold failed: ${error.message}`),
      onDamaged: ({ error }) => this.damaged(error),
      onUnreadable: () => this.violated(new Error('a batch cannot be opened')),
    });
    if (generation !== this.generation) return;
    this.broker = broker;
    this.groups = new GroupCoordinator(broker, groupOptions);
    this.#watchCommits();
    broker.onRoomChanged((hasRoom) => {
      this.trace.note(hasRoom ? 'there is room' : 'no room');
      if (!hasRoom) this.fullCount++;
    });
    this.trace.note(`open, epochs ${broker.shards.map(({ epoch }) => epoch).join(' ')}`);
  }

  #watchCommits(): void {
    const { gate } = this.broker;
    const { commits } = this;
    const committed = gate.committed.bind(gate);
    gate.committed = (shard, end) => {
      committed(shard, end);
      const { reservedBuffer, reservedStart } = this.broker.shards[shard]!.log;
      const background = backgroundTypes.get(reservedBuffer[reservedStart]!);
      if (background === 'fold') this.foldCount++;
      commits.push({ ticket: gate.current, shard, end, background });
      this.trace.note(`commit ${gate.current} in ${shard} to ${end}`);
    };
  }

  violated(violation: unknown): void {
    this.#violation ??= violation;
  }

  /** What an injected error keeps from being read is none of the broker's faults. */
  damaged(error: BrokerError): void {
    if (isDamage(error)) this.violated(error);
    else this.trace.note(`cannot be read: ${error.message}`);
  }

  /** Runs what a loop of the broker calls; what it finds wrong is told by the next step. */
  guarded(generation: number, action: () => void): void {
    if (generation !== this.generation || this.#violation !== undefined) return;
    try {
      action();
    } catch (error) {
      this.violated(error);
    }
  }

  /** Calls back when all that is committed now was told as durable, unless the process dies before. */
  whenTold(action: () => void): void {
    const { generation } = this;
    const { gate } = this.broker;
    if (gate.durable >= gate.current) action();
    else gate.wait(gate.current, { onDurable: () => this.guarded(generation, action) });
  }

  /** One operation of the storage comes to its end, and what follows from it has its turn. */
  async step(): Promise<void> {
    this.disk.endOne();
    await turn();
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** Goes on until the work is done. Time passes when nothing else happens. @throws when it takes too long */
  async until<Result>(work: Promise<Result>, what: string): Promise<Result> {
    let outcome: { readonly result: Result } | { readonly error: unknown } | undefined;
    work.then(
      (result) => {
        outcome = { result };
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
    await this.untilTrue(() => outcome !== undefined, what);
    if ('error' in outcome!) throw outcome.error;
    return (outcome as { result: Result }).result;
  }

  async untilTrue(isDone: () => boolean, what: string): Promise<void> {
    for (let steps = 0; !isDone(); steps++) {
      assert.ok(steps < stepsMax, `${what} takes more than ${stepsMax} steps`);
      if (this.disk.isIdle) this.clock.advance(idleMs);
      await this.step();
    }
  }

  /**
   * Asks the broker for something. True if it was done; false if the storage has failed under it, in which case commits of some
   * shards may have been made.
   */
  ask(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!(error instanceof BrokerError) || error.kind !== 'storage-failed' || this.failure === undefined) throw error;
      return false;
    }
  }

  /** Tickets of the commits that an action makes, by shard. */
  commitsOf(action: () => void): Map<number, number> {
    const before = this.commits.length;
    this.ask(action);
    return new Map(this.commits.slice(before).map(({ shard, ticket }) => [shard, ticket]));
  }

  queue(name: string): Queue | undefined {
    return this.broker.vhost('/')!.queue(name);
  }

  topic(name: string): Topic | undefined {
    return this.broker.vhost('/')!.topic(name);
  }

  logsOf({ kind, name }: Pick<Destination, 'kind' | 'name'>): readonly Log[] {
    if (kind === 'topic') return this.topic(name)?.partitions ?? [];
    return this.queue(name)?.subscription.parts.map(({ log }) => log) ?? [];
  }

  logOf(model: LogModel): Log {
    return this.#pairs.find((pair) => pair.model === model)!.log;
  }

  modelOf(log: Log): LogModel {
    return this.#pairs.find((pair) => pair.log === log)!.model;
  }

  /** The logs that there are. */
  get #pairs(): readonly { readonly model: LogModel; readonly log: Log }[] {
    const { destinations } = this.model;
    if (this.#pairedBroker === this.broker && this.#pairedDestinations === destinations) return this.#pairedLogs;
    this.#pairedBroker = this.broker;
    this.#pairedDestinations = destinations;
    this.#pairedLogs = destinations
      .filter(({ kind }) => kind !== 'subscription')
      .flatMap((destination) => {
        const logs = this.logsOf(destination);
        return destination.logs.map((model, index) => ({ model, log: logs[index]! }));
      });
    return this.#pairedLogs;
  }
}
