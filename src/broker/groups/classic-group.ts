/**
 * One group in Kafka's classic protocol: members join, one of them leads and assigns, all learn their part. Here is what
 * each request means; `rebalance.ts` leads from one generation to the next, `generation.ts` knows the current one.
 *
 * Rules and their order are those of Apache Kafka 4 (GroupMetadataManager, ClassicGroup). Answers that must wait are given
 * through the callbacks that members left; the coordinator passes them on when the turn is over, so nobody sees or enters
 * half a transition.
 *
 * The membership is stored whenever the group comes to rest, Stable or Empty. A rebalance under way is soft: after a restart
 * the group is as it was before, and those who joined meanwhile learn that they must join again.
 */
import type { Clock } from '../../core/clock.ts';
import { limits } from '../../core/limits.ts';
import type { Random } from '../../core/random.ts';
import { Deadline } from './deadline.ts';
import { Generation } from './generation.ts';
import { GroupMember, joiningMember } from './group-member.ts';
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
import { Membership, protocolBytes } from './membership.ts';
import { PendingJoins } from './pending-joins.ts';
import { Rebalance } from './rebalance.ts';
import type { StoredMembership } from './stored-group.ts';

export interface GroupEnvironment {
  /** Its timers are turns of the coordinator. */
  readonly clock: Clock;
  readonly random: Random;
  readonly options: GroupOptions;
  /** Makes the membership durable. */
  save(groupId: string, membership: StoredMembership): void;
  /** Runs the action, a turn of its own, when all that was saved so far is durable. */
  whenDurable(action: () => void): void;
  /** Nobody is in the group any more and nobody was told to come. */
  noteUnused(group: ClassicGroup): void;
}

type RespondJoin = (result: JoinResult) => void;

export class ClassicGroup {
  readonly id: string;
  readonly #env: GroupEnvironment;
  readonly #members = new Membership();
  readonly #pendingJoins: PendingJoins;
  readonly #generation: Generation;
  readonly #rebalance: Rebalance;

  constructor(id: string, env: GroupEnvironment, stored?: StoredMembership) {
    this.id = id;
    this.#env = env;
    this.#pendingJoins = new PendingJoins(env.clock, (memberId) => this.#removePending(memberId));
    this.#generation = new Generation(env.clock, this.#members, stored);
    this.#rebalance = new Rebalance({
      clock: env.clock,
      initialRebalanceDelayMs: env.options.initialRebalanceDelayMs,
      members: this.#members,
      generation: this.#generation,
      pendingJoins: this.#pendingJoins,
      save: () => this.#save(),
      whenDurable: (action) => env.whenDurable(action),
      onEmpty: () => {
        if (this.isUnused) env.noteUnused(this);
      },
    });
    if (stored === undefined) return;
    for (const member of stored.members) this.#enroll(new GroupMember(member), stored.protocolType);
    this.#members.protocolType = stored.protocolType;
    this.#members.leader = stored.leader;
  }

  get state(): GroupState {
    return this.#generation.state;
  }

  get protocolType(): string {
    return this.#members.protocolType;
  }

  get isUnused(): boolean {
    return this.state === 'Empty' && this.#pendingJoins.size === 0;
  }

  join(request: JoinRequest, respond: RespondJoin): void {
    const { memberId } = request;
    const ownBytes = 2 * request.clientId.length + protocolBytes(request.protocols);
    if (!this.#accepts(memberId)) {
      const member = this.#members.get(memberId);
      respond(joinFailure('group-full', ''));
      if (member !== undefined) this.#remove(member);
      else this.#removePending(memberId);
    } else if (!this.#members.supports(request)) {
      respond(joinFailure('inconsistent-protocol', memberId));
    } else if (this.#members.sizeBytes(memberId) + ownBytes > limits.groupBytesMax) {
      respond(joinFailure('too-large', memberId));
    } else if (memberId === '') {
      this.#joinNew(request, respond);
    } else {
      this.#joinExisting(request, respond);
    }
  }

  sync(request: SyncRequest, respond: (result: SyncResult) => void): void {
    const error = this.#generation.checkSync(request);
    if (error !== 'none') {
      respond(syncFailure(error));
      return;
    }
    const member = this.#members.get(request.memberId)!;
    this.#rebalance.settleSync(member);
    if (this.state === 'Stable') {
      member.renewSession();
      respond(this.#generation.syncResult(member));
      return;
    }
    member.answerSync(syncFailure('rebalance-in-progress'));
    member.respondSync = respond;
    if (member.memberId === this.#members.leader) this.#rebalance.assign(request.assignments);
  }

  heartbeat(identity: MemberIdentity): GroupError {
    const error = this.#generation.check(identity);
    if (error !== 'none') return error;
    this.#heard(this.#members.get(identity.memberId)!);
    return this.state === 'PreparingRebalance' ? 'rebalance-in-progress' : 'none';
  }

  /** One outcome for each; the others rebalance once. */
  leave(leaving: readonly LeavingMember[]): GroupError[] {
    let left = false;
    const errors = leaving.map((identity): GroupError => {
      const { memberId, instanceId } = identity;
      if (this.#pendingJoins.has(memberId)) {
        this.#removePending(memberId);
        return 'none';
      }
      // An administrator names the instance only.
      const isNamed = memberId !== '' || instanceId === null;
      const member = isNamed ? this.#members.get(memberId) : this.#members.ofInstance(instanceId);
      const error = isNamed ? this.#members.check(identity) : member === undefined ? 'unknown-member' : 'none';
      if (error !== 'none') return error;
      this.#rebalance.remove(member!);
      left = true;
      return 'none';
    });
    if (left) this.#rebalance.proceed();
    return errors;
  }

  /** May offsets be committed now? A generation of -1 comes from whoever is not a member. */
  checkCommit(identity: MemberIdentity): GroupError {
    const error = this.#generation.checkCommit(identity);
    const member = this.#members.get(identity.memberId);
    if (error === 'none' && member !== undefined) this.#heard(member);
    return error;
  }

  describe(): DescribedGroup {
    return this.#generation.describe();
  }

  /** Stops all timers; nobody is answered any more. */
  close(): void {
    this.#generation.enter('Dead');
    this.#rebalance.close();
    this.#pendingJoins.clear();
    for (const member of this.#members.list()) member.session?.cancel();
  }

  /** Members up to the bound; while a rebalance gathers them, those who have joined count. */
  #accepts(memberId: string): boolean {
    const { membersMax } = this.#env.options;
    const members = this.#members;
    switch (this.state) {
      case 'Empty':
      case 'Dead':
        return true;
      case 'PreparingRebalance':
        return members.get(memberId)?.respondJoin !== undefined || members.joinedCount < membersMax;
      case 'CompletingRebalance':
      case 'Stable':
        return members.get(memberId) !== undefined || members.size < membersMax;
    }
  }

  #joinNew(request: JoinRequest, respond: RespondJoin): void {
    const { instanceId, clientId } = request;
    const memberId = `${instanceId ?? clientId}-${newUuid(this.#env.random)}`;
    if (instanceId !== null) {
      const old = this.#members.ofInstance(instanceId);
      if (old === undefined) this.#add(memberId, request, respond);
      else this.#replaceStatic(old, memberId, request, respond);
    } else if (request.requiresMemberId) {
      this.#pendingJoins.add(memberId, request.sessionTimeoutMs);
      respond(joinFailure('member-id-required', memberId));
    } else {
      this.#add(memberId, request, respond);
    }
  }

  #joinExisting(request: JoinRequest, respond: RespondJoin): void {
    const { memberId, instanceId } = request;
    if (instanceId === null && this.#pendingJoins.remove(memberId)) {
      this.#add(memberId, request, respond);
      return;
    }
    const error = this.#members.check(request);
    if (error !== 'none') {
      respond(joinFailure(error, memberId));
      return;
    }
    const member = this.#members.get(memberId)!;
    const isLeader = memberId === this.#members.leader;
    const isUnchanged = member.hasSameProtocols(request.protocols);
    // Its answer got lost, or a follower merely comes again: it learns of the current generation. A leader that comes again
    // wants to assign anew.
    if (this.state === 'CompletingRebalance' && isUnchanged) {
      respond(this.#generation.joinResult(member, isLeader));
    } else if (this.state === 'Stable' && isUnchanged && !isLeader) {
      member.renewSession();
      respond(this.#generation.joinResult(member, false));
    } else {
      member.update(request);
      this.#awaitJoin(member, respond);
      this.#rebalance.proceed();
    }
  }

  #add(memberId: string, request: JoinRequest, respond: RespondJoin): void {
    const member = joiningMember(memberId, request);
    member.isNew = true;
    member.respondJoin = respond;
    // A join that takes too long is given up: nothing else tells that the client is gone.
    this.#enroll(member, request.protocolType, this.#env.options.newMemberJoinTimeoutMs);
    this.#rebalance.noteAdded();
    this.#rebalance.proceed();
  }

  #enroll(member: GroupMember, protocolType: string, sessionMs: number = member.sessionTimeoutMs): void {
    this.#members.add(member, protocolType);
    this.#startSession(member, sessionMs);
  }

  /** A join that it already waits with was given up by the client. */
  #awaitJoin(member: GroupMember, respond: RespondJoin): void {
    member.answerJoin(joinFailure('rebalance-in-progress', member.memberId));
    member.respondJoin = respond;
  }

  /** A static member came back under a new id; its place and its assignment stay. */
  #replaceStatic(old: GroupMember, memberId: string, request: JoinRequest, respond: RespondJoin): void {
    const formerLeader = this.#members.leader;
    const member = joiningMember(memberId, request);
    member.assignment = old.assignment;
    old.session?.cancel();
    old.answerJoin(joinFailure('fenced-instance', old.memberId));
    old.answerSync(syncFailure('fenced-instance'));
    this.#rebalance.settleSync(old);
    this.#members.replace(old, member);
    this.#startSession(member, member.sessionTimeoutMs);
    if (this.state !== 'Stable' || this.#members.selectProtocol() !== this.#generation.protocolName) {
      member.respondJoin = respond;
      this.#rebalance.proceed();
      return;
    }
    this.#save();
    const isLeader = this.#members.leader === memberId;
    const result = this.#generation.joinResult(member, isLeader && request.maySkipAssignment);
    if (request.maySkipAssignment) respond({ ...result, skipAssignment: isLeader });
    // An older client would assign if it saw itself as the leader.
    else respond({ ...result, leader: formerLeader ?? '' });
  }

  #removePending(memberId: string): void {
    if (!this.#pendingJoins.remove(memberId)) return;
    if (this.state !== 'Stable' && this.state !== 'CompletingRebalance') this.#rebalance.proceed();
  }

  #remove(member: GroupMember): void {
    this.#rebalance.remove(member);
    this.#rebalance.proceed();
  }

  #save(): void {
    this.#env.save(this.id, this.#generation.store());
  }

  #startSession(member: GroupMember, sessionMs: number): void {
    member.session = new Deadline(this.#env.clock, () => {
      // One that waits for the others cannot send heartbeats meanwhile; its answer starts the session anew.
      if (member.isNew || !member.isWaiting) this.#remove(member);
    });
    member.session.set(sessionMs);
  }

  /** The session of one who does not know its id cannot be meant. */
  #heard(member: GroupMember): void {
    if (!member.isNew) member.renewSession();
  }
}

const newUuid = (random: Random): string => {
  const hex = random.hex(16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};
