/** The close of the Kafka head: what was asked for before it is answered, as fast as the client takes it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InProcessKafka, makeBatch } from './in-process-kafka.ts';

const batchCount = 20;

test('a client that takes its answer slowly is not cut off by the head itself', async (t) => {
  await using kafka = await InProcessKafka.start();
  const [name, client] = ['slow', await kafka.client()];
  kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
  const records = makeBatch({ values: ['x'.repeat(1_000_000)] });
  for (let i = 0; i < batchCount; i++) {
    const partitionData = [{ index: 0, records }];
    await client.call('Produce', 9, { acks: -1, timeoutMs: 1, topicData: [{ name, topicId: '', partitionData }] });
  }
  const partition = { partition: 0, fetchOffset: 0, partitionMaxBytes: 50_000_000 };
  const answer = client.call('Fetch', 11, {
    maxWaitMs: 0,
    minBytes: 1,
    maxBytes: 50_000_000,
    topics: [{ topic: name, topicId: '', partitions: [partition] }],
    forgottenTopicsData: [],
  });
  // Most of the answer is still to come by then: it is more than sockets hold.
  await new Promise<void>((resolve) => {
    client.socket.once('data', () => {
      client.socket.pause();
      resolve();
    });
  });
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const closed = kafka.server.close();
  // It is up to the server how long this may take: shutdown.timeout.ms.
  t.mock.timers.tick(60_000);
  t.mock.timers.reset();
  client.socket.resume();
  const { responses } = await answer;
  assert.ok(responses[0]!.partitions[0]!.records!.length > batchCount * 1_000_000);
  await closed;
});
