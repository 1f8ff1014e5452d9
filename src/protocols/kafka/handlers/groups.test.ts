/** The group requests in all their versions, over TCP; the rules themselves are tested at the coordinator. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Topic } from '../../../broker/topic.ts';
import { MemoryDisk } from '../../../storage/memory-storage.ts';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ApiKey, type ApiName, findApi } from '../api-keys.ts';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, type RawClient } from '../in-process-kafka.ts';
import { uuidOfTopic } from '../topic-directory.ts';

let kafka: InProcessKafka;
let client: RawClient;
let topic: Topic;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
  topic = kafka.broker.createTopic({ vhost: '/', name: 'orders', partitions: 3, config: new Map() });
});
after(() => kafka[Symbol.asyncDispose]());

const versionsOf = (name: ApiName): number[] => {
  const { versionMin, versionMax } = findApi(ApiKey[name])!;
  return Array.from({ length: versionMax - versionMin + 1 }, (_, index) => versionMin + index);
};

/** The newest version of an api that is not above this one. */
const upTo = (name: ApiName, version: number): number => Math.min(version, findApi(ApiKey[name])!.versionMax);

const protocols = [{ name: 'range', metadata: Buffer.from('subscription') }];

const join = async (groupId: string, version: number, memberId = '') => {
  const request = {
    groupId,
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 10_000,
    protocolType: 'consumer',
    protocols,
  };
  const first = await client.call('JoinGroup', version, { ...request, memberId });
  if (first.errorCode !== ErrorCode.MEMBER_ID_REQUIRED) return first;
  return client.call('JoinGroup', version, { ...request, memberId: first.memberId });
};

const sync = (
  groupId: string,
  version: number,
  { generationId, memberId }: { generationId: number; memberId: string },
) =>
  client.call('SyncGroup', version, {
    groupId,
    generationId,
    memberId,
    protocolType: 'consumer',
    protocolName: 'range',
    assignments: [{ memberId, assignment: Buffer.from('all of it') }],
  });

const commit = (version: number, groupId: string, offset: number, rest: object = {}) =>
  client.call('OffsetCommit', version, {
    groupId,
    memberId: '',
    topics: [
      {
        name: 'orders',
        topicId: uuidOfTopic(topic),
        partitions: [
          { partitionIndex: 1, committedOffset: offset, committedLeaderEpoch: 7, committedMetadata: 'note' },
        ],
      },
    ],
    ...rest,
  });

const committed = async (version: number, groupId: string) => {
  const wanted = { name: 'orders', topicId: uuidOfTopic(topic), partitionIndexes: [1, 2] };
  const response = await client.call('OffsetFetch', version, {
    groupId,
    topics: [wanted],
    groups: [{ groupId, topics: [wanted] }],
    requireStable: true,
  });
  return (version >= 8 ? response.groups[0]! : response).topics[0]!.partitions;
};

for (const version of versionsOf('JoinGroup')) {
  test(`a member joins, syncs, beats, is described and leaves (JoinGroup ${version})`, async () => {
    const group = `life-${version}`;
    const joined = await join(group, version);
    assert.deepEqual([joined.errorCode, joined.generationId, joined.protocolName], [0, 1, 'range']);
    assert.equal(joined.leader, joined.memberId);
    assert.match(joined.memberId, /^raw-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assert.deepEqual(
      joined.members.map(({ memberId, metadata }) => [memberId, String(metadata)]),
      [[joined.memberId, 'subscription']],
    );
    const synced = await sync(group, upTo('SyncGroup', version), joined);
    assert.deepEqual([synced.errorCode, String(synced.assignment)], [0, 'all of it']);
    const { generationId, memberId } = joined;
    const beat = await client.call('Heartbeat', upTo('Heartbeat', version), { groupId: group, generationId, memberId });
    assert.equal(beat.errorCode, 0);
    const [described] = (
      await client.call('DescribeGroups', upTo('DescribeGroups', version), {
        groups: [group],
        includeAuthorizedOperations: false,
      })
    ).groups;
    assert.deepEqual(
      [described!.groupState, described!.protocolType, described!.protocolData],
      ['Stable', 'consumer', 'range'],
    );
    const [member] = described!.members;
    assert.deepEqual([member!.clientId, member!.clientHost], ['raw', '/127.0.0.1']);
    assert.deepEqual([String(member!.memberMetadata), String(member!.memberAssignment)], ['subscription', 'all of it']);
    const left = await client.call('LeaveGroup', upTo('LeaveGroup', version), {
      groupId: group,
      memberId,
      members: [{ memberId }],
    });
    assert.deepEqual([left.errorCode, left.members.every(({ errorCode }) => errorCode === 0)], [0, true]);
    const gone = await client.call('Heartbeat', upTo('Heartbeat', version), { groupId: group, generationId, memberId });
    assert.equal(gone.errorCode, ErrorCode.UNKNOWN_MEMBER_ID);
  });
}

for (const version of versionsOf('OffsetCommit')) {
  test(`offsets are committed (OffsetCommit ${version}) and fetched in all versions`, async () => {
    const group = `offsets-${version}`;
    const answer = await commit(version, group, 1000 + version);
    assert.deepEqual(answer.topics[0]!.partitions, [{ partitionIndex: 1, errorCode: 0 }]);
    for (const fetchVersion of versionsOf('OffsetFetch')) {
      const [found, none] = await committed(fetchVersion, group);
      assert.deepEqual(
        [found!.committedOffset, found!.metadata, found!.errorCode, found!.committedLeaderEpoch],
        [1000 + version, 'note', 0, version >= 6 && fetchVersion >= 5 ? 7 : -1],
      );
      assert.deepEqual([none!.committedOffset, none!.metadata, none!.errorCode], [-1, '', 0]);
    }
  });
}

test('null topics mean all offsets of the group', async () => {
  await commit(9, 'all', 5);
  for (const version of versionsOf('OffsetFetch').filter((each) => each >= 2)) {
    const response = await client.call('OffsetFetch', version, {
      groupId: 'all',
      topics: null,
      groups: [
        { groupId: 'all', topics: null },
        { groupId: 'nobody', topics: null },
      ],
    });
    const { topics } = version >= 8 ? response.groups[0]! : response;
    assert.equal(topics.length, 1);
    assert.equal(topics[0]!.partitions[0]!.committedOffset, 5);
    if (version >= 8) assert.deepEqual(response.groups[1]!.topics, []);
    if (version >= 10) assert.equal(response.groups[0]!.topics[0]!.topicId, uuidOfTopic(topic));
  }
});

test('what cannot be committed is refused partition by partition', async () => {
  const at = (partitionIndex: number, committedMetadata: string | null = null) => ({
    partitionIndex,
    committedOffset: 1,
    committedMetadata,
  });
  const attempt = async (version: number, topics: Parameters<typeof commit>[3] = {}) =>
    (await commit(version, 'refused', 1, topics)).topics.flatMap(({ partitions }) =>
      partitions.map(({ errorCode }) => errorCode),
    );
  const named = (name: string, ...partitions: ReturnType<typeof at>[]) => ({ name, topicId: ZERO_UUID, partitions });
  assert.deepEqual(
    await attempt(9, { topics: [named('orders', at(0), at(3), at(1, 'x'.repeat(4097))), named('absent', at(0))] }),
    [
      ErrorCode.NONE,
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      ErrorCode.OFFSET_METADATA_TOO_LARGE,
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ],
  );
  assert.deepEqual(await attempt(10, { topics: [named('orders', at(0))] }), [ErrorCode.UNKNOWN_TOPIC_ID]);
  const stranger = { memberId: 'stranger', generationIdOrMemberEpoch: 3 };
  assert.deepEqual(await attempt(9, stranger), [ErrorCode.UNKNOWN_MEMBER_ID]);
  const error = async (version: number) => (await commit(version, 'missing', 1, stranger)).topics[0]!.partitions[0];
  assert.equal((await error(8))!.errorCode, ErrorCode.ILLEGAL_GENERATION);
  assert.equal((await error(9))!.errorCode, ErrorCode.GROUP_ID_NOT_FOUND);
});

test('offsets are gone with their topic, also when its name is used again', async () => {
  const create = () => kafka.broker.createTopic({ vhost: '/', name: 'brief', partitions: 2, config: new Map() });
  const first = create();
  const topics = [
    {
      name: 'brief',
      topicId: ZERO_UUID,
      partitions: [{ partitionIndex: 0, committedOffset: 9, committedMetadata: null }],
    },
  ];
  await commit(9, 'brief-readers', 9, { topics });
  kafka.broker.deleteTopic(first);
  create();
  const wanted = [{ name: 'brief', partitionIndexes: [0] }];
  const response = await client.call('OffsetFetch', 7, { groupId: 'brief-readers', topics: wanted, groups: [] });
  assert.equal(response.topics[0]!.partitions[0]!.committedOffset, -1);
  const byId = [{ name: '', topicId: uuidOfTopic(first), partitionIndexes: [0] }];
  const old = await client.call('OffsetFetch', 10, {
    groupId: '',
    topics: [],
    groups: [{ groupId: 'brief-readers', topics: byId }],
  });
  assert.equal(old.groups[0]!.topics[0]!.partitions[0]!.errorCode, ErrorCode.UNKNOWN_TOPIC_ID);
});

test('this node coordinates groups, and transactions end at once', async () => {
  for (const version of versionsOf('FindCoordinator')) {
    const find = async (keyType: number, key = 'g') => {
      const response = await client.call('FindCoordinator', version, { key, keyType, coordinatorKeys: [key] });
      return version >= 4 ? response.coordinators[0]! : response;
    };
    for (const found of [await find(0), await find(0, '')]) {
      assert.deepEqual([found.errorCode, found.nodeId, found.host, found.port], [0, 1, '127.0.0.1', kafka.port]);
    }
    if (version === 0) continue;
    assert.equal((await find(1)).errorCode, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    assert.equal((await find(2)).errorCode, ErrorCode.INVALID_REQUEST);
  }
});

test('groups are listed by state and type, and deleted when nobody is in them', async () => {
  const joined = await join('listed', 5);
  await sync('listed', 3, joined);
  await commit(9, 'simple', 1);
  const list = async (version: number, statesFilter: string[] = [], typesFilter: string[] = []) => {
    const { groups } = await client.call('ListGroups', version, { statesFilter, typesFilter });
    return groups.filter(({ groupId }) => groupId === 'listed' || groupId === 'simple');
  };
  for (const version of versionsOf('ListGroups')) assert.equal((await list(version)).length, 2);
  assert.deepEqual(await list(5, ['stable']), [
    { groupId: 'listed', protocolType: 'consumer', groupState: 'Stable', groupType: 'classic' },
  ]);
  assert.deepEqual(await list(5, ['Empty'], ['Classic']), [
    { groupId: 'simple', protocolType: '', groupState: 'Empty', groupType: 'classic' },
  ]);
  assert.deepEqual(await list(5, [], ['consumer']), []);
  for (const version of versionsOf('DeleteGroups')) {
    await commit(9, 'simple', 1);
    const groupsNames = ['listed', 'simple', 'absent'];
    const { results } = await client.call('DeleteGroups', version, { groupsNames });
    assert.deepEqual(
      results.map(({ errorCode }) => errorCode),
      [ErrorCode.NON_EMPTY_GROUP, ErrorCode.NONE, ErrorCode.GROUP_ID_NOT_FOUND],
    );
    assert.equal((await committed(9, 'simple'))[0]!.committedOffset, -1);
  }
});

test('a group that is not there is dead, or an error for those who know it', async () => {
  for (const version of versionsOf('DescribeGroups')) {
    const { groups } = await client.call('DescribeGroups', version, {
      groups: ['absent'],
      includeAuthorizedOperations: true,
    });
    const expected = version >= 6 ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.NONE;
    assert.deepEqual([groups[0]!.errorCode, groups[0]!.groupState], [expected, 'Dead']);
  }
  const left = await client.call('LeaveGroup', 3, { groupId: 'absent', memberId: '', members: [{ memberId: 'm' }] });
  assert.deepEqual([left.errorCode, left.members[0]!.errorCode], [0, ErrorCode.UNKNOWN_MEMBER_ID]);
  const old = await client.call('LeaveGroup', 2, { groupId: 'absent', memberId: 'm', members: [] });
  assert.equal(old.errorCode, ErrorCode.UNKNOWN_MEMBER_ID);
});

test('SyncGroup 5 must name the protocol', async () => {
  const joined = await join('unnamed', 9);
  const answer = await client.call('SyncGroup', 5, {
    ...joined,
    groupId: 'unnamed',
    protocolName: null,
    assignments: [],
  });
  assert.equal(answer.errorCode, ErrorCode.INCONSISTENT_GROUP_PROTOCOL);
});

test('members and offsets survive a restart of the head and its broker', async () => {
  const disk = new MemoryDisk();
  const original = [kafka, client, topic] as const;
  kafka = await InProcessKafka.start({ disk });
  client = await kafka.client();
  topic = kafka.broker.createTopic({ vhost: '/', name: 'orders', partitions: 3, config: new Map() });
  const joined = await join('kept', 9);
  await sync('kept', 5, joined);
  const { memberId, generationId } = joined;
  await commit(9, 'kept', 77, { memberId, generationIdOrMemberEpoch: generationId });
  await kafka[Symbol.asyncDispose]();

  kafka = await InProcessKafka.start({ disk });
  client = await kafka.client();
  const beat = await client.call('Heartbeat', 4, { groupId: 'kept', generationId, memberId });
  assert.equal(beat.errorCode, 0);
  assert.equal((await committed(9, 'kept'))[0]!.committedOffset, 77);
  assert.deepEqual(kafka.errors, []);
  await kafka[Symbol.asyncDispose]();
  [kafka, client, topic] = original;
});

test('no request made a handler fail', () => assert.deepEqual(kafka.errors, []));
