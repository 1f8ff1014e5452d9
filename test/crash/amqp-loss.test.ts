// kill -9 under load: no confirmed message of AMQP is lost, no settled one comes back.
import { test } from 'node:test';
import { skipAgainstPeers } from '../clients/broker-under-test.ts';
import { cycles, forEachSeed } from '../model/dice.ts';
import { checkAmqpLoss } from './amqp-loss.ts';

test('nothing confirmed is lost and nothing settled comes back', { skip: skipAgainstPeers }, (t) =>
  forEachSeed(1, async (seed) => {
    const count = await checkAmqpLoss({ cycles: cycles(5), seed });
    t.diagnostic(`${count} confirmed messages, seed ${seed}`);
  }),
);
