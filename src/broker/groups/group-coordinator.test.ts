import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bench } from './group-bench.ts';

test('the first rebalance waits for more members, and only the leader learns of all', async () => {
  const bench = await Bench.start();
  const first = bench.join();
  bench.clock.advance(2000);
  const second = bench.join();
  bench.clock.advance(2000);
  assert.equal(first.result, undefined);
  bench.clock.advance(2000);
  assert.equal(first.result!.generation, 1);
  assert.deepEqual([first.result!.members.length, second.result!.members.length], [2, 0]);
  assert.equal(second.result!.leader, first.result!.memberId);
  assert.equal(bench.state(), 'CompletingRebalance');
  const followed = bench.sync(second.result!);
  assert.equal(followed.result, undefined);
  const led = bench.sync(first.result!, [{ memberId: second.result!.memberId, assignment: Buffer.from('all') }]);
  assert.equal(String(followed.result!.assignment), 'all');
  assert.equal(led.result!.assignment.length, 0);
  assert.equal(bench.state(), 'Stable');
  assert.equal(bench.heartbeat(first.result!), 'none');
  await bench.close();
});

test('a member that joins or leaves makes the others join again', async () => {
  const bench = await Bench.start();
  const [leader] = bench.stable(1);
  const joining = bench.join();
  assert.equal(bench.heartbeat(leader!), 'rebalance-in-progress');
  const again = bench.join({ memberId: leader!.memberId });
  assert.equal(again.result!.generation, 2);
  assert.equal(joining.result!.generation, 2);
  assert.equal(bench.heartbeat(leader!), 'illegal-generation');
  bench.sync(joining.result!);
  bench.sync(again.result!);
  assert.deepEqual(bench.groups.leave('g', [{ memberId: joining.result!.memberId, instanceId: null }]), ['none']);
  assert.equal(bench.heartbeat(again.result!), 'rebalance-in-progress');
  assert.equal(bench.join({ memberId: leader!.memberId }).result!.generation, 3);
  await bench.close();
});

test('who does not join again in time is out, and a session that ends makes a rebalance', async () => {
  const bench = await Bench.start();
  const [leader, follower] = bench.stable(2);
  for (let i = 0; i < 4; i++) {
    bench.clock.advance(4000);
    assert.equal(bench.heartbeat(leader!), i < 2 ? 'none' : 'rebalance-in-progress');
  }
  assert.equal(bench.heartbeat(follower!), 'unknown-member');
  const late = bench.join();
  bench.clock.advance(5000);
  assert.equal(bench.heartbeat(leader!), 'rebalance-in-progress');
  bench.clock.advance(5000);
  assert.equal(bench.heartbeat(leader!), 'rebalance-in-progress');
  bench.clock.advance(5000);
  bench.heartbeat(leader!);
  bench.clock.advance(6000);
  assert.equal(late.result!.leader, late.result!.memberId);
  assert.equal(bench.heartbeat(leader!), 'unknown-member');
  await bench.close();
});

test('members that do not sync in time are removed', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const first = bench.join();
  bench.clock.advance(0);
  const second = bench.join({ sessionTimeoutMs: 60_000 });
  const again = bench.join({ memberId: first.result!.memberId, sessionTimeoutMs: 60_000 });
  assert.equal(bench.state(), 'CompletingRebalance');
  const synced = bench.sync(second.result!);
  bench.clock.advance(20_000);
  assert.equal(synced.result!.error, 'rebalance-in-progress');
  assert.equal(bench.heartbeat(again.result!), 'unknown-member');
  const rejoined = bench.join({ memberId: second.result!.memberId });
  assert.equal(rejoined.result!.leader, second.result!.memberId);
  await bench.close();
});

test('newer clients must come again with the id that they are given', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const given = bench.join({ requiresMemberId: true }).result!;
  assert.equal(given.error, 'member-id-required');
  assert.equal(bench.join({ memberId: 'stranger', requiresMemberId: true }).result!.error, 'unknown-member');
  const known = bench.join({ memberId: given.memberId, requiresMemberId: true });
  bench.clock.advance(0);
  assert.equal(known.result!.error, 'none');
  const unused = bench.join({ requiresMemberId: true, groupId: 'other' }).result!;
  bench.clock.advance(10_000);
  assert.equal(bench.join({ memberId: unused.memberId, groupId: 'other' }).result!.error, 'unknown-member');
  await bench.close();
});

test('what a join asks for is checked', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  assert.equal(bench.join({ groupId: '' }).result!.error, 'invalid-group-id');
  assert.equal(bench.join({ sessionTimeoutMs: 5999 }).result!.error, 'invalid-session-timeout');
  assert.equal(bench.join({ sessionTimeoutMs: 60_001 }).result!.error, 'invalid-session-timeout');
  assert.equal(bench.join({ protocols: [] }).result!.error, 'inconsistent-protocol');
  assert.deepEqual(bench.groups.list(), []);
  bench.join();
  assert.equal(bench.join({ protocolType: 'connect' }).result!.error, 'inconsistent-protocol');
  const other = [{ name: 'sticky', metadata: Buffer.alloc(0) }];
  assert.equal(bench.join({ protocols: other }).result!.error, 'inconsistent-protocol');
  bench.join();
  bench.join();
  bench.join();
  assert.equal(bench.join().result!.error, 'group-full');
  await bench.close();
});

test('the protocol with the most votes among those that all support is chosen', async () => {
  const bench = await Bench.start();
  const protocols = (...names: string[]) => ({
    protocols: names.map((name) => ({ name, metadata: Buffer.from(name) })),
  });
  const lists = [protocols('a', 'b', 'c'), protocols('c', 'b'), protocols('b', 'c')];
  const [leader] = bench.stable(3, (index) => lists[index]!);
  assert.equal(leader!.protocolName, 'b');
  assert.deepEqual(
    leader!.members.map(({ metadata }) => String(metadata)),
    ['b', 'b', 'b'],
  );
  await bench.close();
});

test('a static member comes back under a new id without a rebalance, and its old id is fenced', async () => {
  const bench = await Bench.start();
  const [leader, follower] = bench.stable(2, (index) => ({ instanceId: `instance-${index}` }));
  const back = bench.join({ instanceId: 'instance-1', maySkipAssignment: true }).result!;
  assert.deepEqual([back.error, back.generation, back.leader], ['none', 1, leader!.memberId]);
  assert.notEqual(back.memberId, follower!.memberId);
  assert.equal(bench.heartbeat(follower!, 'instance-1'), 'fenced-instance');
  assert.equal(bench.heartbeat(leader!, 'instance-0'), 'none');
  assert.equal(String(bench.sync(back).result!.assignment), 'part 1');
  const leaderBack = bench.join({ instanceId: 'instance-0', maySkipAssignment: true }).result!;
  assert.deepEqual([leaderBack.skipAssignment, leaderBack.leader], [true, leaderBack.memberId]);
  assert.equal(leaderBack.members.length, 2);
  assert.deepEqual(bench.groups.leave('g', [{ memberId: '', instanceId: 'instance-1' }]), ['none']);
  assert.equal(bench.state(), 'PreparingRebalance');
  await bench.close();
});

test('members and offsets survive a restart of the broker without a rebalance', async () => {
  const bench = await Bench.start();
  const topic = bench.broker.createTopic({ vhost: '/', name: 't', partitions: 1, config: new Map() });
  const [leader, follower] = bench.stable(2);
  const change = {
    topicId: topic.id,
    partition: 0,
    offset: 42,
    leaderEpoch: 1,
    metadata: 'note',
    committedMs: 1,
    expiresMs: -1,
  };
  bench.groups.commitOffsets('g', [change]);
  await bench.restart();
  assert.equal(bench.state(), 'Stable');
  assert.equal(bench.heartbeat(leader!), 'none');
  assert.equal(String(bench.sync(follower!).result!.assignment), 'part 1');
  const { offset, metadata } = bench.groups.committed('g', topic.id, 0)!;
  assert.deepEqual([offset, metadata], [42, 'note']);
  bench.clock.advance(6000);
  assert.equal(bench.heartbeat(leader!), 'none');
  bench.clock.advance(6000);
  assert.equal(bench.heartbeat(follower!), 'unknown-member');
  assert.equal(bench.heartbeat(leader!), 'rebalance-in-progress');
  await bench.close();
});

test('offsets are committed by members of the current generation, or by anyone while nobody is in', async () => {
  const bench = await Bench.start();
  const commit = (memberId: string, generation: number) =>
    bench.groups.checkCommit({ groupId: 'g', memberId, generation, instanceId: null });
  assert.equal(commit('', -1), 'none');
  assert.equal(commit('m', 1), 'group-not-found');
  const [leader] = bench.stable(1);
  assert.equal(commit('', -1), 'unknown-member');
  assert.equal(commit('m', 1), 'unknown-member');
  assert.equal(commit(leader!.memberId, 2), 'illegal-generation');
  assert.equal(commit(leader!.memberId, 1), 'none');
  bench.groups.leave('g', [{ memberId: leader!.memberId, instanceId: null }]);
  assert.equal(bench.state(), 'Empty');
  assert.equal(commit('', -1), 'none');
  await bench.close();
});

test('only empty groups can be deleted, and offsets expire when nobody was in for long enough', async () => {
  const bench = await Bench.start();
  const topic = bench.broker.createTopic({ vhost: '/', name: 't', partitions: 2, config: new Map() });
  const change = {
    topicId: topic.id,
    partition: 0,
    offset: 1,
    leaderEpoch: -1,
    metadata: '',
    committedMs: bench.clock.now(),
    expiresMs: -1,
  };
  const [leader] = bench.stable(1);
  bench.groups.commitOffsets('g', [change]);
  bench.groups.commitOffsets('simple', [change, { ...change, partition: 1, expiresMs: bench.clock.now() + 50_000 }]);
  assert.equal(bench.groups.delete('g'), 'group-not-empty');
  assert.equal(bench.groups.delete('absent'), 'group-not-found');
  for (let i = 0; i < 250; i++) {
    bench.clock.advance(5000);
    bench.heartbeat(leader!);
  }
  assert.equal(bench.groups.committed('simple', topic.id, 0), undefined);
  assert.equal(bench.groups.committed('simple', topic.id, 1), undefined);
  assert.equal(bench.groups.committed('g', topic.id, 0)!.offset, 1);
  assert.deepEqual(
    bench.groups.list().map(({ groupId }) => groupId),
    ['g'],
  );
  bench.groups.leave('g', [{ memberId: leader!.memberId, instanceId: null }]);
  bench.clock.advance(900_000);
  assert.equal(bench.groups.committed('g', topic.id, 0)!.offset, 1);
  bench.clock.advance(300_000);
  assert.deepEqual(bench.groups.list(), []);
  await bench.close();
});
