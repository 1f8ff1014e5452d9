import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Topic } from '../../broker/topic.ts';
import { batchBaseOffset } from '../../log/batch-header.ts';
import { ZERO_UUID } from '../../wire/cursor.ts';
import { ErrorCode } from './error-codes.ts';
import type { FetchPartitionInput } from './generated/fetch.ts';
import { batchesIn, InProcessKafka, makeBatch, type RawClient } from './in-process-kafka.ts';
import { uuidOfTopic } from './topic-directory.ts';

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

const createTopic = (name: string, partitions = 1): Topic =>
  kafka.broker.createTopic({ vhost: '/', name, partitions, config: new Map() });

const append = async (name: string, values: readonly string[], partition = 0, from = client): Promise<void> => {
  const response = await from.call('Produce', 9, {
    acks: -1,
    timeoutMs: 1000,
    topicData: [{ name, topicId: ZERO_UUID, partitionData: [{ index: partition, records: makeBatch({ values }) }] }],
  });
  assert.equal(response.responses[0]!.partitionResponses[0]!.errorCode, 0);
};

interface FetchOptions {
  readonly maxBytes?: number;
  readonly minBytes?: number;
  readonly maxWaitMs?: number;
  readonly version?: number;
  readonly from?: RawClient;
}

const fetch = async (
  topics: readonly { name: string; topicId?: string; partitions: readonly FetchPartitionInput[] }[],
  { maxBytes = 1e6, minBytes = 1, maxWaitMs = 0, version = 12, from = client }: FetchOptions = {},
) => {
  const response = await from.call('Fetch', version, {
    maxWaitMs,
    minBytes,
    maxBytes,
    topics: topics.map(({ name, topicId = ZERO_UUID, partitions }) => ({ topic: name, topicId, partitions })),
    forgottenTopicsData: [],
  });
  return response.responses.flatMap(({ partitions }) => partitions);
};

const at = (fetchOffset: number, rest: Partial<FetchPartitionInput> = {}): FetchPartitionInput => ({
  partition: 0,
  fetchOffset,
  partitionMaxBytes: 1e6,
  ...rest,
});

const offsetsIn = (records: Buffer | null): number[] => batchesIn(records).map((batch) => batchBaseOffset(batch, 0));

test('an offset within a batch returns the whole batch', async () => {
  createTopic('middle');
  await append('middle', ['a', 'b', 'c']);
  await append('middle', ['d']);
  const [partition] = await fetch([{ name: 'middle', partitions: [at(1)] }]);
  assert.deepEqual(offsetsIn(partition!.records), [0, 3]);
  assert.deepEqual([partition!.highWatermark, partition!.lastStableOffset, partition!.logStartOffset], [4, 4, 0]);
});

test('the first batch comes whatever its size, further ones only if they fit', async () => {
  createTopic('large', 2);
  await append('large', ['x'.repeat(5000)]);
  await append('large', ['y'.repeat(5000)]);
  await append('large', ['z'], 1);
  const [first, second] = await fetch(
    [{ name: 'large', partitions: [at(0, { partitionMaxBytes: 10 }), { ...at(0), partition: 1 }] }],
    { maxBytes: 20 },
  );
  assert.deepEqual(offsetsIn(first!.records), [0]);
  assert.deepEqual(offsetsIn(second!.records), []);
  const [none, whole] = await fetch([{ name: 'large', partitions: [at(2), { ...at(0), partition: 1 }] }], {
    maxBytes: 20,
  });
  assert.deepEqual([offsetsIn(none!.records), offsetsIn(whole!.records)], [[], [0]]);
  const [limited] = await fetch([{ name: 'large', partitions: [at(0, { partitionMaxBytes: 6000 })] }]);
  assert.deepEqual(offsetsIn(limited!.records), [0]);
});

test('offsets outside of the log, wrong epochs and unknown topics have their codes', async () => {
  const topic = createTopic('errors');
  await append('errors', ['a']);
  const epoch = topic.partitions[0]!.leaderEpoch;
  const codeOf = async (partition: FetchPartitionInput, name = 'errors'): Promise<number> =>
    (await fetch([{ name, partitions: [partition] }], { maxWaitMs: 5000 }))[0]!.errorCode;
  assert.equal(await codeOf(at(2)), ErrorCode.OFFSET_OUT_OF_RANGE);
  assert.equal(await codeOf(at(-1)), ErrorCode.OFFSET_OUT_OF_RANGE);
  assert.equal(await codeOf(at(0, { currentLeaderEpoch: epoch })), ErrorCode.NONE);
  assert.equal(await codeOf(at(0, { currentLeaderEpoch: epoch + 1 })), ErrorCode.UNKNOWN_LEADER_EPOCH);
  assert.equal(await codeOf(at(0, { currentLeaderEpoch: epoch - 1 })), ErrorCode.FENCED_LEADER_EPOCH);
  assert.equal(await codeOf({ ...at(0), partition: 7 }), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  assert.equal(await codeOf(at(0), 'absent'), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
});

test('who read an epoch beyond its end is told where that was', async () => {
  const topic = createTopic('diverging');
  await append('diverging', ['a', 'b']);
  const epoch = topic.partitions[0]!.leaderEpoch;
  const beyond = async (fetchOffset: number, lastFetchedEpoch: number) => {
    const partitions = [at(fetchOffset, { lastFetchedEpoch })];
    const [answer] = await fetch([{ name: 'diverging', partitions }]);
    return [answer!.errorCode, answer!.divergingEpoch?.epoch, answer!.divergingEpoch?.endOffset];
  };
  assert.deepEqual(await beyond(100, epoch), [ErrorCode.NONE, epoch, 2]);
  assert.equal((await beyond(100, epoch + 1))[0], ErrorCode.OFFSET_OUT_OF_RANGE);
  assert.equal((await beyond(-1, epoch))[0], ErrorCode.OFFSET_OUT_OF_RANGE);
  assert.equal((await beyond(2, epoch))[0], ErrorCode.NONE);
});

test('a Fetch within a session has none to go on with; one that begins or ends it is answered whole', async () => {
  createTopic('sessions');
  await append('sessions', ['a']);
  for (const [sessionId, sessionEpoch, errorCode] of [
    [0, -1, ErrorCode.NONE],
    [0, 0, ErrorCode.NONE],
    [0, 5, ErrorCode.FETCH_SESSION_ID_NOT_FOUND],
    [7, -1, ErrorCode.NONE],
    [7, 0, ErrorCode.NONE],
    [7, 1, ErrorCode.FETCH_SESSION_ID_NOT_FOUND],
  ] as const) {
    const answer = await client.call('Fetch', 12, {
      maxWaitMs: 0,
      minBytes: 1,
      sessionId,
      sessionEpoch,
      topics: [{ topic: 'sessions', topicId: ZERO_UUID, partitions: [at(0)] }],
      forgottenTopicsData: [],
    });
    assert.deepEqual([answer.errorCode, answer.sessionId], [errorCode, 0], `${sessionId} ${sessionEpoch}`);
    const offsets = answer.responses.flatMap(({ partitions }) =>
      partitions.flatMap(({ records }) => offsetsIn(records)),
    );
    assert.deepEqual(offsets, errorCode === ErrorCode.NONE ? [0] : []);
  }
});

test('topics are named by id from version 13 on, and the id changes with a new topic of the same name', async () => {
  const topic = createTopic('by-id');
  await append('by-id', ['a']);
  const topicId = uuidOfTopic(topic);
  const byId = async () => (await fetch([{ name: '', topicId, partitions: [at(0)] }], { version: 17 }))[0]!;
  assert.deepEqual(offsetsIn((await byId()).records), [0]);
  kafka.broker.deleteTopic(topic);
  assert.notEqual(uuidOfTopic(createTopic('by-id')), topicId);
  assert.equal((await byId()).errorCode, ErrorCode.UNKNOWN_TOPIC_ID);
});

test('a waiting Fetch is answered by the append that gives it enough, over all its partitions', async () => {
  createTopic('waiting', 2);
  const producer = await kafka.client();
  const started = Date.now();
  const pending = fetch([{ name: 'waiting', partitions: [at(0), { ...at(0), partition: 1 }] }], {
    maxWaitMs: 20_000,
    minBytes: 150,
  });
  await append('waiting', ['a'], 0, producer);
  await append('waiting', ['b'], 1, producer);
  await append('waiting', ['c'], 0, producer);
  const [first, second] = await pending;
  assert.deepEqual([offsetsIn(first!.records), offsetsIn(second!.records)], [[0, 1], [0]]);
  assert.ok(Date.now() - started < 10_000);
});

test('a Fetch that waited long enough is answered with what there is', async () => {
  createTopic('patience');
  await append('patience', ['a']);
  const [partition] = await fetch([{ name: 'patience', partitions: [at(0)] }], { maxWaitMs: 50, minBytes: 1e6 });
  assert.deepEqual(offsetsIn(partition!.records), [0]);
});

test('a Fetch that waits ends when its topic is deleted', async () => {
  const topic = createTopic('vanishing');
  const other = await kafka.client();
  const pending = fetch([{ name: 'vanishing', partitions: [at(0)] }], { maxWaitMs: 20_000, from: other });
  // The request is being waited for once the connection's next request would not be answered: poll the watchers instead.
  await new Promise((resolve) => setImmediate(resolve));
  kafka.broker.deleteTopic(topic);
  assert.equal((await pending)[0]!.errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
});

test('requests sent after a waiting Fetch are decided at once and answered after it', async () => {
  createTopic('order');
  const other = await kafka.client();
  const fetched = fetch([{ name: 'order', partitions: [at(0)] }], { maxWaitMs: 20_000, from: other });
  await append('order', ['from the same connection'], 0, other);
  assert.deepEqual(offsetsIn((await fetched)[0]!.records), [0]);
});

test('ListOffsets finds ends, times inside batches and the newest record', async () => {
  createTopic('times');
  for (const [values, timestamps] of [
    [
      ['a', 'b', 'c'],
      [1000, 3000, 2000],
    ],
    [
      ['d', 'e'],
      [1500, 5000],
    ],
  ] as const) {
    await client.call('Produce', 9, {
      acks: -1,
      timeoutMs: 1000,
      topicData: [
        {
          name: 'times',
          topicId: ZERO_UUID,
          partitionData: [{ index: 0, records: makeBatch({ values, timestamps }) }],
        },
      ],
    });
  }
  const list = async (timestamp: number) => {
    const { topics } = await client.call('ListOffsets', 9, {
      replicaId: -1,
      isolationLevel: 0,
      topics: [{ name: 'times', partitions: [{ partitionIndex: 0, timestamp }] }],
      timeoutMs: 1000,
    });
    const { offset, timestamp: found, errorCode } = topics[0]!.partitions[0]!;
    assert.equal(errorCode, 0);
    return [offset, found];
  };
  assert.deepEqual(await list(-1), [5, -1]);
  assert.deepEqual(await list(-2), [0, -1]);
  assert.deepEqual(await list(-3), [4, 5000]);
  assert.deepEqual(await list(-4), [0, -1]);
  assert.deepEqual(await list(-5), [-1, -1]);
  assert.deepEqual(await list(0), [0, 1000]);
  assert.deepEqual(await list(1001), [1, 3000]);
  assert.deepEqual(await list(3001), [4, 5000]);
  assert.deepEqual(await list(5001), [-1, -1]);
});
