/** ListOffsets: what it finds by time in partitions that hold messages of another protocol, and in those that are cut. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Message, MessageForm } from '../../../broker/message.ts';
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, makeBatch, type RawClient } from '../in-process-kafka.ts';

const appendedMs = 1_800_000_000_000;

/** The time that the publisher gave, as text; empty: none. */
const timeForm: MessageForm = {
  id: 201,
  decode: (buffer, start, end, timestampMs): Message => {
    const given = buffer.toString('utf8', start, end);
    return { key: null, body: null, headers: [], timestampMs: given === '' ? timestampMs : Number(given) };
  },
};

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start({ broker: { forms: [timeForm] } });
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

let topicCount = 0;
const newTopic = (): Topic =>
  kafka.broker.createTopic({ vhost: '/', name: `t${++topicCount}`, partitions: 1, config: new Map() });

/** One block with a message for each time. */
const publish = async ({ partitions: [log] }: Topic, times: readonly (number | undefined)[]): Promise<void> => {
  const builder = kafka.broker.blockBuilder(kafka.broker.vhost('/')!);
  builder.begin(timeForm.id, appendedMs);
  for (const time of times) {
    const bytes = Buffer.from(String(time ?? ''));
    builder.beginMessage();
    builder.piece(bytes, 0, bytes.length);
    builder.deliver(log!, builder.endMessage(), false);
  }
  builder.commit();
  while (log!.durableEnd < log!.endOffset) await new Promise((resolve) => setImmediate(resolve));
};

const produce = async ({ name }: Topic, timestamps: readonly number[]): Promise<void> => {
  const records = makeBatch({ values: timestamps.map(String), timestamps });
  const topicData = [{ name, topicId: '', partitionData: [{ index: 0, records }] }];
  const response = await client.call('Produce', 9, { acks: -1, timeoutMs: 1000, topicData });
  assert.equal(response.responses[0]!.partitionResponses[0]!.errorCode, ErrorCode.NONE);
};

const list = async (version: number, topics: readonly { name: string; asked: readonly [number, number][] }[]) => {
  const response = await client.call('ListOffsets', version, {
    replicaId: -1,
    isolationLevel: 0,
    topics: topics.map(({ name, asked }) => ({
      name,
      partitions: asked.map(([partitionIndex, timestamp]) => ({ partitionIndex, timestamp })),
    })),
    timeoutMs: 1000,
  });
  return response.topics.flatMap(({ partitions }) => partitions);
};

const find = async ({ name }: Topic, timestamp: number): Promise<[offset: number, timestampMs: number]> => {
  const [answer] = await list(11, [{ name, asked: [[0, timestamp]] }]);
  assert.equal(answer!.errorCode, ErrorCode.NONE);
  return [answer!.offset, answer!.timestamp];
};

const newest = -3;

test('a record is found by the time that its publisher gave, however many blocks lie before it', async () => {
  const topic = newTopic();
  for (let i = 0; i < 100; i++) await publish(topic, [1_700_000_000_000]);
  await publish(topic, [undefined]);
  assert.deepEqual(await find(topic, 1_750_000_000_000), [100, appendedMs]);
  assert.deepEqual(await find(topic, 1_700_000_000_000), [0, 1_700_000_000_000]);
  assert.deepEqual(await find(topic, appendedMs + 1), [-1, -1]);
});

test('a publisher may give a time after that of the append', async () => {
  const topic = newTopic();
  await publish(topic, [1_600_000_000_000]);
  await publish(topic, [1_700_000_000_000, 2_000_000_000_000]);
  await publish(topic, [undefined]);
  assert.deepEqual(await find(topic, 1_900_000_000_000), [2, 2_000_000_000_000]);
  assert.deepEqual(await find(topic, newest), [2, 2_000_000_000_000]);
});

test('the newest record is that of a block or of a batch, the first of several', async () => {
  const topic = newTopic();
  await publish(topic, [5000]);
  await produce(topic, [4000, 6000, 3000]);
  assert.deepEqual(await find(topic, newest), [2, 6000]);
  await publish(topic, [6000, 7000, 7000]);
  assert.deepEqual(await find(topic, newest), [5, 7000]);
  await produce(topic, [7000]);
  await produce(topic, [8000]);
  assert.deepEqual(await find(topic, newest), [8, 8000]);
  assert.deepEqual(await find(topic, 6500), [5, 7000]);
});

test('records below the start of the log are not the newest', async () => {
  const topic = newTopic();
  await produce(topic, [9000, 1000, 2000]);
  await publish(topic, [8000, 1500]);
  await produce(topic, [1800]);
  const deleteTo = async (offset: number): Promise<void> => {
    const topics = [{ name: topic.name, partitions: [{ partitionIndex: 0, offset }] }];
    const response = await client.call('DeleteRecords', 2, { topics, timeoutMs: 1000 });
    assert.equal(response.topics[0]!.partitions[0]!.errorCode, ErrorCode.NONE);
  };
  await deleteTo(1);
  assert.deepEqual(await find(topic, newest), [3, 8000]);
  await deleteTo(4);
  assert.deepEqual(await find(topic, newest), [5, 1800]);
  await deleteTo(6);
  assert.deepEqual(await find(topic, newest), [-1, -1]);
});

test('a long search lets others be served meanwhile', async () => {
  const topic = newTopic();
  for (let i = 0; i < 20; i++) await publish(topic, new Array(1000).fill(1000));
  const searcher = await kafka.client();
  const request = { name: topic.name, partitions: [{ partitionIndex: 0, timestamp: 2000 }] };
  let isAnswered = false;
  const searched = searcher
    .call('ListOffsets', 11, { replicaId: -1, isolationLevel: 0, topics: [request], timeoutMs: 1000 })
    .then(({ topics }) => {
      isAnswered = true;
      assert.equal(topics[0]!.partitions[0]!.offset, -1);
    });
  let turns = 0;
  while (!isAnswered) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  await searched;
  assert.ok(turns >= 8, `${turns} turns`);
});

test('each special time has a first version', async () => {
  const { name } = newTopic();
  for (const [timestamp, from] of [
    [-1, 1],
    [-2, 1],
    [-3, 7],
    [-4, 8],
    [-5, 9],
    [-6, 11],
    [-7, 12],
  ] as const) {
    for (let version = 1; version <= 11; version++) {
      const [answer] = await list(version, [{ name, asked: [[0, timestamp]] }]);
      const expected = version < from ? ErrorCode.UNSUPPORTED_VERSION : ErrorCode.NONE;
      assert.equal(answer!.errorCode, expected, `${timestamp} in version ${version}`);
    }
  }
});

test('nothing waits to be moved to another tier', async () => {
  const topic = newTopic();
  await produce(topic, [1000]);
  assert.deepEqual(await find(topic, -6), [-1, -1]);
});

test('a partition that is asked for twice is refused, others are answered', async () => {
  const { name } = newTopic();
  const other = newTopic().name;
  const answers = await list(7, [
    { name, asked: [[0, -1]] },
    {
      name: other,
      asked: [
        [0, -1],
        [1, -1],
      ],
    },
    { name, asked: [[0, -2]] },
  ]);
  assert.deepEqual(
    answers.map(({ errorCode }) => errorCode),
    [ErrorCode.INVALID_REQUEST, ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.INVALID_REQUEST],
  );
});
