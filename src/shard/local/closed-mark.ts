/**
 * An empty file that says by its name where the log ended when it was closed. The next open need not search for frames behind that
 * end, as after a crash, and takes an end before it for damage. It removes the mark before it writes anything new.
 */
import type { Storage } from '../../storage/storage.ts';

const namePattern = /^closed-(\d{16})$/;

/** The position in the name of such a file; undefined for other names. */
export const closedMarkPosition = (name: string): number | undefined => {
  const match = namePattern.exec(name);
  return match === null ? undefined : Number(match[1]);
};

/** The log ends at this position, all before it is on disk, and nothing is written any more. */
export const writeClosedMark = async (storage: Storage, position: number): Promise<void> => {
  const file = await storage.open(`closed-${String(position).padStart(16, '0')}`, { create: true, durable: false });
  await file.close();
  await storage.syncDirectory();
};

/** So that it will not come back, whatever happens. */
export const removeClosedMark = async (storage: Storage): Promise<void> => {
  for (const name of await storage.list()) {
    if (closedMarkPosition(name) === undefined) continue;
    await storage.remove(name);
    await storage.syncDirectory();
  }
};
