/** Creating very many topics or partitions: how many one request may ask for, and that others are served meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ZERO_UUID } from '../../wire/cursor.ts';
import { ErrorCode } from './error-codes.ts';
import { encodeRequest, InProcessKafka } from './in-process-kafka.ts';
import { kafkaLimits } from './kafka-limits.ts';

const creatable = (name: string, numPartitions: number) => ({
  name,
  numPartitions,
  replicationFactor: 1,
  assignments: [],
  configs: [],
});

const anyClient = { clientSoftwareName: '', clientSoftwareVersion: '' };

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `t${index}`);

test('more than 10,000 partitions in one request are refused, all of them', async () => {
  await using kafka = await InProcessKafka.start();
  const client = await kafka.client();
  const create = async (partitions: readonly number[], validateOnly: boolean): Promise<number[]> => {
    const topics = partitions.map((count, index) => creatable(`t${index}`, count));
    const response = await client.call('CreateTopics', 7, { topics, timeoutMs: 1000, validateOnly });
    return response.topics.map(({ errorCode }) => errorCode);
  };
  const excessive = ErrorCode.POLICY_VIOLATION;
  assert.deepEqual(await create([9000, 1001], false), [excessive, excessive]);
  assert.deepEqual(await create([10_001], false), [excessive]);
  assert.deepEqual(await create([9000, -1, 999], true), [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.NONE]);
  assert.deepEqual(await create([9000, -1, 1000], true), [excessive, excessive, excessive]);
  assert.deepEqual(await create([10_000, -5], true), [ErrorCode.NONE, ErrorCode.INVALID_PARTITIONS]);
  assert.equal([...kafka.broker.vhost('/')!.topics].length, 0);
});

test('others are answered between the topics of one large request', async () => {
  await using kafka = await InProcessKafka.start();
  const [client, other] = [await kafka.client(), await kafka.client()];
  const created = (): number => [...kafka.broker.vhost('/')!.topics].length;
  const topics = names(2000).map((name) => creatable(name, 1));
  const creating = client.call('CreateTopics', 7, { topics, timeoutMs: 1000, validateOnly: false });
  await other.call('ApiVersions', 0, anyClient);
  assert.ok(created() < topics.length);
  assert.ok((await creating).topics.every(({ errorCode }) => errorCode === ErrorCode.NONE));
  assert.equal(created(), topics.length);
});

test('others are answered between the requests that one connection sent at once', async () => {
  await using kafka = await InProcessKafka.start();
  const [client, other] = [await kafka.client(), await kafka.client()];
  const count = 20;
  const requests = names(count).map((name, index) =>
    encodeRequest('CreateTopics', 7, index, {
      topics: [creatable(name, 3000)],
      timeoutMs: 1000,
      validateOnly: false,
    }),
  );
  let answered = 0;
  const creating = requests.map((_, index) =>
    client.response(index).then(() => {
      answered++;
    }),
  );
  client.socket.write(Buffer.concat(requests));
  await other.call('ApiVersions', 0, anyClient);
  assert.ok(answered < count, `${answered} of ${count} were first`);
  await Promise.all(creating);
});

test('a Metadata request creates some of many unknown topics, and the client asks again for the others', async () => {
  await using kafka = await InProcessKafka.start({ settings: { 'num.partitions': 2 } });
  const client = await kafka.client();
  const wanted = names(kafkaLimits.autoCreatedPartitionsMax);
  const unknown: number[] = [];
  for (let asked = wanted; asked.length > 0; unknown.push(asked.length)) {
    const { topics } = await client.call('Metadata', 9, {
      topics: asked.map((name) => ({ topicId: ZERO_UUID, name })),
      allowAutoTopicCreation: true,
      includeClusterAuthorizedOperations: false,
      includeTopicAuthorizedOperations: false,
    });
    const created = topics.filter(({ errorCode }) => errorCode === ErrorCode.NONE);
    assert.ok(created.length > 0 && created.length <= kafkaLimits.autoCreatedPartitionsMax / 2);
    const others = topics.filter(({ errorCode }) => errorCode === ErrorCode.LEADER_NOT_AVAILABLE);
    assert.equal(created.length + others.length, asked.length);
    asked = others.map(({ name }) => name!);
  }
  assert.equal(unknown.length, 2);
});

test('a Metadata request creates one topic at least', async () => {
  await using kafka = await InProcessKafka.start({ settings: { 'num.partitions': 600 } });
  const client = await kafka.client();
  const { topics } = await client.call('Metadata', 9, {
    topics: ['a', 'b'].map((name) => ({ topicId: ZERO_UUID, name })),
    allowAutoTopicCreation: true,
    includeClusterAuthorizedOperations: false,
    includeTopicAuthorizedOperations: false,
  });
  assert.deepEqual(
    topics.map(({ errorCode, partitions }) => [errorCode, partitions.length]),
    [
      [ErrorCode.NONE, 600],
      [ErrorCode.LEADER_NOT_AVAILABLE, 0],
    ],
  );
});
