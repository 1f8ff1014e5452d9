/** Randomness as a port, so that the simulation can replay it. */
import { randomBytes } from 'node:crypto';

export interface Random {
  /** `count` random bytes as lower-case hexadecimal digits. */
  hex(count: number): string;
}

export const systemRandom: Random = { hex: (count) => randomBytes(count).toString('hex') };
