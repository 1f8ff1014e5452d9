// The disk runs full under load ten times: what was acknowledged stays, and publishing goes on by itself.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles } from '../model/dice.ts';
import { checkFullDisk, checkFullMemoryDisk } from './full-disk.ts';

test('nothing acknowledged is lost or doubled on a disk that runs full, and publishing goes on when there is room', {
  skip: skipAgainstPeers,
}, async (t) => {
  const promisedCount = await checkFullDisk(cycles(10), (reason) =>
    t.diagnostic(`no small file system on this machine, a disk in memory instead: ${reason}`),
  );
  t.diagnostic(`${promisedCount} acknowledged`);
});

test('the same with a disk in memory, as on machines that let no test mount a file system', {
  skip: skipAgainstPeers,
}, async (t) => {
  t.diagnostic(`${await checkFullMemoryDisk(3)} acknowledged`);
});
