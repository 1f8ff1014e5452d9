import { setImmediate as nextTurn } from 'node:timers/promises';

/** What is sorted in one turn, if the numbers are spread evenly: less than a millisecond. */
const cellCount = 4096;

/**
 * The numbers, which are not negative and below `limit`, in ascending order. They are put into cells first, which are sorted one by one:
 * a hundred thousand in one turn would take 10 to 20 ms.
 */
export const sortInTurns = async (numbers: Float64Array, limit: number): Promise<Float64Array> => {
  const cells = Math.ceil(numbers.length / cellCount);
  const cellOf = (number: number): number => Math.floor((number / limit) * cells);
  /** Where each cell ends, once it is filled. */
  const ends = new Uint32Array(cells + 1);
  for (const number of numbers) ends[cellOf(number) + 1]!++;
  for (let cell = 1; cell <= cells; cell++) ends[cell]! += ends[cell - 1]!;
  const sorted = new Float64Array(numbers.length);
  for (const number of numbers) sorted[ends[cellOf(number)]!++] = number;
  for (let cell = 0; cell < cells; cell++) {
    sorted.subarray(ends[cell - 1] ?? 0, ends[cell]).sort();
    await nextTurn();
  }
  return sorted;
};
