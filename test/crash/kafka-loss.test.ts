// kill -9 under load: no acknowledged record of Kafka is lost or doubled, no offset changes its record.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles, forEachSeed } from '../model/dice.ts';
import { checkKafkaLoss } from './kafka-loss.ts';

for (const { shardCount, count } of [
  { shardCount: 1, count: 5 },
  { shardCount: 3, count: 2 },
]) {
  const name = `nothing acknowledged is lost or doubled, nothing committed goes back (shards: ${shardCount})`;
  test(name, { skip: skipAgainstPeers }, (t) =>
    forEachSeed(1, async (seed) => {
      const { promisedCount, cutRecoveryCount } = await checkKafkaLoss({ cycles: cycles(count), seed, shardCount });
      t.diagnostic(`${promisedCount} acknowledged records, ${cutRecoveryCount} recoveries cut short, seed ${seed}`);
    }),
  );
}
