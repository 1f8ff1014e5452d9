import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../core/limits.ts';
import { DurableGate } from '../../shard/gate.ts';
import { Shard } from '../../shard/shard.ts';
import type { ShardLog } from '../../shard/shard-log.ts';
import { Bench } from './group-bench.ts';
import { GroupStore, type OffsetChange } from './group-store.ts';

const change = (topicId: string, partition: number, offset: number): OffsetChange => ({
  topicId,
  partition,
  offset,
  leaderEpoch: 3,
  metadata: `note ${offset}`,
  committedMs: 1_700_000_000_000,
  expiresMs: -1,
});

const emptyStore = (): GroupStore => new GroupStore(new Shard(0, {} as ShardLog, new DurableGate(1)));

test('three members with several protocols come back as they were, and go on as if nothing had happened', async () => {
  const bench = await Bench.start();
  const protocols = ['range', 'sticky'].map((name) => ({ name, metadata: Buffer.from([0, 255, name.length]) }));
  const members = bench.stable(3, (index) => ({ protocols, instanceId: index === 2 ? 'fixed' : null }));
  const before = bench.groups.describe('g');
  await bench.restart();
  assert.deepEqual(bench.groups.describe('g'), before);
  for (const member of members) {
    assert.equal(bench.heartbeat(member, member.memberId.startsWith('fixed') ? 'fixed' : null), 'none');
  }
  // A follower that merely asks again is told the generation that it is in.
  const again = bench.join({ memberId: members[1]!.memberId, protocols });
  assert.deepEqual([again.result!.error, again.result!.generation], ['none', members[1]!.generation]);
  await bench.close();
});

test('a rebalance that a restart cuts off never happened', async () => {
  const bench = await Bench.start();
  const [leader, follower] = bench.stable(2);
  const stranger = bench.join();
  bench.join({ memberId: leader!.memberId });
  bench.join({ memberId: follower!.memberId });
  assert.equal(stranger.result!.generation, 2);
  await bench.restart();
  assert.equal(bench.heartbeat(stranger.result!), 'unknown-member');
  assert.equal(bench.heartbeat({ ...leader!, generation: 2 }), 'illegal-generation');
  assert.equal(bench.heartbeat(leader!), 'none');
  await bench.close();
});

test('a group that was left is empty after a restart, and its generation goes on', async () => {
  const bench = await Bench.start();
  const [leader] = bench.stable(1);
  bench.groups.leave('g', [{ memberId: leader!.memberId, instanceId: null }]);
  await bench.restart();
  assert.equal(bench.state(), 'Empty');
  const next = bench.join();
  bench.clock.advance(3000);
  assert.equal(next.result!.generation, 3);
  await bench.close();
});

test('a snapshot restores memberships and offsets exactly', async () => {
  const bench = await Bench.start();
  bench.stable(2, (index) => ({ instanceId: `instance-${index}` }));
  bench.groups.commitOffsets('g', [change('aa', 0, 5), change('aa', 1, 6), change('bb', 0, 7)]);
  bench.groups.commitOffsets('simple', [change('aa', 0, 2 ** 52)]);
  const { groupStore } = bench.broker;
  const restored = emptyStore();
  restored.restore(groupStore.snapshot());
  assert.deepEqual([...restored.groups], [...groupStore.groups]);
  assert.deepEqual(restored.snapshot(), groupStore.snapshot());
  await bench.close();
});

test('a request with very many offsets is stored in commits of a bounded size, and all of it comes back', async () => {
  const bench = await Bench.start();
  const count = 2 * limits.offsetsPerCommitMax + 1;
  const ticket = bench.broker.gate.current;
  bench.groups.commitOffsets(
    'g',
    Array.from({ length: count }, (_, partition) => change('aa', partition, partition)),
  );
  assert.equal(bench.broker.gate.current - ticket, 3);
  await bench.restart();
  assert.equal(bench.groups.allCommitted('g').get('aa')!.size, count);
  assert.equal(bench.groups.committed('g', 'aa', count - 1)!.metadata, `note ${count - 1}`);
  await bench.close();
});

test('offsets of a deleted topic go, also from a group with members', async () => {
  const bench = await Bench.start();
  const { broker, groups, clock } = bench;
  const create = (name: string) => broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() });
  const kept = create('kept');
  const gone = create('gone');
  const [leader] = bench.stable(1);
  groups.commitOffsets('g', [change(kept.id, 0, 1), change(gone.id, 0, 1)]);
  broker.deleteTopic(gone);
  const again = create('gone');
  assert.equal(groups.committed('g', again.id, 0), undefined);
  for (let i = 0; i < 25; i++) {
    clock.advance(5000);
    bench.heartbeat(leader!);
  }
  assert.deepEqual([...groups.allCommitted('g').keys()], [kept.id]);
  await bench.close();
});
