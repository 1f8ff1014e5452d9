// What the loss checkers have in common: what they are asked to do, and how a killed broker comes back.
import type { BrokerUnderTest } from '../clients/broker-under-test.ts';
import type { Dice } from '../model/dice.ts';

export interface LossRun {
  readonly cycles: number;
  readonly seed: number;
  readonly shardCount: number;
}

export interface LossResult {
  /** Messages that the broker had promised to keep. */
  readonly promisedCount: number;
  /** Recoveries that were cut short by another kill. */
  readonly cutRecoveryCount: number;
}

const crashAgainShare = 0.2;
const cutEveryCycles = 3;
const cutsMax = 3;
/** Reading the log and opening the shards takes about as long here. */
const cutAfterMsMax = 200;

/**
 * Starts the killed broker again. In every third cycle it is killed up to three times while it recovers, and by chance
 * once more right behind a recovery: what an interrupted or a complete one wrote must be as good a start for the next.
 * Resolves when the broker serves, with how many recoveries were cut short.
 */
export const comeBack = async (broker: BrokerUnderTest, dice: Dice, cycle: number): Promise<number> => {
  let cutCount = 0;
  if (cycle % cutEveryCycles === 1) {
    for (let left = dice.between(1, cutsMax); left > 0; left--) {
      if (await broker.killInRecovery(dice.between(0, cutAfterMsMax))) cutCount++;
    }
  }
  await broker.restart();
  if (dice.chance(crashAgainShare)) {
    await broker.kill();
    await broker.restart();
  }
  return cutCount;
};
