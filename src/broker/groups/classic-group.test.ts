import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../core/limits.ts';
import { Bench, options } from './group-bench.ts';
import type { JoinResult } from './group-types.ts';

test('a crash of one of three: the others go on without it after its session', async () => {
  const bench = await Bench.start();
  const [leader, second, third] = bench.stable(3);
  for (let i = 0; i < 3; i++) {
    bench.clock.advance(4000);
    bench.heartbeat(leader!);
    bench.heartbeat(second!);
  }
  assert.equal(bench.heartbeat(leader!), 'rebalance-in-progress');
  const joins = [leader!, second!].map(({ memberId }) => bench.join({ memberId }));
  assert.deepEqual(
    joins.map(({ result }) => [result!.generation, result!.members.length]),
    [
      [2, 2],
      [2, 0],
    ],
  );
  assert.equal(bench.join({ memberId: third!.memberId }).result!.error, 'unknown-member');
  await bench.close();
});

test('when the leader leaves, another one leads', async () => {
  const bench = await Bench.start();
  const [leader, second, third] = bench.stable(3);
  bench.groups.leave('g', [{ memberId: leader!.memberId, instanceId: null }]);
  const joins = [third!, second!].map(({ memberId }) => bench.join({ memberId }));
  const results = joins.map(({ result }) => result!);
  assert.equal(results[0]!.leader, second!.memberId);
  assert.equal(results[1]!.members.length, 2);
  await bench.close();
});

test('members that leave in one request make the others join once', async () => {
  const bench = await Bench.start();
  const [leader, second, third] = bench.stable(3);
  const waiting = bench.join({ memberId: leader!.memberId });
  const errors = bench.groups.leave('g', [
    { memberId: second!.memberId, instanceId: null },
    { memberId: 'stranger', instanceId: null },
    { memberId: '', instanceId: 'no such instance' },
    { memberId: third!.memberId, instanceId: null },
  ]);
  assert.deepEqual(errors, ['none', 'unknown-member', 'unknown-member', 'none']);
  assert.deepEqual([waiting.result!.generation, waiting.result!.members.length], [2, 1]);
  await bench.close();
});

test('a join that is sent again takes the place of the first, which is answered too', async () => {
  const bench = await Bench.start();
  const [leader] = bench.stable(2);
  const first = bench.join({ memberId: leader!.memberId });
  const second = bench.join({ memberId: leader!.memberId });
  assert.equal(first.result!.error, 'rebalance-in-progress');
  assert.equal(second.result, undefined);
  bench.clock.advance(20_000);
  assert.equal(second.result!.generation, 2);
  await bench.close();
});

test('a client that was given an id and comes late holds up the others until its session timeout at most', async () => {
  const bench = await Bench.start();
  const [leader] = bench.stable(1);
  bench.join({ requiresMemberId: true });
  assert.equal(bench.state(), 'Stable');
  // The leader joins to assign anew.
  const rejoined = bench.join({ memberId: leader!.memberId });
  assert.equal(rejoined.result, undefined);
  bench.clock.advance(10_000);
  assert.equal(rejoined.result!.generation, 2);
  await bench.close();
});

test('groups that nobody came to leave nothing behind', async () => {
  const bench = await Bench.start();
  for (let i = 0; i < 100; i++) bench.join({ groupId: `g${i}`, requiresMemberId: true });
  assert.equal(bench.groups.list().length, 100);
  bench.clock.advance(10_000);
  assert.deepEqual(bench.groups.list(), []);
  await bench.close();
});

test('the first rebalance is put off while members arrive, up to the rebalance timeout', async () => {
  const bench = await Bench.start({ membersMax: 100 });
  const first = bench.join();
  let joined = 1;
  while (first.result === undefined) {
    bench.clock.advance(1000);
    if (first.result === undefined) bench.join();
    joined++;
    assert.ok(joined < 100);
  }
  assert.equal(joined, 21);
  await bench.close();
});

test('without a delay, members whose requests are there already are still in the first generation', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const joins = [bench.join(), bench.join(), bench.join()];
  assert.equal(joins[0]!.result, undefined);
  bench.clock.advance(0);
  assert.deepEqual(
    joins.map(({ result }) => [result!.generation, result!.members.length]),
    [
      [1, 3],
      [1, 0],
      [1, 0],
    ],
  );
  await bench.close();
});

test('who joins before the assignments are durable is in the next generation, and the others hear of it by SyncGroup', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const joins = [bench.join(), bench.join()];
  bench.clock.advance(0);
  const [leader, follower] = joins.map(({ result }) => result!);
  bench.gate.isHeld = true;
  const followed = bench.sync(follower!);
  const led = bench.sync(leader!, [{ memberId: leader!.memberId, assignment: Buffer.from('all') }]);
  assert.equal(bench.state(), 'CompletingRebalance');
  assert.deepEqual([led.result, followed.result], [undefined, undefined]);
  const late = bench.join();
  assert.deepEqual([led.result!.error, followed.result!.error], ['rebalance-in-progress', 'rebalance-in-progress']);
  bench.gate.release();
  assert.equal(bench.state(), 'PreparingRebalance');
  const again = [leader!, follower!].map(({ memberId }) => bench.join({ memberId }));
  assert.deepEqual(
    [late, ...again].map(({ result }) => result!.generation),
    [2, 2, 2],
  );
  await bench.close();
});

test('assignments are given out when they are durable, those of a generation that is over never', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const joining = bench.join();
  bench.clock.advance(0);
  const only = joining.result!;
  bench.gate.isHeld = true;
  const former = bench.sync(only, [{ memberId: only.memberId, assignment: Buffer.from('former') }]);
  const late = bench.join();
  const again = bench.join({ memberId: only.memberId });
  assert.equal(former.result!.error, 'rebalance-in-progress');
  const waiting = bench.sync(late.result!);
  bench.gate.release();
  assert.deepEqual([bench.state(), waiting.result], ['CompletingRebalance', undefined]);
  bench.sync(again.result!, [{ memberId: late.result!.memberId, assignment: Buffer.from('new') }]);
  assert.equal(String(waiting.result!.assignment), 'new');
  await bench.close();
});

test('a static member that comes back during a rebalance takes its place in it, the former is fenced', async () => {
  const bench = await Bench.start();
  const [leader] = bench.stable(2, (index) => ({ instanceId: `instance-${index}` }));
  const rejoining = bench.join({ memberId: leader!.memberId, instanceId: 'instance-0' });
  assert.equal(bench.state(), 'PreparingRebalance');
  const back = bench.join({ instanceId: 'instance-0' });
  assert.equal(rejoining.result!.error, 'fenced-instance');
  // The other static member keeps its place although it does not come.
  bench.clock.advance(5000);
  assert.equal(back.result, undefined);
  bench.clock.advance(5000);
  assert.equal(back.result!.generation, 2, 'the session of the one that is missing has ended');
  // After the joins, before the leader has assigned: another rebalance, since the leader knows the former id only.
  const replaced = bench.join({ instanceId: 'instance-0' });
  assert.equal(replaced.result!.generation, 3);
  assert.equal(bench.sync(back.result!, [], { instanceId: 'instance-0' }).result!.error, 'fenced-instance');
  await bench.close();
});

/** Static members of a group that is Stable although only its leader has synced; the leader first. */
const unsyncedFollowers = (bench: Bench, instanceIds: readonly string[]) => {
  const answers = instanceIds.map((instanceId) => ({ instanceId, answer: bench.join({ instanceId }) }));
  bench.clock.advance(options.initialRebalanceDelayMs * 2);
  const members = answers.map(({ instanceId, answer }) => ({ instanceId, joined: answer.result! }));
  members.sort((a, b) => Number(isLeader(b.joined)) - Number(isLeader(a.joined)));
  const [leader] = members;
  bench.sync(leader!.joined, [], { instanceId: leader!.instanceId });
  assert.equal(bench.state(), 'Stable');
  return members;
};

const isLeader = ({ memberId, leader }: JoinResult): boolean => memberId === leader;

test('a static follower that comes back before it has synced is not awaited under its former id', async () => {
  const bench = await Bench.start();
  const [leader, follower] = unsyncedFollowers(bench, ['a', 'b']);
  const { instanceId } = follower!;
  const back = bench.join({ instanceId }).result!;
  assert.deepEqual([back.error, back.generation], ['none', 1]);
  for (let i = 0; i < 10; i++) {
    bench.clock.advance(3000);
    assert.equal(bench.heartbeat(leader!.joined, leader!.instanceId), 'none');
    assert.equal(bench.heartbeat(back, instanceId), 'none');
  }
  assert.equal(bench.state(), 'Stable');
  await bench.close();
});

test('another follower that does not sync in time is taken out all the same', async () => {
  const bench = await Bench.start({ membersMax: 4 });
  const [leader, follower, silent] = unsyncedFollowers(bench, ['a', 'b', 'c']);
  const back = bench.join({ instanceId: follower!.instanceId }).result!;
  const heartbeats = () => [
    bench.heartbeat(leader!.joined, leader!.instanceId),
    bench.heartbeat(back, follower!.instanceId),
    bench.heartbeat(silent!.joined, silent!.instanceId),
  ];
  for (let i = 0; i < 6; i++) {
    bench.clock.advance(3000);
    assert.deepEqual(heartbeats(), ['none', 'none', 'none']);
  }
  bench.clock.advance(2000);
  assert.deepEqual(heartbeats(), ['rebalance-in-progress', 'rebalance-in-progress', 'unknown-member']);
  await bench.close();
});

test('the protocol that a returning static member no longer has is given up in a rebalance', async () => {
  const bench = await Bench.start();
  const protocol = (name: string) => ({ name, metadata: Buffer.from(name) });
  const both = { protocols: [protocol('range'), protocol('sticky')] };
  const [leader, second] = bench.stable(2, (index) => ({ instanceId: `instance-${index}`, ...both }));
  assert.equal(leader!.protocolName, 'range');
  const back = bench.join({ instanceId: 'instance-1', protocols: [protocol('sticky')] });
  assert.equal(back.result, undefined);
  const joined = bench.join({ memberId: leader!.memberId, instanceId: 'instance-0', ...both });
  assert.equal(joined.result!.protocolName, 'sticky');
  assert.notEqual(back.result!.memberId, second!.memberId);
  await bench.close();
});

test('SyncGroup is refused for another generation or protocol, and repeated at will', async () => {
  const bench = await Bench.start();
  const [leader, follower] = bench.stable(2);
  const sync = (member: JoinResult, request = {}) => bench.sync(member, [], request).result;
  assert.equal(sync({ ...leader!, generation: 0 })!.error, 'illegal-generation');
  assert.equal(sync(leader!, { protocolType: 'connect' })!.error, 'inconsistent-protocol');
  assert.equal(sync(leader!, { protocolName: 'sticky' })!.error, 'inconsistent-protocol');
  assert.equal(sync(leader!, { memberId: 'stranger' })!.error, 'unknown-member');
  assert.equal(sync(leader!, { groupId: 'none' })!.error, 'unknown-member');
  const first = sync(follower!, { protocolType: 'consumer', protocolName: 'range' })!;
  assert.deepEqual(sync(follower!), first);
  assert.equal(String(first.assignment), 'part 1');
  bench.groups.leave('g', [{ memberId: follower!.memberId, instanceId: null }]);
  assert.equal(sync(leader!)!.error, 'rebalance-in-progress');
  await bench.close();
});

test('what a new leader assigns goes to those who are there', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const joining = bench.join();
  bench.clock.advance(0);
  const only = joining.result!;
  const assigned = bench.sync(only, [
    { memberId: 'stranger', assignment: Buffer.from('x') },
    { memberId: only.memberId, assignment: Buffer.from('y') },
  ]);
  assert.equal(String(assigned.result!.assignment), 'y');
  assert.deepEqual(
    bench.groups.describe('g')!.members.map(({ clientId, assignment }) => [clientId, String(assignment)]),
    [['client', 'y']],
  );
  await bench.close();
});

test('subscriptions, assignments and names beyond the bounds are refused', async () => {
  const bench = await Bench.start({ initialRebalanceDelayMs: 0 });
  const huge = Buffer.alloc(limits.groupBytesMax + 1);
  assert.equal(bench.join({ protocols: [{ name: 'range', metadata: huge }] }).result!.error, 'too-large');
  assert.equal(bench.join({ instanceId: 'i'.repeat(250) }).result!.error, 'invalid-name');
  assert.equal(bench.join({ clientId: 'c'.repeat(10_000) }).result!.error, 'invalid-name');
  assert.equal(bench.join({ groupId: 'g'.repeat(10_000) }).result!.error, 'invalid-group-id');
  assert.deepEqual(bench.groups.list(), []);
  const joining = bench.join();
  bench.clock.advance(0);
  const joined = joining.result!;
  const assigned = bench.sync(joined, [{ memberId: joined.memberId, assignment: huge }]);
  assert.equal(assigned.result!.error, 'too-large');
  assert.equal(bench.state(), 'PreparingRebalance');
  await bench.close();
});

test('an answer that leads to the next request at once finds the group at rest', async () => {
  const bench = await Bench.start();
  const [leader, follower] = bench.stable(2);
  const states: (string | undefined)[] = [];
  const lead = bench.join({ memberId: leader!.memberId });
  const request = {
    groupId: 'g',
    instanceId: null,
    clientId: 'client',
    clientHost: '/127.0.0.1',
    sessionTimeoutMs: options.sessionTimeoutMsMin,
    rebalanceTimeoutMs: 20_000,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Buffer.from('topics') }],
    requiresMemberId: false,
    maySkipAssignment: false,
  };
  bench.groups.join({ ...request, memberId: follower!.memberId }, (result) => {
    states.push(bench.state());
    assert.deepEqual(bench.groups.leave('g', [{ memberId: result.memberId, instanceId: null }]), ['none']);
    states.push(bench.state());
  });
  assert.deepEqual(states, ['CompletingRebalance', 'PreparingRebalance']);
  assert.equal(lead.result!.generation, 2);
  assert.equal(bench.join({ memberId: leader!.memberId }).result!.generation, 3);
  await bench.close();
});
