import { setImmediate as nextTurn } from 'node:timers/promises';

/** What is looked at in one turn, or sorted if the numbers are spread evenly: less than a millisecond. */
const numbersPerTurn = 4096;

/**
 * The numbers, which are not negative and below `limit`, in ascending order. They are put into cells first, which are sorted one by one:
 * a hundred thousand in one turn would take 10 to 20 ms.
 */
export const sortInTurns = async (numbers: Float64Array, limit: number): Promise<Float64Array> => {
  const cells = Math.ceil(numbers.length / numbersPerTurn);
  const cellOf = (number: number): number => Math.floor((number / limit) * cells);
  /** Where each cell begins, and in the end where it ends. */
  const starts = new Uint32Array(cells + 1);
  for (let i = 0; i < numbers.length; i++) {
    starts[cellOf(numbers[i]!) + 1]!++;
    if (i % numbersPerTurn === numbersPerTurn - 1) await nextTurn();
  }
  for (let cell = 1; cell <= cells; cell++) starts[cell]! += starts[cell - 1]!;
  const sorted = new Float64Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    sorted[starts[cellOf(numbers[i]!)]!++] = numbers[i]!;
    if (i % numbersPerTurn === numbersPerTurn - 1) await nextTurn();
  }
  for (let cell = 0; cell < cells; cell++) {
    if (cell > 0) await nextTurn();
    sorted.subarray(starts[cell - 1] ?? 0, starts[cell]).sort();
  }
  return sorted;
};
