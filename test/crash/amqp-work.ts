// What consumers of the loss checkers do: settle in any way and any order, and empty a queue.
import assert from 'node:assert/strict';
import amqplib, { type Channel, type ChannelModel, type ConsumeMessage } from 'amqplib';
import { waitFor } from '../clients/conditions.ts';
import type { Dice } from '../model/dice.ts';

/** Is told what becomes of the messages of one consumer. */
export interface Settlements {
  /** Its acknowledgement is being sent. */
  settling(message: ConsumeMessage): void;
  /** It is being returned to the queue. */
  returning(message: ConsumeMessage): void;
  /** The broker answered something that was sent after its acknowledgement. */
  settled(message: ConsumeMessage): void;
}

const returnShare = 0.2;

/** A connection to a broker that will be killed under it. */
export const connectDoomed = async (url: string): Promise<ChannelModel> => {
  const connection = await amqplib.connect(url);
  connection.on('error', () => {});
  return connection;
};

/** For commands that fail because the broker is gone. */
export const ignore = (): void => {};

export interface Work {
  readonly channel: Channel;
  readonly queue: string;
  /** In order of delivery, of the only consumer of the channel; what is settled or returned is taken out. */
  readonly unacked: ConsumeMessage[];
  readonly dice: Dice;
}

/** Acknowledges some of the messages in some way, now and then returns one, and finds out that the broker has seen it. */
export const settleSome = ({ channel, queue, unacked, dice }: Work, settlements: Settlements): void => {
  const acked: ConsumeMessage[] = [];
  const note = (message: ConsumeMessage): void => {
    acked.push(message);
    settlements.settling(message);
  };
  if (dice.chance(0.5)) {
    const chosen = unacked.splice(0, dice.between(1, unacked.length));
    for (const message of chosen) note(message);
    channel.ack(chosen.at(-1)!, true);
  } else {
    for (const message of dice.shuffled(dice.some(unacked))) {
      note(message);
      channel.ack(message);
      unacked.splice(unacked.indexOf(message), 1);
    }
  }
  if (dice.chance(returnShare) && unacked.length > 0) {
    const message = unacked.shift()!;
    settlements.returning(message);
    channel.nack(message, false, true);
  }
  channel.checkQueue(queue).then(() => {
    for (const message of acked) settlements.settled(message);
  }, ignore);
};

/** Everything in the queue, removed for certain, in order. */
export const drain = async (channel: Channel, queue: string): Promise<ConsumeMessage[]> => {
  const { messageCount } = await channel.checkQueue(queue);
  const drained: ConsumeMessage[] = [];
  const { consumerTag } = await channel.consume(queue, (message) => {
    if (message !== null) drained.push(message);
  });
  await waitFor(`${messageCount} messages of ${queue}`, () => drained.length >= messageCount, 60_000);
  await channel.cancel(consumerTag);
  const last = drained.at(-1);
  if (last !== undefined) channel.ack(last, true);
  assert.equal((await channel.checkQueue(queue)).messageCount, 0, `${queue} is empty`);
  assert.equal(drained.length, messageCount, `${queue} held as many as it said`);
  return drained;
};
