// Files that the system cannot even open (EIO): the start names them, and goes on without them if that is accepted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Fault, FaultyStorage } from '../storage/faulty-storage.ts';
import type { MemoryDisk } from '../storage/memory-storage.ts';
import { type Files, makeFiles, messageCount, messageOf, writeFiles } from './damaged-files.ts';
import { collect, open, type Stand } from './folding-stand.ts';

const unopenable = (name: string): Fault => ({
  operation: 'open',
  name: new RegExp(`^${name}$`),
  nth: 1,
  times: Number.POSITIVE_INFINITY,
  effect: 'error',
  code: 'EIO',
});

const openWithout = (disk: MemoryDisk, name: string, onLoss?: (what: string) => void): Promise<Stand> =>
  open(
    disk,
    (storage) => {
      const faulty = new FaultyStorage(storage);
      faulty.inject(unopenable(name));
      return faulty;
    },
    onLoss,
  );

/** Serves what is left of the queue; returns how many messages that are. */
const countServed = async ({ broker }: Stand): Promise<number> => {
  const queue = broker.vhost('/')?.queue('work');
  const count = queue?.subscription.readyCount ?? 0;
  if (count === 0) return 0;
  for (const { offset, body } of await collect(queue!, count, true)) assert.equal(body, messageOf(offset));
  return count;
};

const namesOf = (files: Files, kind: RegExp): string[] => [...files.keys()].filter((name) => kind.test(name));

test('a log file that cannot be opened is refused by name; if it is accepted the rest is there, and the next start is as ever', async () => {
  for (const end of ['close', 'kill'] as const) {
    const files = await makeFiles(end);
    for (const name of namesOf(files, /^wal-/)) {
      const expected = { kind: 'corrupt', message: new RegExp(`${name} cannot be opened \\(EIO`) };
      await assert.rejects(openWithout(await writeFiles(files), name), expected);
      const losses: string[] = [];
      const disk = await writeFiles(files);
      const accepted = await openWithout(disk, name, (what) => losses.push(what));
      await accepted.broker.close();
      // Of one that holds nothing nothing is lost.
      if (losses.length > 0) assert.match(losses.join('\n'), new RegExp(`${name} cannot be opened \\(EIO`));
      const again = await openWithout(disk, name);
      const served = await countServed(again);
      assert.ok(served > 0 && (losses.length > 0 || served === messageCount), `${name}: ${served} messages`);
      await again.broker.close();
    }
  }
});

test('the only log file, without a checkpoint, is refused even if damage is accepted: nothing has the key of the log', async () => {
  const files = await makeFiles('kill');
  const [name] = namesOf(files, /^wal-/);
  const disk = await writeFiles(new Map([[name!, files.get(name!)!]]));
  const message = new RegExp(`${name} cannot be opened`);
  await assert.rejects(
    openWithout(disk, name!, () => {}),
    { kind: 'corrupt', message },
  );
});

test('a segment that cannot be opened is refused by name after a crash, and lost alone if that is accepted', async () => {
  const files = await makeFiles('kill');
  const [name] = namesOf(files, /^segment-/);
  await assert.rejects(
    openWithout(await writeFiles(files), name!),
    new RegExp(`${name} is damaged: it cannot be read`),
  );
  const losses: string[] = [];
  const disk = await writeFiles(files);
  const accepted = await openWithout(disk, name!, (what) => losses.push(what));
  assert.match(losses[0]!, new RegExp(`${name} is damaged: it cannot be read \\(EIO`));
  await accepted.broker.close();
  const again = await open(disk);
  const served = await countServed(again);
  assert.ok(served > 0 && served < messageCount, `${served} messages`);
  await again.broker.close();
});

test('a segment that cannot be opened after a clean shutdown is the matter of who reads it', async () => {
  const files = await makeFiles();
  const [name] = namesOf(files, /^segment-/);
  const { broker } = await openWithout(await writeFiles(files), name!);
  const expected = { kind: 'corrupt', message: new RegExp(`${name} cannot be read: EIO`) };
  await assert.rejects(collect(broker.vhost('/')!.queue('work')!, 1, true), expected);
  await broker.close();
});

test('a checkpoint or part that cannot be opened is named, unless an older checkpoint and the log have everything', async () => {
  for (const end of ['close', 'kill'] as const) {
    const files = await makeFiles(end);
    for (const name of namesOf(files, /^checkpoint-/)) {
      const stand = await openWithout(await writeFiles(files), name).catch((error: Error) => {
        assert.match(error.message, new RegExp(`${name} at 0: it cannot be read \\(EIO`));
        return undefined;
      });
      if (stand !== undefined) assert.equal(await countServed(stand), messageCount);
      await stand?.broker.close();
      const disk = await writeFiles(files);
      const losses: string[] = [];
      const accepted = await openWithout(disk, name, (what) => losses.push(what));
      await accepted.broker.close();
      assert.ok(stand !== undefined || losses.some((loss) => loss.includes(name)), `${name} is told`);
      const again = await open(disk);
      await countServed(again);
      await again.broker.close();
    }
  }
});
