// Readers by offset, each of whom walks from some offset to some other while everything goes on.
import assert from 'node:assert/strict';
import { BrokerError, isDamage } from '../../src/core/errors.ts';
import type { Log } from '../../src/log/log.ts';
import { readLog } from '../model/log-contents.ts';
import type { LogModel } from './log-model.ts';
import type { World } from './world.ts';

const readersMax = 3;

export class Readers {
  readonly #world: World;
  #readingCount = 0;
  readCount = 0;

  constructor(world: World) {
    this.#world = world;
  }

  restarted(): void {
    this.#readingCount = 0;
  }

  get areReading(): boolean {
    return this.#readingCount > 0;
  }

  read(): void {
    const { dice, model, generation } = this.#world;
    const logModel = dice.pick(model.logs);
    if (logModel === undefined || this.#readingCount >= readersMax) return;
    const log = this.#world.logOf(logModel);
    const { startOffset, durableEnd } = log;
    const from = startOffset + dice.below(durableEnd - startOffset + 1);
    const to = from + dice.below(durableEnd - from + 1);
    for (let offset = logModel.toldStart; offset < startOffset; offset++) {
      const isGone = model.mayBeGone(logModel, offset, this.#world.clock.nowMs);
      assert.ok(isGone, `${logModel.name} starts at ${startOffset}, and ${offset} is to be kept`);
    }
    // Whoever knows the end has been told that it is durable.
    logModel.noteToldEnd(durableEnd);
    this.#readingCount++;
    this.#world.trace.note(`read ${logModel.name} [${from}, ${to})`);
    readLog(log, from, to).then(
      (found) => this.#world.guarded(generation, () => this.#check(log, logModel, { from, to }, found)),
      (error: unknown) => this.#world.guarded(generation, () => this.#checkError(log, from, error)),
    );
  }

  #check(log: Log, model: LogModel, range: { from: number; to: number }, found: ReadonlyMap<number, string>): void {
    this.#readingCount--;
    this.readCount++;
    this.#world.trace.note(`read ${found.size} from ${model.name}`);
    if (log.deleted) return;
    const { nowMs } = this.#world.clock;
    model.checkRead(found, range, (offset) => this.#world.model.mayBeGone(model, offset, nowMs));
  }

  /** The storage may fail or be closed, and what is read may be deleted meanwhile. */
  #checkError(log: Log, from: number, error: unknown): void {
    this.#readingCount--;
    const kind = error instanceof BrokerError ? error.kind : undefined;
    const isGone = kind === 'not-found' && (log.deleted || log.startOffset > from);
    const cannotBeRead = kind === 'corrupt' && !isDamage(error);
    if (kind !== 'storage-failed' && kind !== 'closing' && !isGone && !cannotBeRead) throw error;
  }
}
