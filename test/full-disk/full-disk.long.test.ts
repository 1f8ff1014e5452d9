// The disk runs full under load a hundred times: what was acknowledged stays, and publishing goes on by itself.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles } from '../model/dice.ts';
import { checkFullDisk } from './full-disk.ts';

test('nothing acknowledged is lost or doubled on a disk that runs full, and publishing goes on when there is room', {
  skip: skipAgainstPeers,
  timeout: 1_800_000,
}, async (t) => {
  const promisedCount = await checkFullDisk(cycles(100), (reason) =>
    t.diagnostic(`no small file system on this machine, a disk in memory instead: ${reason}`),
  );
  t.diagnostic(`${promisedCount} acknowledged`);
});
