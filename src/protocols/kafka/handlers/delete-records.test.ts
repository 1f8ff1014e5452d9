/** DeleteRecords: answers as Apache Kafka 4.3 gives them, and what the other requests say afterwards. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import { batchesIn, InProcessKafka, makeBatch, type RawClient } from '../in-process-kafka.ts';

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

let topicCount = 0;

/** Six records in two batches in partition 0. */
const sixRecords = async (config: Record<string, string> = {}, partitions = 1): Promise<Topic> => {
  const name = `t${++topicCount}`;
  const topic = kafka.broker.createTopic({ vhost: '/', name, partitions, config: new Map(Object.entries(config)) });
  for (const values of [
    ['a', 'b', 'c'],
    ['d', 'e', 'f'],
  ]) {
    const partitionData = [{ index: 0, records: makeBatch({ values }) }];
    await client.call('Produce', 7, { acks: -1, timeoutMs: 1000, topicData: [{ name, topicId: '', partitionData }] });
  }
  return topic;
};

type Asked = readonly [name: string, partition: number, offset: number];

/** Each answer as topic, partition, low watermark and error. */
const deleteRecords = async (asked: readonly Asked[], version = 2): Promise<[string, number, number, number][]> => {
  const topics = asked.map(([name, partitionIndex, offset]) => ({ name, partitions: [{ partitionIndex, offset }] }));
  const response = await client.call('DeleteRecords', version, { topics, timeoutMs: 1000 });
  return response.topics.flatMap(({ name, partitions }) =>
    partitions.map(({ partitionIndex, lowWatermark, errorCode }): [string, number, number, number] => [
      name,
      partitionIndex,
      lowWatermark,
      errorCode,
    ]),
  );
};

test('the start moves up and never down, to the high watermark at most, in every version', async () => {
  const { name } = await sixRecords();
  for (const [offset, lowWatermark, errorCode] of [
    [2, 2, ErrorCode.NONE],
    [1, 2, ErrorCode.NONE],
    [0, 2, ErrorCode.NONE],
    [-2, -1, ErrorCode.OFFSET_OUT_OF_RANGE],
    [7, -1, ErrorCode.OFFSET_OUT_OF_RANGE],
    [4, 4, ErrorCode.NONE],
    [-1, 6, ErrorCode.NONE],
    [-1, 6, ErrorCode.NONE],
    [6, 6, ErrorCode.NONE],
  ] as const) {
    for (const version of [0, 1, 2]) {
      assert.deepEqual(await deleteRecords([[name, 0, offset]], version), [[name, 0, lowWatermark, errorCode]]);
    }
  }
});

test('what is not there is unknown, illegal names among it', async () => {
  const { name } = await sixRecords();
  for (const [topic, partition] of [
    ['absent', 0],
    ['no blanks', 0],
    [name, 1],
    [name, -1],
  ] as const) {
    const answer = await deleteRecords([[topic, partition, 0]]);
    assert.deepEqual(answer, [[topic, partition, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]]);
  }
});

test('a topic that only compacts keeps its records, and so does a queue', async () => {
  for (const [policy, isRefused] of [
    ['compact', true],
    ['compact,delete', false],
    ['delete', false],
    ['', false],
  ] as const) {
    const { name } = await sixRecords({ 'cleanup.policy': policy });
    const expected = isRefused ? [-1, ErrorCode.POLICY_VIOLATION] : [2, ErrorCode.NONE];
    assert.deepEqual(await deleteRecords([[name, 0, 2]]), [[name, 0, ...expected]], policy);
  }
  const properties = { durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
  kafka.broker.vhost('/')!.declareQueue('work', properties, undefined);
  assert.deepEqual(await deleteRecords([['work', 0, -1]]), [['work', 0, -1, ErrorCode.POLICY_VIOLATION]]);
});

test('one answer for each partition, the last offset counts; none for a topic without partitions', async () => {
  const { name } = await sixRecords({}, 2);
  const asked: Asked[] = [
    [name, 0, 3],
    [name, 1, 0],
    [name, 0, 2],
    ['absent', 0, 1],
  ];
  assert.deepEqual(await deleteRecords(asked), [
    [name, 0, 2, ErrorCode.NONE],
    [name, 1, 0, ErrorCode.NONE],
    ['absent', 0, -1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
  ]);
  const empty = await client.call('DeleteRecords', 2, { topics: [{ name, partitions: [] }], timeoutMs: 1000 });
  assert.deepEqual(empty.topics, []);
});

const fetch = async (topic: string, fetchOffset: number) => {
  const partitions = [{ partition: 0, fetchOffset, partitionMaxBytes: 1_000_000 }];
  const topics = [{ topic, topicId: '', partitions }];
  const response = await client.call('Fetch', 11, { maxWaitMs: 0, minBytes: 0, topics, forgottenTopicsData: [] });
  return response.responses[0]!.partitions[0]!;
};

const earliest = async (name: string): Promise<number> => {
  const topics = [{ name, partitions: [{ partitionIndex: 0, timestamp: -2 }] }];
  const request = { replicaId: -1, isolationLevel: 0, topics, timeoutMs: 1000 };
  const response = await client.call('ListOffsets', 7, request);
  return response.topics[0]!.partitions[0]!.offset;
};

test('below the start Fetch is out of range; a batch that the start lies in is there as a whole', async () => {
  const { name } = await sixRecords();
  await deleteRecords([[name, 0, 4]]);
  assert.equal((await fetch(name, 3)).errorCode, ErrorCode.OFFSET_OUT_OF_RANGE);
  const rest = await fetch(name, 4);
  assert.deepEqual([rest.errorCode, rest.logStartOffset, rest.highWatermark], [ErrorCode.NONE, 4, 6]);
  assert.deepEqual(
    batchesIn(rest.records).map((batch) => Number(batch.readBigInt64BE(0))),
    [3],
  );
  assert.equal(await earliest(name), 4);
});

test('what was deleted stays away after a restart', async () => {
  const { name } = await sixRecords();
  await deleteRecords([[name, 0, 4]]);
  const { disk } = kafka;
  await kafka[Symbol.asyncDispose]();
  kafka = await InProcessKafka.start({ disk });
  client = await kafka.client();
  assert.equal(await earliest(name), 4);
  assert.equal((await fetch(name, 0)).errorCode, ErrorCode.OFFSET_OUT_OF_RANGE);
});
