/**
 * How one group comes from one generation to the next, and whom it waits for meanwhile.
 *
 *   Empty -> PreparingRebalance -> CompletingRebalance -> Stable
 *
 * In PreparingRebalance members join. In CompletingRebalance they ask for their assignments, which the leader brings; those
 * who do not ask in time are taken out, also when the group is Stable by then.
 */
import type { Clock } from '../../core/clock.ts';
import { limits } from '../../core/limits.ts';
import type { Generation } from './generation.ts';
import type { GroupMember } from './group-member.ts';
import { type GroupError, joinFailure, noBytes, type SyncRequest, syncFailure } from './group-types.ts';
import type { Membership } from './membership.ts';
import type { PendingJoins } from './pending-joins.ts';

export interface RebalanceOptions {
  readonly clock: Clock;
  readonly initialRebalanceDelayMs: number;
  readonly members: Membership;
  readonly generation: Generation;
  /** They are expected to join, too. */
  readonly pendingJoins: PendingJoins;
  /** Makes the membership durable: the group comes to rest, Stable or Empty. */
  readonly save: () => void;
  /** Runs the action, a turn of its own, when all that was saved so far is durable. */
  readonly whenDurable: (action: () => void) => void;
  /** Nobody is in the group, but for pending joins. */
  readonly onEmpty: () => void;
}

type Timer = ReturnType<Clock['after']>;

export class Rebalance {
  readonly #options: RebalanceOptions;
  readonly #members: Membership;
  readonly #generation: Generation;
  /** Runs in PreparingRebalance only. */
  #joinTimer: Timer | undefined;
  /** The running rebalance is the first one of an empty group, which waits a while for more members. */
  #isInitial = false;
  #memberAdded = false;
  /** Members of this generation whose SyncGroup did not come yet. */
  readonly #pendingSyncs = new Set<string>();
  /** Runs while #pendingSyncs has members, in CompletingRebalance and Stable. */
  #syncTimer: Timer | undefined;

  constructor(options: RebalanceOptions) {
    this.#options = options;
    this.#members = options.members;
    this.#generation = options.generation;
  }

  /** Members have changed: begins a rebalance, or goes on with the one that is running. */
  proceed(): void {
    switch (this.#generation.state) {
      case 'Empty':
        if (this.#members.size > 0) this.#beginInitial();
        else this.#options.onEmpty();
        return;
      case 'PreparingRebalance':
        if (!this.#isInitial && this.#allJoined()) this.#completeJoin();
        return;
      case 'CompletingRebalance':
        this.#resetAssignments('rebalance-in-progress');
        this.#begin();
        return;
      case 'Stable':
        this.#begin();
        return;
      case 'Dead':
        return;
    }
  }

  /** An initial rebalance waits for more like this one. */
  noteAdded(): void {
    this.#memberAdded = true;
  }

  /** The member's SyncGroup has come, or will not come under this id: it is not awaited any more. */
  settleSync({ memberId }: GroupMember): void {
    this.#pendingSyncs.delete(memberId);
    if (this.#pendingSyncs.size === 0) this.#cancelSyncTimer();
  }

  /** Takes the member out; follow with proceed(). */
  remove(member: GroupMember): void {
    member.session?.cancel();
    this.#members.remove(member);
    this.settleSync(member);
    member.answerJoin(joinFailure('unknown-member', ''));
    member.answerSync(syncFailure('unknown-member'));
  }

  /**
   * The leader has assigned: from here on this generation survives a restart. Until that is durable the rebalance is under
   * way, as in Kafka: who joins meanwhile is in the next one, and the others learn of it at once, by their SyncGroup, not only
   * by their next heartbeat.
   */
  assign(assignments: SyncRequest['assignments']): void {
    let bytes = 0;
    for (const { assignment } of assignments) bytes += assignment.length;
    if (bytes > limits.groupBytesMax) {
      this.#resetAssignments('too-large');
      this.#begin();
      return;
    }
    for (const member of this.#members.list()) member.assignment = noBytes;
    for (const { memberId, assignment } of assignments) {
      const member = this.#members.get(memberId);
      if (member !== undefined) member.assignment = Buffer.from(assignment);
    }
    this.#options.save();
    const { number } = this.#generation;
    this.#options.whenDurable(() => {
      if (this.#generation.state === 'CompletingRebalance' && this.#generation.number === number) this.#settle();
    });
  }

  #settle(): void {
    this.#generation.enter('Stable');
    for (const member of this.#members.list()) {
      if (member.respondSync === undefined) continue;
      member.renewSession();
      member.answerSync(this.#generation.syncResult(member));
    }
  }

  close(): void {
    this.#cancelJoinTimer();
    this.#cancelSyncTimer();
  }

  #begin(): void {
    this.#cancelSyncTimer();
    this.#generation.enter('PreparingRebalance');
    if (this.#allJoined()) this.#completeJoin();
    else this.#startJoinTimer(this.#members.rebalanceTimeoutMs, () => this.#completeJoin());
  }

  /** Of a group that had no members: more of them are expected at once. */
  #beginInitial(): void {
    const delayMs = this.#options.initialRebalanceDelayMs;
    this.#isInitial = true;
    this.#memberAdded = false;
    this.#generation.enter('PreparingRebalance');
    this.#awaitMembers(delayMs, Math.max(this.#members.rebalanceTimeoutMs - delayMs, 0));
  }

  /** Goes on when no member was added for a while, within the rebalance timeout. A delay of 0 is the next turn of the clock. */
  #awaitMembers(delayMs: number, leftMs: number): void {
    this.#startJoinTimer(delayMs, () => {
      if (!this.#memberAdded || leftMs === 0) {
        this.#completeJoin();
        return;
      }
      this.#memberAdded = false;
      const nextMs = Math.min(this.#options.initialRebalanceDelayMs, leftMs);
      this.#awaitMembers(nextMs, leftMs - nextMs);
    });
  }

  #allJoined(): boolean {
    return this.#options.pendingJoins.size === 0 && this.#members.joinedCount === this.#members.size;
  }

  /** Those who have joined make the next generation; static members that have not keep their place. */
  #completeJoin(): void {
    this.#cancelJoinTimer();
    for (const member of this.#members.list()) {
      if (member.respondJoin === undefined && member.instanceId === null) this.remove(member);
    }
    if (this.#members.size > 0 && !this.#members.electJoinedLeader()) {
      // Only static members, none of which has joined again: their sessions decide.
      this.#startJoinTimer(this.#members.rebalanceTimeoutMs, () => this.#completeJoin());
      return;
    }
    this.#isInitial = false;
    this.#pendingSyncs.clear();
    this.#generation.advance();
    if (this.#members.size === 0) {
      this.#generation.enter('Empty');
      this.#options.save();
      this.#options.onEmpty();
      return;
    }
    this.#generation.enter('CompletingRebalance');
    for (const member of this.#members.list()) {
      this.#pendingSyncs.add(member.memberId);
      member.isNew = false;
      member.renewSession();
      member.answerJoin(this.#generation.joinResult(member, member.memberId === this.#members.leader));
    }
    this.#startSyncTimer();
  }

  #resetAssignments(error: GroupError): void {
    for (const member of this.#members.list()) {
      member.assignment = noBytes;
      if (member.respondSync !== undefined) member.renewSession();
      member.answerSync(syncFailure(error));
    }
  }

  #startSyncTimer(): void {
    this.#cancelSyncTimer();
    this.#syncTimer = this.#options.clock.after(this.#members.rebalanceTimeoutMs, () => {
      this.#syncTimer = undefined;
      for (const memberId of [...this.#pendingSyncs]) {
        const member = this.#members.get(memberId);
        if (member !== undefined) this.remove(member);
      }
      this.proceed();
    });
  }

  #cancelSyncTimer(): void {
    this.#syncTimer?.cancel();
    this.#syncTimer = undefined;
  }

  #startJoinTimer(delayMs: number, onElapsed: () => void): void {
    this.#cancelJoinTimer();
    this.#joinTimer = this.#options.clock.after(delayMs, onElapsed);
  }

  #cancelJoinTimer(): void {
    this.#joinTimer?.cancel();
    this.#joinTimer = undefined;
  }
}
