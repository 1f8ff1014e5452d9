import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiskStorage } from '../../storage/disk-storage.ts';
import { FaultyStorage } from '../../storage/faulty-storage.ts';
import { MemoryStorage } from '../../storage/memory-storage.ts';
import type { Durability } from '../shard-log.ts';
import { contractLimits, runShardLogContract } from '../shard-log-contract.ts';
import { LocalLog } from './local-log.ts';

for (const durability of ['sync', 'os'] satisfies Durability[]) {
  runShardLogContract(`local, in memory, ${durability}`, async () => {
    const storage = new MemoryStorage();
    return { make: () => new LocalLog({ storage, durability, limits: contractLimits }) };
  });

  runShardLogContract(`local, on disk, ${durability}`, async () => {
    const path = await mkdtemp(join(tmpdir(), 'rosettamq-wal-'));
    const storage = await DiskStorage.at(path);
    return {
      make: () => new LocalLog({ storage, durability, limits: contractLimits }),
      dispose: () => rm(path, { recursive: true }),
    };
  });
}

runShardLogContract('local, over a storage that injects nothing', async () => {
  const storage = new FaultyStorage(new MemoryStorage());
  return { make: () => new LocalLog({ storage, durability: 'sync', limits: contractLimits }) };
});
