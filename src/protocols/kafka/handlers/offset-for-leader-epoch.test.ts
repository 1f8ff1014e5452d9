import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, makeBatch } from '../in-process-kafka.ts';

const name = 'epochs';

const produce = async (kafka: InProcessKafka, values: readonly string[]): Promise<void> => {
  const client = await kafka.client();
  const topicData = [{ name, topicId: '', partitionData: [{ index: 0, records: makeBatch({ values }) }] }];
  const response = await client.call('Produce', 9, { acks: -1, timeoutMs: 1000, topicData });
  assert.equal(response.responses[0]!.partitionResponses[0]!.errorCode, ErrorCode.NONE);
};

type EpochAnswer = [errorCode: number, leaderEpoch: number, endOffset: number];

const endOf = async (kafka: InProcessKafka, leaderEpoch: number, currentLeaderEpoch = -1): Promise<EpochAnswer> => {
  const client = await kafka.client();
  const { topics } = await client.call('OffsetForLeaderEpoch', 4, {
    replicaId: -1,
    topics: [{ topic: name, partitions: [{ partition: 0, currentLeaderEpoch, leaderEpoch }] }],
  });
  const { errorCode, leaderEpoch: found, endOffset } = topics[0]!.partitions[0]!;
  return [errorCode, found, endOffset];
};

test('an epoch ends with the restart that follows it, if something was written under it', async () => {
  let kafka = await InProcessKafka.start();
  const restart = async (): Promise<number> => {
    const { disk } = kafka;
    await kafka[Symbol.asyncDispose]();
    kafka = await InProcessKafka.start({ disk });
    return kafka.broker.vhost('/')!.topic(name)!.partitions[0]!.leaderEpoch;
  };
  kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
  const first = kafka.broker.vhost('/')!.topic(name)!.partitions[0]!.leaderEpoch;
  await produce(kafka, ['a', 'b']);
  assert.deepEqual(await endOf(kafka, first), [ErrorCode.NONE, first, 2]);

  const idle = await restart();
  assert.ok(idle > first);
  const third = await restart();
  assert.deepEqual(await endOf(kafka, third), [ErrorCode.NONE, third, 2]);
  await produce(kafka, ['c']);
  for (const epoch of [first, idle]) assert.deepEqual(await endOf(kafka, epoch), [ErrorCode.NONE, first, 2]);
  assert.deepEqual(await endOf(kafka, third, third), [ErrorCode.NONE, third, 3]);
  assert.deepEqual(await endOf(kafka, third + 1), [ErrorCode.NONE, -1, -1]);
  assert.deepEqual(await endOf(kafka, first, first), [ErrorCode.FENCED_LEADER_EPOCH, -1, -1]);
  assert.deepEqual(await endOf(kafka, first, third + 1), [ErrorCode.UNKNOWN_LEADER_EPOCH, -1, -1]);

  await restart();
  assert.deepEqual(await endOf(kafka, third), [ErrorCode.NONE, third, 3]);
  assert.deepEqual(await endOf(kafka, first), [ErrorCode.NONE, first, 2]);
  await kafka[Symbol.asyncDispose]();
});
