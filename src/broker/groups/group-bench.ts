/**
 * For tests: a coordinator over a broker in memory, with a clock that stands still until it is told to go on, and a disk that
 * is done at once unless it is held.
 */
import assert from 'node:assert/strict';
import type { DurableWaiter } from '../../shard/gate.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { type Broker, openBroker } from '../broker.ts';
import { FakeClock } from './fake-clock.ts';
import { GroupCoordinator } from './group-coordinator.ts';
import type { GroupError, GroupOptions, JoinRequest, JoinResult, SyncRequest, SyncResult } from './group-types.ts';

export const options: GroupOptions = {
  initialRebalanceDelayMs: 3000,
  sessionTimeoutMsMin: 6000,
  sessionTimeoutMsMax: 60_000,
  membersMax: 3,
  offsetMetadataBytesMax: 4096,
  offsetsRetentionMs: 1_000_000,
  offsetsRetentionCheckMs: 100_000,
  newMemberJoinTimeoutMs: 300_000,
};

/** In place of the broker's gate: everything is durable at the end of a request that is made through the bench. */
class BenchGate {
  readonly current = 0;
  /** Nothing becomes durable until release() is called. */
  isHeld = false;
  #waiters: DurableWaiter[] = [];

  wait(_ticket: number, waiter: DurableWaiter): void {
    this.#waiters.push(waiter);
  }

  release(): void {
    this.isHeld = false;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.onDurable();
  }
}

export class Bench {
  readonly disk = new MemoryDisk();
  readonly gate = new BenchGate();
  readonly clock = new FakeClock();
  broker!: Broker;
  groups!: GroupCoordinator;

  static async start(changed: Partial<GroupOptions> = {}): Promise<Bench> {
    const bench = new Bench();
    await bench.open(changed);
    return bench;
  }

  async open(changed: Partial<GroupOptions> = {}): Promise<void> {
    this.broker = await openBroker({ storage: new MemoryStorage(this.disk), durability: 'sync', clock: this.clock });
    const { broker, gate } = this;
    const { clock, random, groupStore } = broker;
    const topicById = (id: string) => broker.topicById(id);
    this.groups = new GroupCoordinator({ clock, random, groupStore, gate, topicById }, { ...options, ...changed });
  }

  async restart(): Promise<void> {
    await this.close();
    await this.open();
  }

  async close(): Promise<void> {
    this.groups.close();
    await this.broker.close();
  }

  join(request: Partial<JoinRequest> = {}): { result: JoinResult | undefined } {
    const answer: { result: JoinResult | undefined } = { result: undefined };
    this.groups.join(
      {
        groupId: 'g',
        memberId: '',
        instanceId: null,
        clientId: 'client',
        clientHost: '/127.0.0.1',
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 20_000,
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Buffer.from('topics') }],
        requiresMemberId: false,
        maySkipAssignment: false,
        ...request,
      },
      (result) => {
        answer.result = result;
      },
    );
    return answer;
  }

  sync(
    joined: JoinResult,
    assignments: readonly { memberId: string; assignment: Buffer }[] = [],
    request: Partial<SyncRequest> = {},
  ): { result: SyncResult | undefined } {
    const answer: { result: SyncResult | undefined } = { result: undefined };
    this.groups.sync(
      {
        groupId: 'g',
        memberId: joined.memberId,
        instanceId: null,
        generation: joined.generation,
        protocolType: null,
        protocolName: null,
        assignments,
        ...request,
      },
      (result) => {
        answer.result = result;
      },
    );
    if (!this.gate.isHeld) this.gate.release();
    return answer;
  }

  heartbeat({ memberId, generation }: JoinResult, instanceId: string | null = null): GroupError {
    return this.groups.heartbeat({ groupId: 'g', memberId, instanceId, generation });
  }

  state(): string | undefined {
    return this.groups.describe('g')?.state;
  }

  /** A stable group of so many members, the leader first. */
  stable(count: number, rest: (index: number) => Partial<JoinRequest> = () => ({})): JoinResult[] {
    const answers = Array.from({ length: count }, (_, index) => this.join(rest(index)));
    this.clock.advance(options.initialRebalanceDelayMs * 2);
    const members = answers.map(({ result }) => result!);
    const leader = members.find(({ memberId, leader: id }) => memberId === id)!;
    const followers = members.filter((member) => member !== leader);
    for (const member of followers) this.sync(member);
    const assignments = members.map(({ memberId }, index) => ({ memberId, assignment: Buffer.from(`part ${index}`) }));
    this.sync(leader, assignments);
    assert.equal(this.state(), 'Stable');
    return [leader, ...followers];
  }
}
