/** Keeps brokers away from a data directory while it is read, by the lock that they take themselves. */
import { hostname } from 'node:os';
import { writeJsonLine } from '../admin/json-lines.ts';
import { connectToOwner, type DirectoryLock, lockDirectory } from '../lock.ts';

/** Of a directory in which nothing can be created: no broker can take it, and so it can be read without the lock. */
const readOnlyCodes: readonly (string | undefined)[] = ['EROFS', 'EACCES', 'EPERM'];

/**
 * Takes the lock, in the name of a command; where nothing can be written, only makes sure that nobody has it.
 * @throws BrokerError 'locked' when a broker has the directory
 */
export const holdDirectory = async (path: string, command: string): Promise<DirectoryLock> => {
  const message = `rosettamq ${command} reads it, process ${process.pid} on ${hostname()}`;
  try {
    return await lockDirectory(path, (socket) => {
      socket.on('data', () => writeJsonLine(socket, { error: { kind: 'locked', message } }));
    });
  } catch (error) {
    if (!readOnlyCodes.includes((error as NodeJS.ErrnoException).code)) throw error;
    const owner = await connectToOwner(path);
    if (owner === undefined) return { release: async () => {} };
    owner.destroy();
    throw error;
  }
};
