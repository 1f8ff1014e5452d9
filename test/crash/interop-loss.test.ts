// kill -9 under load: no acknowledged record of Kafka is lost to a consumer of AMQP, none that it settled comes back.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles, forEachSeed } from '../model/dice.ts';
import { checkInteropLoss } from './interop-loss.ts';

for (const { shardCount, count } of [
  { shardCount: 1, count: 2 },
  { shardCount: 3, count: 2 },
]) {
  const name = `nothing acknowledged is lost across and nothing settled comes back (shards: ${shardCount})`;
  test(name, { skip: skipAgainstPeers }, (t) =>
    forEachSeed(1, async (seed) => {
      const { promisedCount, cutRecoveryCount } = await checkInteropLoss({ cycles: cycles(count), seed, shardCount });
      t.diagnostic(`${promisedCount} acknowledged records, ${cutRecoveryCount} recoveries cut short, seed ${seed}`);
    }),
  );
}
