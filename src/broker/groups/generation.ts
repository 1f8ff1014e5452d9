/**
 * The generation that a group is in: its number, the protocol that its members agreed on and how far they are; whether a
 * request belongs to it, and what members and others are told of it.
 */
import type { Clock } from '../../core/clock.ts';
import type { GroupMember } from './group-member.ts';
import {
  type DescribedGroup,
  type GroupError,
  type GroupState,
  type JoinResult,
  type MemberIdentity,
  noBytes,
  type SyncRequest,
  type SyncResult,
} from './group-types.ts';
import type { Membership } from './membership.ts';
import type { StoredMembership } from './stored-group.ts';

export class Generation {
  readonly #clock: Clock;
  readonly #members: Membership;
  #state: GroupState = 'Empty';
  /** When the state was entered. */
  #sinceMs: number;
  /** Grows with every rebalance. */
  #number = 0;
  /** Null without members. */
  #protocolName: string | null = null;

  constructor(clock: Clock, members: Membership, stored?: StoredMembership) {
    this.#clock = clock;
    this.#members = members;
    this.#sinceMs = stored?.sinceMs ?? clock.now();
    if (stored === undefined) return;
    this.#number = stored.generation;
    this.#protocolName = stored.protocolName;
    if (stored.members.length > 0) this.#state = 'Stable';
  }

  get state(): GroupState {
    return this.#state;
  }

  get number(): number {
    return this.#number;
  }

  get protocolName(): string | null {
    return this.#protocolName;
  }

  enter(state: GroupState): void {
    this.#state = state;
    this.#sinceMs = this.#clock.now();
  }

  /** From here on the next one, of those who are members now. */
  advance(): void {
    this.#number++;
    this.#protocolName = this.#members.selectProtocol();
  }

  /** Is this a member of this generation? */
  check(identity: MemberIdentity): GroupError {
    const error = this.#members.check(identity);
    if (error !== 'none') return error;
    return identity.generation === this.#number ? 'none' : 'illegal-generation';
  }

  checkSync(request: SyncRequest): GroupError {
    const error = this.check(request);
    if (error !== 'none') return error;
    const { protocolType, protocolName } = request;
    if (protocolType !== null && protocolType !== this.#members.protocolType) return 'inconsistent-protocol';
    if (protocolName !== null && this.#protocolName !== null && protocolName !== this.#protocolName) {
      return 'inconsistent-protocol';
    }
    return this.#state === 'PreparingRebalance' ? 'rebalance-in-progress' : 'none';
  }

  /** May offsets be committed now? A generation of -1 comes from whoever is not a member. */
  checkCommit(identity: MemberIdentity): GroupError {
    const { memberId, instanceId, generation } = identity;
    if (generation < 0 && this.#state === 'Empty') return 'none';
    if (generation >= 0 || memberId !== '' || instanceId !== null) {
      const error = this.check(identity);
      if (error !== 'none') return error;
    } else if (this.#state !== 'Empty') {
      return 'unknown-member';
    }
    return this.#state === 'CompletingRebalance' ? 'rebalance-in-progress' : 'none';
  }

  /** `withMembers`: for the leader, who assigns by them. */
  joinResult(member: GroupMember, withMembers: boolean): JoinResult {
    return {
      error: 'none',
      memberId: member.memberId,
      generation: this.#number,
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      leader: this.#members.leader ?? '',
      skipAssignment: false,
      members: withMembers ? this.#members.joined(this.#protocolName) : [],
    };
  }

  syncResult(member: GroupMember): SyncResult {
    return {
      error: 'none',
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      assignment: member.assignment,
    };
  }

  /** Subscriptions and assignments are shown of a stable group only. */
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

  store(): StoredMembership {
    return {
      generation: this.#number,
      protocolType: this.#members.protocolType,
      protocolName: this.#protocolName,
      leader: this.#members.leader,
      sinceMs: this.#sinceMs,
      members: this.#members.list().map((member) => member.store()),
    };
  }
}
