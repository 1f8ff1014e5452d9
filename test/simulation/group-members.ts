// Members of a consumer group that join, commit offsets, leave, and fall silent until their session is over.
import assert from 'node:assert/strict';
import type { JoinResult } from '../../src/broker/groups/group-types.ts';
import type { World } from './world.ts';

const groupId = 'readers';
const memberCount = 2;
const sessionTimeoutMs = 400;

type State =
  | { readonly kind: 'away' }
  /** An answer is awaited. */
  | { readonly kind: 'joining' }
  | { readonly kind: 'stable'; readonly memberId: string; readonly generation: number };

const away: State = { kind: 'away' };
const joining: State = { kind: 'joining' };
const protocols = [{ name: 'range', metadata: Buffer.from('topics') }];

export class GroupMembers {
  readonly #world: World;
  #members: State[] = Array.from({ length: memberCount }, () => away);
  /** Every member that was told to be in it, with its assignment. */
  #toldGeneration = 0;
  stableCount = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Who waited for an answer begins anew; who had one goes on as a member. */
  restarted(): void {
    this.#members = this.#members.map((state) => (state.kind === 'joining' ? away : state));
  }

  get areStable(): boolean {
    return this.#members.some(({ kind }) => kind === 'stable');
  }

  /** One of them does what is next for it, or leaves, without a word or with one. */
  act(): void {
    const index = this.#world.dice.below(memberCount);
    const state = this.#members[index]!;
    this.#world.ask(() => {
      if (state.kind === 'away') this.#join(index, '');
      else if (state.kind === 'stable') this.#goOn(index, state);
    });
  }

  #goOn(index: number, { memberId, generation }: Extract<State, { kind: 'stable' }>): void {
    const { dice, groups } = this.#world;
    if (dice.chance(0.05)) {
      this.#members[index] = away;
      if (dice.chance(0.5)) groups.leave(groupId, [{ memberId, instanceId: null }]);
      return;
    }
    const error = groups.heartbeat({ groupId, memberId, instanceId: null, generation });
    if (error === 'none') this.#commit(memberId, generation);
    else if (error === 'rebalance-in-progress') this.#join(index, memberId);
    else this.#members[index] = away;
  }

  #join(index: number, memberId: string): void {
    this.#members[index] = joining;
    const { generation } = this.#world;
    const request = {
      groupId,
      memberId,
      instanceId: null,
      clientId: `client ${index}`,
      clientHost: '/127.0.0.1',
      sessionTimeoutMs,
      rebalanceTimeoutMs: sessionTimeoutMs,
      protocolType: 'consumer',
      protocols,
      requiresMemberId: true,
      maySkipAssignment: false,
    };
    this.#world.groups.join(request, (result) => this.#world.guarded(generation, () => this.#joined(index, result)));
  }

  #joined(index: number, result: JoinResult): void {
    const { memberId, generation } = result;
    this.#world.trace.note(`member ${index} joins: ${result.error} ${generation}`);
    this.#world.whenTold(() => {
      if (this.#world.failure !== undefined) return;
      if (result.error === 'member-id-required') this.#world.ask(() => this.#join(index, memberId));
      else if (result.error === 'none') this.#world.ask(() => this.#sync(index, result));
      else this.#members[index] = away;
    });
  }

  #sync(index: number, { memberId, generation, leader, members }: JoinResult): void {
    assert.ok(generation >= this.#toldGeneration, `generation ${generation} comes after ${this.#toldGeneration}`);
    const assignments = members.map((member) => ({ memberId: member.memberId, assignment: Buffer.from('all') }));
    const request = { groupId, memberId, instanceId: null, generation, protocolType: null, protocolName: null };
    const { generation: process } = this.#world;
    this.#world.groups.sync({ ...request, assignments: leader === memberId ? assignments : [] }, (result) =>
      this.#world.guarded(process, () => {
        this.#world.whenTold(() => {
          this.#members[index] = result.error === 'none' ? { kind: 'stable', memberId, generation } : away;
          if (result.error !== 'none') return;
          this.stableCount++;
          this.#toldGeneration = Math.max(this.#toldGeneration, generation);
        });
      }),
    );
  }

  #commit(memberId: string, generation: number): void {
    const { dice, groups, model, clock } = this.#world;
    const topic = dice.pick(model.destinations.filter(({ kind }) => kind === 'topic'));
    if (topic === undefined || groups.checkCommit({ groupId, memberId, instanceId: null, generation }) !== 'none')
      return;
    const partition = dice.below(topic.logs.length);
    const offset = dice.below(topic.logs[partition]!.end + 1);
    const change = { leaderEpoch: -1, metadata: '', committedMs: clock.nowMs, expiresMs: -1 };
    const tickets = this.#world.commitsOf(() =>
      groups.commitOffsets(groupId, [{ ...change, topicId: topic.id, partition, offset }]),
    );
    const ticket = tickets.get(0);
    if (ticket !== undefined) model.offset(groupId, topic.id, partition).set(offset, ticket);
  }
}
