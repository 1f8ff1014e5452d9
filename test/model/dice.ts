// Random choices that replay from a seed, and the loop over seeds that every model test runs.
import { inspect } from 'node:util';
import { seededRandom } from '../../src/storage/memory-storage.ts';

const seedRange = 0x1_0000_0000;

export class Dice {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** An integer in [low, high]. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.#random() < probability;
  }

  /** One of them; undefined when there is none. */
  pick<T>(choices: readonly T[]): T | undefined {
    return choices[this.below(choices.length)];
  }

  /** A random part of them, in their order. */
  some<T>(choices: readonly T[], probability = 0.5): T[] {
    return choices.filter(() => this.chance(probability));
  }

  shuffled<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let at = shuffled.length - 1; at > 0; at--) {
      const other = this.below(at + 1);
      [shuffled[at], shuffled[other]] = [shuffled[other]!, shuffled[at]!];
    }
    return shuffled;
  }

  /** The key of one of the weights, each as often as its weight says. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries(weights) as [Name, number][];
    let rest = this.#random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      rest -= weight;
      if (rest < 0) return name;
    }
    return entries.at(-1)![0];
  }
}

const numberFromEnvironment = (name: string): number | undefined => {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new Error(`${name} is not a number: ${text}`);
  return value;
};

/** ROSETTAMQ_SEED, if a run is to be replayed. */
export const replayedSeed = (): number | undefined => numberFromEnvironment('ROSETTAMQ_SEED');

export const randomSeed = (): number => Math.floor(Math.random() * seedRange);

/** `count` seeds, ever new ones. ROSETTAMQ_RUNS: another number of them. ROSETTAMQ_SEED: that one only. */
export const seeds = (count: number): number[] => {
  const replayed = replayedSeed();
  if (replayed !== undefined) return [replayed];
  return Array.from({ length: numberFromEnvironment('ROSETTAMQ_RUNS') ?? count }, randomSeed);
};

/** How often a test crashes its broker: ROSETTAMQ_CYCLES, else `count`. */
export const cycles = (count: number): number => numberFromEnvironment('ROSETTAMQ_CYCLES') ?? count;

/** Runs once per seed; a failure says how to see it again. */
export const forEachSeed = async (count: number, run: (seed: number) => Promise<void>): Promise<void> => {
  for (const seed of seeds(count)) {
    try {
      await run(seed);
    } catch (error) {
      throw new Error(`seed ${seed} failed (ROSETTAMQ_SEED=${seed} replays it)\n${inspect(error)}`, {
        cause: error,
      });
    }
  }
};
