/**
 * One group in Kafka's classic protocol: members join, one of them leads and assigns, all learn their part.
 *
 *   Empty -> PreparingRebalance -> CompletingRebalance -> Stable
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
import { GroupMember, joiningMember } from './group-member.ts';
import type { StoredMembership } from './group-store.ts';
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
  noBytes,
  type SyncRequest,
  type SyncResult,
  syncFailure,
} from './group-types.ts';
import { Membership, protocolBytes } from './membership.ts';

export interface GroupEnvironment {
  /** Its timers are turns of the coordinator. */
  readonly clock: Clock;
  readonly random: Random;
  readonly options: GroupOptions;
  /** Makes the membership durable. */
  save(groupId: string, membership: StoredMembership): void;
  /** Nobody is in the group any more and nobody was told to come. */
  noteUnused(group: ClassicGroup): void;
}

type RespondJoin = (result: JoinResult) => void;
type Timer = ReturnType<Clock['after']>;

export class ClassicGroup {
  readonly id: string;
  readonly #env: GroupEnvironment;
  readonly #members = new Membership();
  #state: GroupState = 'Empty';
  /** Grows with every rebalance. */
  #generation = 0;
  /** Chosen for this generation; null without members. */
  #protocolName: string | null = null;
  #sinceMs: number;
  /** Ids that were given out and have not come back with a JoinGroup. */
  readonly #pendingJoins = new Map<string, Timer>();
  /** Members of this generation whose SyncGroup did not come yet. */
  readonly #pendingSyncs = new Set<string>();
  /** Runs in PreparingRebalance only. */
  #joinTimer: Timer | undefined;
  /** Runs while #pendingSyncs has members, in CompletingRebalance and Stable. */
  #syncTimer: Timer | undefined;
  /** The running rebalance is the first one of an empty group, which waits a while for more members. */
  #isInitial = false;
  #memberAdded = false;

  constructor(id: string, env: GroupEnvironment, stored?: StoredMembership) {
    this.id = id;
    this.#env = env;
    this.#sinceMs = stored?.sinceMs ?? env.clock.now();
    if (stored === undefined) return;
    this.#generation = stored.generation;
    this.#protocolName = stored.protocolName;
    for (const member of stored.members) this.#enroll(new GroupMember(member), stored.protocolType);
    this.#members.protocolType = stored.protocolType;
    this.#members.leader = stored.leader;
    if (this.#members.size > 0) this.#state = 'Stable';
  }

  get state(): GroupState {
    return this.#state;
  }

  get protocolType(): string {
    return this.#members.protocolType;
  }

  get isUnused(): boolean {
    return this.#state === 'Empty' && this.#pendingJoins.size === 0;
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
    const error = this.#checkSync(request);
    if (error !== 'none') {
      respond(syncFailure(error));
      return;
    }
    const member = this.#members.get(request.memberId)!;
    this.#pendingSyncs.delete(member.memberId);
    if (this.#pendingSyncs.size === 0) this.#cancelSyncTimer();
    if (this.#state === 'Stable') {
      member.session!.set(member.sessionTimeoutMs);
      respond(this.#syncResult(member));
      return;
    }
    member.answerSync(syncFailure('rebalance-in-progress'));
    member.respondSync = respond;
    if (member.memberId === this.#members.leader) this.#assign(request);
  }

  heartbeat(identity: MemberIdentity): GroupError {
    const error = this.#members.check(identity);
    if (error !== 'none') return error;
    if (identity.generation !== this.#generation) return 'illegal-generation';
    const member = this.#members.get(identity.memberId)!;
    // The session of one who does not know its id cannot be meant.
    if (!member.isNew) member.session!.set(member.sessionTimeoutMs);
    return this.#state === 'PreparingRebalance' ? 'rebalance-in-progress' : 'none';
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
      this.#forget(member!);
      left = true;
      return 'none';
    });
    if (left) this.#proceed();
    return errors;
  }

  /** May offsets be committed now? A generation of -1 comes from whoever is not a member. */
  checkCommit({ memberId, instanceId, generation }: MemberIdentity): GroupError {
    if (generation < 0 && this.#state === 'Empty') return 'none';
    if (generation >= 0 || memberId !== '' || instanceId !== null) {
      const error = this.#members.check({ memberId, instanceId });
      if (error !== 'none') return error;
      if (generation !== this.#generation) return 'illegal-generation';
    } else if (this.#state !== 'Empty') {
      return 'unknown-member';
    }
    if (this.#state === 'CompletingRebalance') return 'rebalance-in-progress';
    const member = this.#members.get(memberId);
    if (member !== undefined && !member.isNew) member.session!.set(member.sessionTimeoutMs);
    return 'none';
  }

  describe(): DescribedGroup {
    const isStable = this.#state === 'Stable';
    return {
      state: this.#state,
      protocolType: this.#members.protocolType,
      protocolName: isStable ? (this.#protocolName ?? '') : '',
      members: this.#members.list().map((member) => ({
        ...member.store(),
        metadata: isStable ? member.metadataFor(this.#protocolName) : noBytes,
        assignment: isStable ? member.assignment : noBytes,
      })),
    };
  }

  /** Stops all timers; nobody is answered any more. */
  close(): void {
    this.#state = 'Dead';
    this.#cancelJoinTimer();
    this.#cancelSyncTimer();
    for (const timer of this.#pendingJoins.values()) timer.cancel();
    this.#pendingJoins.clear();
    for (const member of this.#members.list()) member.session?.cancel();
  }

  /** Members up to the bound; while a rebalance gathers them, those who have joined count. */
  #accepts(memberId: string): boolean {
    const { membersMax } = this.#env.options;
    const members = this.#members;
    switch (this.#state) {
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
      const timer = this.#env.clock.after(request.sessionTimeoutMs, () => this.#removePending(memberId));
      this.#pendingJoins.set(memberId, timer);
      respond(joinFailure('member-id-required', memberId));
    } else {
      this.#add(memberId, request, respond);
    }
  }

  #joinExisting(request: JoinRequest, respond: RespondJoin): void {
    const { memberId, instanceId } = request;
    if (this.#pendingJoins.has(memberId) && instanceId === null) {
      this.#forgetPending(memberId);
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
    if (this.#state === 'CompletingRebalance' && isUnchanged) {
      respond(this.#joinResult(member, isLeader));
    } else if (this.#state === 'Stable' && isUnchanged && !isLeader) {
      member.session!.set(member.sessionTimeoutMs);
      respond(this.#joinResult(member, false));
    } else {
      member.update(request);
      this.#awaitJoin(member, respond);
      this.#proceed();
    }
  }

  #add(memberId: string, request: JoinRequest, respond: RespondJoin): void {
    const member = joiningMember(memberId, request);
    member.isNew = true;
    member.respondJoin = respond;
    // A join that takes too long is given up: nothing else tells that the client is gone.
    this.#enroll(member, request.protocolType, this.#env.options.newMemberJoinTimeoutMs);
    this.#memberAdded = true;
    this.#proceed();
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
    this.#pendingSyncs.delete(old.memberId);
    this.#members.replace(old, member);
    this.#startSession(member, member.sessionTimeoutMs);
    if (this.#state !== 'Stable' || this.#members.selectProtocol() !== this.#protocolName) {
      member.respondJoin = respond;
      this.#proceed();
      return;
    }
    this.#save();
    const isLeader = this.#members.leader === memberId;
    if (request.maySkipAssignment) respond({ ...this.#joinResult(member, isLeader), skipAssignment: isLeader });
    // An older client would assign if it saw itself as the leader.
    else respond({ ...this.#joinResult(member, false), leader: formerLeader ?? '' });
  }

  /** Members have changed: begins a rebalance, or goes on with the one that is running. */
  #proceed(): void {
    switch (this.#state) {
      case 'Empty':
        if (this.#members.size > 0) this.#beginInitialRebalance();
        else if (this.isUnused) this.#env.noteUnused(this);
        return;
      case 'PreparingRebalance':
        if (!this.#isInitial && this.#allJoined()) this.#completeJoin();
        return;
      case 'CompletingRebalance':
        this.#resetAssignments('rebalance-in-progress');
        this.#beginRebalance();
        return;
      case 'Stable':
        this.#beginRebalance();
        return;
      case 'Dead':
        return;
    }
  }

  #beginRebalance(): void {
    this.#cancelSyncTimer();
    this.#enter('PreparingRebalance');
    if (this.#allJoined()) this.#completeJoin();
    else this.#startJoinTimer(this.#members.rebalanceTimeoutMs, () => this.#completeJoin());
  }

  /** Of a group that had no members: more of them are expected at once. */
  #beginInitialRebalance(): void {
    const delayMs = this.#env.options.initialRebalanceDelayMs;
    this.#isInitial = true;
    this.#memberAdded = false;
    this.#enter('PreparingRebalance');
    this.#awaitMembers(delayMs, Math.max(this.#members.rebalanceTimeoutMs - delayMs, 0));
  }

  /** Goes on when no member was added for a while, within the rebalance timeout. */
  #awaitMembers(delayMs: number, leftMs: number): void {
    if (delayMs === 0) {
      this.#completeJoin();
      return;
    }
    this.#startJoinTimer(delayMs, () => {
      const nextMs = this.#memberAdded ? Math.min(this.#env.options.initialRebalanceDelayMs, leftMs) : 0;
      this.#memberAdded = false;
      this.#awaitMembers(nextMs, leftMs - nextMs);
    });
  }

  #allJoined(): boolean {
    return this.#pendingJoins.size === 0 && this.#members.joinedCount === this.#members.size;
  }

  /** Those who have joined make the next generation; static members that have not keep their place. */
  #completeJoin(): void {
    this.#cancelJoinTimer();
    for (const member of this.#members.list()) {
      if (member.respondJoin === undefined && member.instanceId === null) this.#forget(member);
    }
    if (this.#members.size > 0 && !this.#members.electJoinedLeader()) {
      // Only static members, none of which has joined again: their sessions decide.
      this.#startJoinTimer(this.#members.rebalanceTimeoutMs, () => this.#completeJoin());
      return;
    }
    this.#isInitial = false;
    this.#generation++;
    this.#pendingSyncs.clear();
    this.#protocolName = this.#members.selectProtocol();
    if (this.#members.size === 0) {
      this.#enter('Empty');
      this.#save();
      if (this.isUnused) this.#env.noteUnused(this);
      return;
    }
    this.#enter('CompletingRebalance');
    for (const member of this.#members.list()) {
      this.#pendingSyncs.add(member.memberId);
      member.isNew = false;
      member.session!.set(member.sessionTimeoutMs);
      member.answerJoin(this.#joinResult(member, member.memberId === this.#members.leader));
    }
    this.#startSyncTimer();
  }

  /** The leader has assigned: from here on this generation survives a restart. */
  #assign({ assignments }: SyncRequest): void {
    let bytes = 0;
    for (const { assignment } of assignments) bytes += assignment.length;
    if (bytes > limits.groupBytesMax) {
      this.#resetAssignments('too-large');
      this.#beginRebalance();
      return;
    }
    for (const member of this.#members.list()) member.assignment = noBytes;
    for (const { memberId, assignment } of assignments) {
      const member = this.#members.get(memberId);
      if (member !== undefined) member.assignment = Buffer.from(assignment);
    }
    this.#enter('Stable');
    this.#save();
    for (const member of this.#members.list()) {
      if (member.respondSync === undefined) continue;
      member.session!.set(member.sessionTimeoutMs);
      member.answerSync(this.#syncResult(member));
    }
  }

  #resetAssignments(error: GroupError): void {
    for (const member of this.#members.list()) {
      member.assignment = noBytes;
      if (member.respondSync !== undefined) member.session!.set(member.sessionTimeoutMs);
      member.answerSync(syncFailure(error));
    }
  }

  #startSyncTimer(): void {
    this.#cancelSyncTimer();
    this.#syncTimer = this.#env.clock.after(this.#members.rebalanceTimeoutMs, () => {
      this.#syncTimer = undefined;
      for (const memberId of [...this.#pendingSyncs]) {
        const member = this.#members.get(memberId);
        if (member !== undefined) this.#forget(member);
      }
      this.#proceed();
    });
  }

  #cancelSyncTimer(): void {
    this.#syncTimer?.cancel();
    this.#syncTimer = undefined;
  }

  #startJoinTimer(delayMs: number, onElapsed: () => void): void {
    this.#cancelJoinTimer();
    this.#joinTimer = this.#env.clock.after(delayMs, onElapsed);
  }

  #cancelJoinTimer(): void {
    this.#joinTimer?.cancel();
    this.#joinTimer = undefined;
  }

  #removePending(memberId: string): void {
    if (this.#forgetPending(memberId) && this.#state !== 'Stable' && this.#state !== 'CompletingRebalance') {
      this.#proceed();
    }
  }

  #forgetPending(memberId: string): boolean {
    this.#pendingJoins.get(memberId)?.cancel();
    return this.#pendingJoins.delete(memberId);
  }

  #remove(member: GroupMember): void {
    this.#forget(member);
    this.#proceed();
  }

  #forget(member: GroupMember): void {
    member.session?.cancel();
    this.#members.remove(member);
    this.#pendingSyncs.delete(member.memberId);
    member.answerJoin(joinFailure('unknown-member', ''));
    member.answerSync(syncFailure('unknown-member'));
  }

  #checkSync(request: SyncRequest): GroupError {
    const error = this.#members.check(request);
    if (error !== 'none') return error;
    if (request.generation !== this.#generation) return 'illegal-generation';
    const { protocolType, protocolName } = request;
    if (protocolType !== null && protocolType !== this.#members.protocolType) return 'inconsistent-protocol';
    if (protocolName !== null && this.#protocolName !== null && protocolName !== this.#protocolName) {
      return 'inconsistent-protocol';
    }
    return this.#state === 'PreparingRebalance' ? 'rebalance-in-progress' : 'none';
  }

  #joinResult(member: GroupMember, withMembers: boolean): JoinResult {
    return {
      error: 'none',
      memberId: member.memberId,
      generation: this.#generation,
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      leader: this.#members.leader ?? '',
      skipAssignment: false,
      members: withMembers ? this.#members.joined(this.#protocolName) : [],
    };
  }

  #syncResult(member: GroupMember): SyncResult {
    return {
      error: 'none',
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      assignment: member.assignment,
    };
  }

  #enter(state: GroupState): void {
    this.#state = state;
    this.#sinceMs = this.#env.clock.now();
  }

  #save(): void {
    this.#env.save(this.id, {
      generation: this.#generation,
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      leader: this.#members.leader,
      sinceMs: this.#sinceMs,
      members: this.#members.list().map((member) => member.store()),
    });
  }

  #startSession(member: GroupMember, sessionMs: number): void {
    member.session = new Deadline(this.#env.clock, () => {
      // One that waits for the others cannot send heartbeats meanwhile; its answer starts the session anew.
      if (member.isNew || !member.isWaiting) this.#remove(member);
    });
    member.session.set(sessionMs);
  }
}

const newUuid = (random: Random): string => {
  const hex = random.hex(16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
};
