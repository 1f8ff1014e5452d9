/**
 * All consumer groups of a broker: finds the group of a request, keeps offsets, and lets go of what nobody uses. Durable
 * state is the store's; the groups here are its soft half and are made from it.
 *
 * Every answer is based on commits that may not be durable yet: the caller tells it after the gate's current ticket. Answers
 * of join() and sync() come through their callbacks, at the end of the turn that decides them: what an answer sets going
 * finds the groups at rest.
 */
import type { Clock } from '../../core/clock.ts';
import { BrokerError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import type { Random } from '../../core/random.ts';
import type { DurableGate } from '../../shard/gate.ts';
import { ClassicGroup, type GroupEnvironment } from './classic-group.ts';
import type { GroupStore } from './group-store.ts';
import {
  type DescribedGroup,
  type GroupError,
  type GroupOptions,
  type GroupState,
  type JoinRequest,
  type JoinResult,
  joinFailure,
  type LeavingMember,
  type MemberIdentity,
  type SyncRequest,
  type SyncResult,
  syncFailure,
} from './group-types.ts';
import type { CommittedOffset, OffsetChange, StoredGroup } from './stored-group.ts';

/** What the coordinator needs of the broker. */
export interface GroupHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly groupStore: GroupStore;
  readonly gate: Pick<DurableGate, 'current' | 'wait'>;
  /** Undefined: the topic is gone. */
  topicById(id: string): object | undefined;
}

/** The longest delay of a timer of Node. */
const timerMsMax = 2 ** 31 - 1;

export class GroupCoordinator {
  readonly options: GroupOptions;
  readonly #host: GroupHost;
  readonly #store: GroupStore;
  readonly #env: GroupEnvironment;
  /** Groups with members, or that members are joining; others rest in the store. */
  readonly #groups = new Map<string, ClassicGroup>();
  /** Groups to let go of at the end of a turn, if nobody has come. */
  readonly #unused = new Set<ClassicGroup>();
  #answers: (() => void)[] = [];
  #answering = false;
  #expiryTimer: ReturnType<Clock['after']> | undefined;
  #closed = false;

  constructor(host: GroupHost, options: GroupOptions) {
    this.options = options;
    this.#host = host;
    this.#store = host.groupStore;
    this.#env = {
      clock: { now: () => host.clock.now(), after: (delayMs, callback) => this.#after(delayMs, callback) },
      random: host.random,
      options,
      save: (groupId, membership) => host.groupStore.saveMembership(groupId, membership),
      whenDurable: (action) => host.gate.wait(host.gate.current, { onDurable: () => this.#wakeTurn(action) }),
      noteUnused: (group) => this.#unused.add(group),
    };
    for (const stored of host.groupStore.groups) {
      if (stored.membership !== undefined && stored.membership.members.length > 0) this.#wake(stored);
    }
    this.#scheduleExpiry();
  }

  join(request: JoinRequest, respond: (result: JoinResult) => void): void {
    const answer = (result: JoinResult): void => {
      this.#answers.push(() => respond(result));
    };
    this.#turn(() => {
      const problem = this.#joinProblem(request);
      if (problem === undefined) this.#groupToJoin(request.groupId).join(request, answer);
      else answer(joinFailure(problem, request.memberId));
    });
  }

  sync(request: SyncRequest, respond: (result: SyncResult) => void): void {
    const answer = (result: SyncResult): void => {
      this.#answers.push(() => respond(result));
    };
    this.#turn(() => {
      const group = this.#find(request.groupId);
      if (group !== undefined) group.sync(request, answer);
      else answer(syncFailure(request.groupId === '' ? 'invalid-group-id' : 'unknown-member'));
    });
  }

  heartbeat(identity: MemberIdentity): GroupError {
    if (identity.groupId === '') return 'invalid-group-id';
    return this.#find(identity.groupId)?.heartbeat(identity) ?? 'unknown-member';
  }

  /** One outcome for each member. */
  leave(groupId: string, members: readonly LeavingMember[]): GroupError[] {
    return this.#turn(() => this.#find(groupId)?.leave(members) ?? members.map(() => 'unknown-member' as const));
  }

  /** Checks the committer, not the offsets. 'group-not-found': a member of a group that is not there. */
  checkCommit(identity: MemberIdentity): GroupError {
    const { groupId } = identity;
    const group = this.#find(groupId);
    if (group !== undefined) return group.checkCommit(identity);
    if (groupId.length > limits.groupNameLengthMax) return 'invalid-group-id';
    return identity.generation < 0 ? 'none' : 'group-not-found';
  }

  /** After checkCommit(). */
  commitOffsets(groupId: string, changes: readonly OffsetChange[]): void {
    this.#store.commitOffsets(groupId, changes);
  }

  committed(groupId: string, topicId: string, partition: number): CommittedOffset | undefined {
    return this.#store.group(groupId)?.offsets.get(topicId)?.get(partition);
  }

  /** All offsets of the group, by topic id and partition; also of topics that are gone. */
  allCommitted(groupId: string): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> {
    return this.#store.group(groupId)?.offsets ?? new Map();
  }

  describe(groupId: string): DescribedGroup | undefined {
    return this.#find(groupId)?.describe();
  }

  list(): { groupId: string; protocolType: string; state: GroupState }[] {
    const listed = [...this.#groups.values()].map(({ id, protocolType, state }) => ({
      groupId: id,
      protocolType,
      state,
    }));
    for (const { id, membership } of this.#store.groups) {
      if (this.#groups.has(id)) continue;
      listed.push({ groupId: id, protocolType: membership?.protocolType ?? '', state: 'Empty' });
    }
    return listed;
  }

  /** Only an empty group, with its offsets. */
  delete(groupId: string): GroupError {
    const group = this.#find(groupId);
    if (group === undefined) return 'group-not-found';
    if (group.state !== 'Empty') return 'group-not-empty';
    group.close();
    this.#groups.delete(groupId);
    if (this.#store.group(groupId) !== undefined) this.#store.removeGroup(groupId);
    return 'none';
  }

  /** Stops all timers; nobody is answered any more. */
  close(): void {
    this.#closed = true;
    this.#expiryTimer?.cancel();
    for (const group of this.#groups.values()) group.close();
    this.#groups.clear();
    this.#answers = [];
  }

  /**
   * Forgets offsets that are past their time, or whose topic is gone, and groups that hold nothing. Offsets of a group with
   * members stay; those of an empty one count from when it became empty (KIP-211).
   */
  expire(): void {
    const nowMs = this.#host.clock.now();
    const { offsetsRetentionMs } = this.options;
    for (const stored of [...this.#store.groups]) {
      const isIdle = this.#groups.get(stored.id)?.isUnused ?? true;
      const emptySinceMs = stored.membership?.sinceMs ?? 0;
      const expired: [topicId: string, partition: number][] = [];
      let kept = 0;
      for (const [topicId, partitions] of stored.offsets) {
        const isGone = this.#host.topicById(topicId) === undefined;
        for (const [partition, { committedMs, expiresMs }] of partitions) {
          const endMs = expiresMs >= 0 ? expiresMs : Math.max(committedMs, emptySinceMs) + offsetsRetentionMs;
          if (isGone || (isIdle && endMs <= nowMs)) expired.push([topicId, partition]);
          else kept++;
        }
      }
      if (isIdle && kept === 0 && emptySinceMs + offsetsRetentionMs <= nowMs) this.delete(stored.id);
      else this.#store.removeOffsets(stored.id, expired);
    }
  }

  #joinProblem({ groupId, memberId, instanceId, clientId, ...request }: JoinRequest): GroupError | undefined {
    const { sessionTimeoutMsMin, sessionTimeoutMsMax } = this.options;
    const { groupNameLengthMax, groupInstanceIdLengthMax } = limits;
    if (groupId === '' || groupId.length > groupNameLengthMax) return 'invalid-group-id';
    const { sessionTimeoutMs, protocolType, protocols } = request;
    if (sessionTimeoutMs < sessionTimeoutMsMin || sessionTimeoutMs > sessionTimeoutMsMax) {
      return 'invalid-session-timeout';
    }
    if (memberId !== '' && this.#find(groupId) === undefined) return 'unknown-member';
    if (instanceId === '' || (instanceId?.length ?? 0) > groupInstanceIdLengthMax) return 'invalid-name';
    // These come back to others, in versions of the protocol whose strings are short.
    const names = [clientId, protocolType, ...protocols.map(({ name }) => name)];
    return names.some((name) => name.length > groupNameLengthMax) ? 'invalid-name' : undefined;
  }

  #groupToJoin(groupId: string): ClassicGroup {
    let group = this.#find(groupId);
    if (group === undefined) {
      group = new ClassicGroup(groupId, this.#env);
      this.#groups.set(groupId, group);
      // It may refuse the one who comes.
      this.#unused.add(group);
    }
    return group;
  }

  /** The group in its present state, woken from the store if it rests there. */
  #find(groupId: string): ClassicGroup | undefined {
    const group = this.#groups.get(groupId);
    if (group !== undefined) return group;
    const stored = this.#store.group(groupId);
    return stored === undefined ? undefined : this.#wake(stored);
  }

  #wake(stored: StoredGroup): ClassicGroup {
    const group = new ClassicGroup(stored.id, this.#env, stored.membership);
    this.#groups.set(stored.id, group);
    this.#unused.add(group);
    return group;
  }

  /** Whatever may change groups runs in here. */
  #turn<Result>(action: () => Result): Result {
    let result: Result;
    try {
      result = action();
    } catch (error) {
      this.#answers = [];
      throw error;
    }
    for (const group of this.#unused) if (group.isUnused) this.#groups.delete(group.id);
    this.#unused.clear();
    this.#answer();
    return result;
  }

  /** In order. An answer may lead to the next request at once, whose answers then come after these. */
  #answer(): void {
    if (this.#answering) return;
    this.#answering = true;
    try {
      for (let next = this.#answers.shift(); next !== undefined; next = this.#answers.shift()) next();
    } finally {
      this.#answering = false;
    }
  }

  #after(delayMs: number, callback: () => void): ReturnType<Clock['after']> {
    return this.#host.clock.after(Math.min(delayMs, timerMsMax), () => this.#wakeTurn(callback));
  }

  /** A turn that no request has begun. */
  #wakeTurn(action: () => void): void {
    if (this.#closed) return;
    try {
      this.#turn(action);
    } catch (error) {
      // The log has failed: this broker is about to be replaced, and a coordinator made from what is durable.
      if (!(error instanceof BrokerError)) throw error;
      this.close();
    }
  }

  #scheduleExpiry(): void {
    this.#expiryTimer = this.#after(this.options.offsetsRetentionCheckMs, () => {
      this.expire();
      this.#scheduleExpiry();
    });
  }
}
