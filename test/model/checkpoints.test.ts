// Shards make checkpoints at different times; what the catalog's shard knows must still fit the logs of the others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Queue } from '../../src/broker/queues/queue.ts';
import { Stand, turn } from './stand.ts';

const shardCount = 3;
const kib = 1024;

/** Commits to the catalog's shard until it has given files back, which takes a checkpoint. */
const untilCheckpoint = async (stand: Stand): Promise<void> => {
  const host = stand.broker.vhost('/')!;
  const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
  const queue = host.declareQueue('work', properties, undefined);
  const { log } = stand.broker.shards[0]!;
  for (let usedBytes = 0; log.usedBytes >= usedBytes; ) {
    usedBytes = log.usedBytes;
    stand.publish([{ body: 'x'.repeat(10 * kib), transient: false, logs: [queue.log!] }]);
    host.purgeQueue(queue);
    await stand.durable();
    await turn();
  }
};

test('a subscription that starts at the end of a topic starts there again after a checkpoint of the catalog', async () => {
  const stand = new Stand(shardCount);
  await stand.open();
  const host = stand.broker.vhost('/')!;
  const topic = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: shardCount, config: new Map() });
  stand.publish([{ body: 'before', transient: false, logs: topic.partitions }]);
  const args = new Map([
    ['x-topic', 'events'],
    ['x-stream-offset', 'next'],
  ]);
  host.declareQueue('reader', { durable: true, exclusive: false, autoDelete: false, arguments: args }, undefined);
  await untilCheckpoint(stand);
  for (let restart = 0; restart < 2; restart++) {
    await stand.broker.close();
    await stand.open();
    assert.equal(stand.broker.vhost('/')!.queue('reader')!.messageCount, 0);
    await untilCheckpoint(stand);
  }
  await stand.broker.close();
});

test('a new subscription has nothing of an exclusive one before a restart', async () => {
  const stand = new Stand(shardCount);
  await stand.open();
  const topic = stand.broker.createTopic({ vhost: '/', name: 'events', partitions: shardCount, config: new Map() });
  stand.publish([{ body: 'for all', transient: false, logs: topic.partitions }]);
  const subscribe = (name: string, exclusive: boolean): Queue =>
    stand.broker
      .vhost('/')!
      .declareQueue(
        name,
        { durable: true, exclusive, autoDelete: false, arguments: new Map([['x-topic', 'events']]) },
        exclusive ? {} : undefined,
      );
  subscribe('mine', true).subscription.purge();
  await stand.durable();
  await stand.broker.close();
  await stand.open();
  assert.equal(subscribe('kept', false).messageCount, shardCount);
  await stand.broker.close();
  await stand.open();
  assert.equal(stand.broker.vhost('/')!.queue('kept')!.messageCount, shardCount);
  await stand.broker.close();
});
