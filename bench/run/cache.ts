// Where the benches keep what they install and what the brokers write: .cache/bench of the checkout, which git ignores.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

export const checkoutDir = join(import.meta.dirname, '..', '..');
export const cacheDir = join(checkoutDir, '.cache', 'bench');

export const logFile = (name: string): string => {
  mkdirSync(join(cacheDir, 'logs'), { recursive: true });
  return join(cacheDir, 'logs', `${name}.log`);
};

/** A new empty directory for a broker's data, on the same file system as every other broker's; removed at exit. */
export const newDataDir = (name: string): string => {
  mkdirSync(join(cacheDir, 'data'), { recursive: true });
  const dir = mkdtempSync(join(cacheDir, 'data', `${name}-`));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
};

/** Ports that were free on loopback a moment ago, all different. */
export const freePorts = async (count: number): Promise<number[]> => {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
};
