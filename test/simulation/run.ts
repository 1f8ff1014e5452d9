// Runs simulations, one after another, in a process of their own: the runner of tests watches every promise of its process, which
// takes longer than the simulation itself.
//
//   node --import tsx test/simulation/run.ts FIRST_SEED COUNT [MINUTES]
//
// Ends with a Summary as JSON; or with the trace of the seed that fails, and exit code 1. Says on stderr which seed it begins, for one
// that does not end.
import { performance } from 'node:perf_hooks';
import { Simulation, type Tally } from './simulation.ts';

export interface Summary {
  readonly seedCount: number;
  /** Of the trace of the last seed. */
  readonly hash: number;
  /** Over all of them. */
  readonly tally: Tally;
}

const [first = 1, count = 1, minutes = Number.POSITIVE_INFINITY] = process.argv.slice(2).map(Number);
const endMs = performance.now() + minutes * 60_000;
const sums = new Map<string, number>();
let seed = first;
let simulation = new Simulation(seed);

const fail = (error: unknown): void => {
  console.error(simulation.trace.tail);
  console.error(`seed ${seed} failed (ROSETTAMQ_SEED=${seed} replays it)`, error);
  process.exit(1);
};
process.on('uncaughtException', fail);

for (; seed < first + count && performance.now() < endMs; seed++) {
  process.stderr.write(`seed ${seed}\n`);
  simulation = new Simulation(seed);
  await simulation.run().catch(fail);
  for (const [name, value] of Object.entries(simulation.tally)) sums.set(name, (sums.get(name) ?? 0) + value);
}
const tally = Object.fromEntries(sums) as unknown as Tally;
const summary: Summary = { seedCount: seed - first, hash: simulation.trace.hash, tally };
console.log(JSON.stringify(summary));
