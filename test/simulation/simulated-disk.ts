// A disk whose operations come to their end when the simulation says so: in any order, some of them late, some with an error,
// and cut short by a crash at any point.
import { type Fault, FaultyStorage } from '../../src/storage/faulty-storage.ts';
import { MemoryDisk, MemoryStorage } from '../../src/storage/memory-storage.ts';
import type { Storage } from '../../src/storage/storage.ts';
import type { Dice } from '../model/dice.ts';
import type { Trace } from './trace.ts';

const slowShare = 0.03;
/** Ends of other operations that a slow one waits for. */
const slowStepsMax = 40;

interface PendingEnd {
  readonly end: () => void;
  /** Not before this many ends. */
  readonly dueAt: number;
}

/** Errors that a process may meet, once or a few times in a row. */
const errors: readonly Omit<Fault, 'nth' | 'times'>[] = [
  { effect: 'error', code: 'EIO' },
  { effect: 'late', code: 'EIO' },
  { effect: 'short', code: 'EIO', operation: 'write' },
  { effect: 'lost', code: 'EIO', operation: 'sync' },
  { effect: 'error', code: 'EIO', operation: 'read' },
  { effect: 'error', code: 'ENOSPC', operation: 'write' },
  { effect: 'short', code: 'ENOSPC', operation: 'write' },
  { effect: 'error', code: 'ENOSPC', operation: 'open' },
  { effect: 'error', code: 'EIO', name: /^(segment|checkpoint)-/ },
];

export class SimulatedDisk {
  readonly #dice: Dice;
  readonly #trace: Trace;
  readonly #disk: MemoryDisk;
  #pending: PendingEnd[] = [];
  #endCount = 0;
  #faulty: FaultyStorage | undefined;

  constructor(dice: Dice, trace: Trace) {
    this.#dice = dice;
    this.#trace = trace;
    this.#disk = new MemoryDisk(Number.POSITIVE_INFINITY, (end) => {
      const delay = this.#dice.chance(slowShare) ? this.#dice.below(slowStepsMax) : 0;
      this.#pending.push({ end, dueAt: this.#endCount + delay });
    });
  }

  /** The disk as the next process sees it, without faults. */
  startProcess(): Storage {
    this.#faulty = new FaultyStorage(new MemoryStorage(this.#disk));
    return this.#faulty;
  }

  get isIdle(): boolean {
    return this.#pending.length === 0;
  }

  /** One operation of those under way comes to its end. */
  endOne(): void {
    if (this.#pending.length === 0) return;
    this.#endCount++;
    const due = this.#pending.filter(({ dueAt }) => dueAt <= this.#endCount);
    const chosen = this.#dice.pick(due.length > 0 ? due : this.#pending)!;
    this.#pending.splice(this.#pending.indexOf(chosen), 1);
    chosen.end();
  }

  /** One of the next operations fails, or some in a row. */
  injectError(): void {
    const fault = { ...this.#dice.pick(errors)!, nth: this.#dice.between(1, 6), times: this.#dice.pick([1, 1, 2, 5])! };
    this.#trace.note(
      `inject ${fault.code} ${fault.effect} ${fault.operation ?? fault.name ?? ''} ${fault.nth} ${fault.times}`,
    );
    this.#faulty!.inject(fault);
  }

  heal(): void {
    this.#faulty!.heal();
    this.#disk.capacityBytes = Number.POSITIVE_INFINITY;
  }

  /** From now on so many bytes are free, until heal(). */
  limitFreeBytes(bytes: number): void {
    this.#disk.capacityBytes = 0;
    this.#disk.capacityBytes = bytes - this.#disk.freeBytes;
  }

  /** The process is dead; what was under way is torn, and with the machine what was not synced is lost. */
  crash(kind: 'machine' | 'process'): void {
    this.#pending = [];
    const seed = this.#dice.below(0x1_0000_0000);
    if (kind === 'machine') this.#disk.crash(seed);
    else this.#disk.killProcess(seed);
  }

  /** Names of the files of a shard. */
  async fileNames(shard: number): Promise<string[]> {
    return (await this.#faulty!.subdirectory(`shard-${shard}`)).list();
  }
}
