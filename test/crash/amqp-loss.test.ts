// kill -9 under load: no confirmed message of AMQP is lost, no settled one comes back.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles, forEachSeed } from '../model/dice.ts';
import { checkAmqpLoss } from './amqp-loss.ts';

for (const { shardCount, count } of [
  { shardCount: 1, count: 5 },
  { shardCount: 3, count: 2 },
]) {
  const name = `nothing confirmed is lost and nothing settled comes back (shards: ${shardCount})`;
  test(name, { skip: skipAgainstPeers }, (t) =>
    forEachSeed(1, async (seed) => {
      const { promisedCount, cutRecoveryCount } = await checkAmqpLoss({ cycles: cycles(count), seed, shardCount });
      t.diagnostic(`${promisedCount} confirmed messages, ${cutRecoveryCount} recoveries cut short, seed ${seed}`);
    }),
  );
}
