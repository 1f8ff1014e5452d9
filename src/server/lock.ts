/**
 * One broker per data directory: the lock is a listening Unix socket in the directory. The kernel ends it with the process,
 * however that ends, and whoever may want the directory can ask it who is there: process ids say nothing between containers.
 *
 * Removing a dead socket and binding anew is not atomic: two starters could each remove the other's. So names are never
 * used twice. The sockets are broker.1.sock, broker.2.sock, …; only the highest counts. To follow a dead owner n, a starter
 * links its own, already listening socket as n + 1, which only one can. The dead highest name stays until there is a higher
 * one, so a starter that was asleep between looking and linking finds a higher name afterwards and withdraws.
 *
 * Only file systems of one machine: over a network mount, a socket of another machine looks dead.
 */
import { randomBytes } from 'node:crypto';
import { link, readdir, realpath, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { BrokerError } from '../core/errors.ts';
import { SocketDirectory } from './socket-directory.ts';

const socketName = (generation: number): string => `broker.${generation}.sock`;
const generationOf = (name: string): number => Number(/^broker\.(\d+)\.sock$/.exec(name)?.[1] ?? 0);

const attemptsMax = 100;
/** How long a live owner may take to say who it is. */
const answerTimeoutMs = 1000;

export interface DirectoryLock {
  /** Lets go of the directory; open connections are cut. */
  release(): Promise<void>;
}

/**
 * @param onConnection serves those who connect to the socket; called from the moment the lock is taken
 * @throws BrokerError 'locked' when another broker has the directory
 */
export const lockDirectory = async (path: string, onConnection: (socket: Socket) => void): Promise<DirectoryLock> => {
  const directory = await SocketDirectory.open(path);
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => {});
    onConnection(socket);
  });
  const release = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of connections) socket.destroy();
    await closed;
    await directory.close();
  };
  try {
    await take(directory, server);
  } catch (error) {
    await release();
    throw error;
  }
  return { release };
};

const take = async (directory: SocketDirectory, server: Server): Promise<void> => {
  const temporary = `broker.${randomBytes(6).toString('hex')}.tmp`;
  const { path } = directory;
  await listen(server, directory.addressOf(temporary));
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const highest = await highestGeneration(path);
      if (highest > 0) await requireDead(directory, highest);
      const mine = highest + 1;
      const linked = link(join(path, temporary), join(path, socketName(mine)));
      // ENOENT: a new owner took the temporary socket for a dead one's. It is found at the next look.
      if (!(await succeeds(linked, 'EEXIST', 'ENOENT'))) continue;
      if ((await highestGeneration(path)) === mine) {
        await removeOthers(path, mine, temporary);
        return;
      }
      await unlink(join(path, socketName(mine)));
    }
    throw new BrokerError('locked', `data directory ${path}: too many brokers are starting at once`);
  } finally {
    await succeeds(unlink(join(path, temporary)), 'ENOENT');
  }
};

/** False when it failed with one of those codes. */
const succeeds = async (operation: Promise<void>, ...toleratedCodes: readonly string[]): Promise<boolean> => {
  try {
    await operation;
    return true;
  } catch (error) {
    if (toleratedCodes.includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
};

const listen = (server: Server, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, () => {
      server.off('error', reject);
      resolve();
    });
  });

const highestGeneration = async (path: string): Promise<number> =>
  Math.max(0, ...(await readdir(path)).map(generationOf));

/** Dead sockets of earlier owners, and temporary ones of starters that died; a living starter notices that it lost. */
const removeOthers = async (path: string, mine: number, temporary: string): Promise<void> => {
  for (const name of await readdir(path)) {
    const generation = generationOf(name);
    const isOld = generation > 0 && generation < mine;
    if (isOld) await succeeds(unlink(join(path, name)), 'ENOENT');
    else if (/^broker\.[0-9a-f]{12}\.tmp$/.test(name) && name !== temporary && (await isStale(path, name))) {
      await succeeds(unlink(join(path, name)), 'ENOENT');
    }
  }
};

const isStale = async (path: string, name: string): Promise<boolean> => {
  const directory = await SocketDirectory.open(path);
  try {
    const socket = await connectIfAlive(directory.addressOf(name));
    socket?.destroy();
    return socket === undefined;
  } catch {
    return false;
  } finally {
    await directory.close();
  }
};

/** @throws BrokerError 'locked' when the socket has an owner */
const requireDead = async (directory: SocketDirectory, generation: number): Promise<void> => {
  let socket: Socket | undefined;
  try {
    socket = await connectIfAlive(directory.addressOf(socketName(generation)));
  } catch (error) {
    throw inUse(directory.path, `its socket answers ${(error as NodeJS.ErrnoException).code}`);
  }
  if (socket === undefined) return;
  throw inUse(directory.path, await ownerOf(socket));
};

const inUse = (path: string, owner: string): BrokerError =>
  new BrokerError('locked', `data directory ${path} is in use by another broker: ${owner}`);

/** Undefined when nobody listens any more. @throws any other error of the connection */
const connectIfAlive = (address: string): Promise<Socket | undefined> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(address);
    socket.once('connect', () => {
      socket.on('error', () => {});
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
      // The queue of connections is full: somebody is there.
      else reject(error);
    });
  });

const ownerOf = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let answer = '';
    const done = (owner: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(owner);
    };
    const timer = setTimeout(() => done('it does not answer'), answerTimeoutMs);
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString();
      const end = answer.indexOf('\n');
      if (end >= 0) done(describeOwner(answer.slice(0, end)));
    });
    socket.on('close', () => done('it does not answer'));
    socket.write('{"op":"status"}\n');
  });

const describeOwner = (answer: string): string => {
  try {
    const { result, error } = JSON.parse(answer) as {
      result: { version: string; pid: number; host: string; startedAt: string };
      error?: { message: string };
    };
    if (error !== undefined) return error.message;
    return `rosettamq ${result.version}, process ${result.pid} on ${result.host}, started ${result.startedAt}`;
  } catch {
    return 'it does not say who it is';
  }
};

/** Connects to the broker that has the directory; undefined when none does. */
export const connectToOwner = async (path: string): Promise<Socket | undefined> => {
  let directory: SocketDirectory;
  try {
    directory = await SocketDirectory.open(await realpath(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const generation = await highestGeneration(directory.path);
    return generation === 0 ? undefined : await connectIfAlive(directory.addressOf(socketName(generation)));
  } finally {
    await directory.close();
  }
};
