/** Metadata and DescribeCluster: what they say of the cluster and of topics, and which topics Metadata creates. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, type RawClient } from '../in-process-kafka.ts';

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

const createTopic = (name: string): string => {
  kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
  return name;
};

interface MetadataOptions {
  readonly version?: number;
  readonly asksOperations?: boolean;
  readonly from?: RawClient;
}

const metadata = (
  names: readonly string[],
  { version = 12, asksOperations = false, from = client }: MetadataOptions = {},
) =>
  from.call('Metadata', version, {
    topics: names.map((name) => ({ topicId: ZERO_UUID, name })),
    allowAutoTopicCreation: true,
    includeClusterAuthorizedOperations: asksOperations && version <= 10,
    includeTopicAuthorizedOperations: asksOperations,
  });

const notAsked = -2_147_483_648;
/** As Kafka 4.3 answers without an authorizer. */
const clusterOperations = 0x1fa0;
const topicOperations = 0xdf8;

test('who asks is told of all operations, on topics and on the cluster', async () => {
  const name = createTopic('operations');
  for (let version = 8; version <= 12; version++) {
    const { topics, clusterAuthorizedOperations } = await metadata([name, 'no blanks'], {
      version,
      asksOperations: true,
    });
    assert.equal(clusterAuthorizedOperations, version <= 10 ? clusterOperations : notAsked);
    assert.deepEqual(
      topics.map(({ topicAuthorizedOperations }) => topicAuthorizedOperations),
      [topicOperations, topicOperations],
    );
  }
  const { topics, clusterAuthorizedOperations } = await metadata([name], { version: 10 });
  assert.deepEqual([topics[0]!.topicAuthorizedOperations, clusterAuthorizedOperations], [notAsked, notAsked]);
});

test('DescribeCluster names this node and no other, and operations to who asks', async () => {
  for (const version of [0, 1, 2]) {
    for (const asks of [false, true]) {
      const answer = await client.call('DescribeCluster', version, {
        includeClusterAuthorizedOperations: asks,
        endpointType: 1,
        includeFencedBrokers: false,
      });
      assert.equal(answer.errorCode, ErrorCode.NONE);
      assert.equal(answer.clusterId, kafka.broker.clusterId);
      assert.equal(answer.controllerId, 1);
      assert.deepEqual(
        answer.brokers.map(({ brokerId, port, isFenced }) => [brokerId, port, isFenced]),
        [[1, kafka.port, false]],
      );
      assert.equal(answer.clusterAuthorizedOperations, asks ? clusterOperations : notAsked);
    }
  }
});

test('DescribeCluster has no endpoint of another type', async () => {
  for (const [endpointType, errorCode] of [
    [2, ErrorCode.MISMATCHED_ENDPOINT_TYPE],
    [3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE],
  ] as const) {
    const answer = await client.call('DescribeCluster', 1, {
      includeClusterAuthorizedOperations: false,
      endpointType,
      includeFencedBrokers: false,
    });
    assert.deepEqual([answer.errorCode, answer.brokers], [errorCode, []]);
  }
});

const create = async (names: readonly string[]) => {
  const response = await client.call('CreateTopics', 7, {
    topics: names.map((name) => ({ name, numPartitions: 1, replicationFactor: 1, assignments: [], configs: [] })),
    timeoutMs: 1000,
    validateOnly: false,
  });
  return response.topics.map(({ errorCode, errorMessage }) => [errorCode, errorMessage]);
};

test('a topic whose name differs from another in dots and underscores only is not made', async () => {
  assert.deepEqual(await create(['a.b_c', 'a_b.d', 'ab_c']), [
    [ErrorCode.NONE, null],
    [ErrorCode.NONE, null],
    [ErrorCode.NONE, null],
  ]);
  const collision = "Topic 'a_b_c' collides with existing topic: a.b_c";
  assert.deepEqual(await create(['a_b_c', 'a.b_c']), [
    [ErrorCode.INVALID_TOPIC_EXCEPTION, collision],
    [ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'a.b_c' already exists."],
  ]);
  const { topics } = await metadata(['a_b_c', 'a.b_c', 'a-b_c']);
  assert.deepEqual(
    topics.map(({ errorCode }) => errorCode),
    [ErrorCode.INVALID_TOPIC_EXCEPTION, ErrorCode.NONE, ErrorCode.NONE],
  );
});

test('a queue does not stand in the way of such a topic', async () => {
  kafka.broker
    .vhost('/')!
    .declareQueue('q.a', { durable: true, exclusive: false, autoDelete: false, arguments: new Map() }, undefined);
  assert.deepEqual(await create(['q_a']), [[ErrorCode.NONE, null]]);
});

test("topics of Kafka's own can be made and are marked as internal; that of its controllers cannot", async () => {
  const forbidden = 'Creation of internal topic __cluster_metadata is prohibited.';
  assert.deepEqual(await create(['__consumer_offsets', '__cluster_metadata']), [
    [ErrorCode.NONE, null],
    [ErrorCode.INVALID_REQUEST, forbidden],
  ]);
  const { topics } = await metadata(['__consumer_offsets', '__transaction_state', '__cluster_metadata', 'a.b_c']);
  assert.deepEqual(
    topics.map(({ errorCode, isInternal }) => [errorCode, isInternal]),
    [
      [ErrorCode.NONE, true],
      [ErrorCode.NONE, true],
      [ErrorCode.INVALID_TOPIC_EXCEPTION, false],
      [ErrorCode.NONE, false],
    ],
  );
});

test('nothing is created while there is no room, and clients ask again', async () => {
  await using full = await InProcessKafka.start();
  const from = await full.client();
  let hasRoom = false;
  Object.defineProperty(full.broker, 'hasRoom', { get: () => hasRoom });
  const errorCode = async (): Promise<number> => (await metadata(['wanted'], { from })).topics[0]!.errorCode;
  assert.equal(await errorCode(), ErrorCode.LEADER_NOT_AVAILABLE);
  assert.equal(full.broker.vhost('/')!.topic('wanted'), undefined);
  hasRoom = true;
  assert.equal(await errorCode(), ErrorCode.NONE);
});
