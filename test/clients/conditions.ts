// Waiting for what a test expects, never for a length of time.
import { randomBytes } from 'node:crypto';

const pollIntervalMs = 20;

/** Polls until `condition` gives something other than `undefined` or `false`; fails with `what` after the deadline. */
export const waitFor = async <T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = 15_000,
): Promise<T> => {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pollIntervalMs));
  }
};

/** The value of `promise`, or a failure with `what` when it does not settle within the deadline. */
export const within = async <T>(what: string, promise: Promise<T>, deadlineMs = 15_000): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadlineMs} ms for: ${what}`)), deadlineMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
};

/** A name nobody has used before: peers keep what earlier runs left. */
export const uniqueName = (prefix: string): string => `${prefix}-${randomBytes(6).toString('hex')}`;
