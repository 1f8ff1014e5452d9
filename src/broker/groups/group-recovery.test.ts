import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../core/limits.ts';
import { DurableGate } from '../../shard/gate.ts';
import { Shard } from '../../shard/shard.ts';
import type { ShardLog } from '../../shard/shard-log.ts';
import { Slice } from '../../shard/sweep.ts';
import { Bench } from './group-bench.ts';
import { linesOfPiece } from './group-checkpoint.ts';
import { GroupStore } from './group-store.ts';
import type { OffsetChange } from './stored-group.ts';

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

/** All pieces of a checkpoint, made in slices of so many entities; `between` is called before each slice. */
const pieces = (store: GroupStore, isBase: boolean, entities = 100, between = (): void => {}): Buffer[] => {
  const found: Buffer[] = [];
  store.beginCheckpoint(isBase);
  for (;;) {
    between();
    const piece = store.nextPiece(new Slice(entities));
    if (piece === undefined) break;
    found.push(Buffer.from(piece));
  }
  store.endCheckpoint();
  return found;
};

const restoredFrom = (found: readonly Buffer[]): GroupStore => {
  const restored = emptyStore();
  for (const piece of found) restored.restorePiece(piece);
  return restored;
};

/** Everything but what is for checkpoints. */
const contents = ({ groups }: GroupStore): unknown =>
  [...groups]
    .map(({ id, membership, offsets }) => ({ id, membership, offsets }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));

test('a checkpoint restores memberships and offsets exactly', async () => {
  const bench = await Bench.start();
  bench.stable(2, (index) => ({ instanceId: `instance-${index}` }));
  bench.groups.commitOffsets('g', [change('aa', 0, 5), change('aa', 1, 6), change('bb', 0, 7)]);
  bench.groups.commitOffsets('simple', [change('aa', 0, 2 ** 52)]);
  const { groupStore } = bench.broker;
  assert.deepEqual(contents(restoredFrom(pieces(groupStore, true))), contents(groupStore));
  await bench.close();
});

test('what is in a delta is what changed: groups that came, went, went and came, or have other offsets', async () => {
  const bench = await Bench.start();
  const { groupStore } = bench.broker;
  for (const id of ['same', 'more', 'gone', 'again']) groupStore.commitOffsets(id, [change('aa', 0, 1)]);
  const base = pieces(groupStore, true);
  groupStore.commitOffsets('new', [change('aa', 0, 2)]);
  groupStore.commitOffsets('more', [change('aa', 1, 2)]);
  for (const id of ['gone', 'again']) groupStore.removeGroup(id);
  groupStore.commitOffsets('again', [change('bb', 0, 2)]);
  const delta = pieces(groupStore, false);
  assert.ok(!delta.some((piece) => piece.includes('"same"')));
  assert.deepEqual(contents(restoredFrom([...base, ...delta])), contents(groupStore));
  assert.deepEqual(pieces(groupStore, false), []);
  await bench.close();
});

test('what changes between two slices is in the next checkpoint, and no slice looks at more than it may', async () => {
  const bench = await Bench.start();
  const { groupStore } = bench.broker;
  const offsets = Array.from({ length: 500 }, (_, partition) => change('aa', partition, 1));
  for (let i = 0; i < 40; i++) groupStore.commitOffsets(`group-${i}`, i % 10 === 0 ? offsets : [change('aa', 0, 1)]);
  const before = structuredClone(contents(groupStore));
  let step = 0;
  const base = pieces(groupStore, true, 10, () => {
    const id = `group-${(step * 7) % 40}`;
    if (step % 3 === 0) groupStore.removeGroup(id);
    else groupStore.commitOffsets(id, [change('aa', 3, step)]);
    groupStore.commitOffsets(`later-${step++}`, [change('aa', 0, 1)]);
  });
  assert.ok(step > 10, 'there were slices');
  // A line with offsets is not cut.
  const most = Math.max(...base.map((piece) => [...linesOfPiece(piece)].length));
  assert.ok(most <= 11, `${most} lines`);
  assert.deepEqual(contents(restoredFrom(base)), before);
  const delta = pieces(groupStore, false, 10);
  assert.deepEqual(contents(restoredFrom([...base, ...delta])), contents(groupStore));
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
