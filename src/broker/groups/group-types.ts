/** What goes in and out of the group coordinator, in the words of Kafka's classic group protocol. */

export type GroupError =
  | 'none'
  | 'unknown-member'
  | 'illegal-generation'
  | 'rebalance-in-progress'
  | 'member-id-required'
  | 'fenced-instance'
  | 'inconsistent-protocol'
  | 'invalid-session-timeout'
  | 'invalid-group-id'
  | 'group-full'
  | 'group-not-found'
  | 'group-not-empty'
  /** An instance id or a name of a protocol that Kafka's clients could not send. */
  | 'invalid-name'
  /** Subscriptions or assignments beyond `limits.groupBytesMax`. */
  | 'too-large';

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead';

/** An assignor that a member supports, with its subscription; opaque. */
export interface GroupProtocol {
  readonly name: string;
  readonly metadata: Buffer;
}

export interface JoinRequest {
  readonly groupId: string;
  /** Empty for a member that has none yet. */
  readonly memberId: string;
  /** Of a static member. */
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly protocolType: string;
  /** Best first. */
  readonly protocols: readonly GroupProtocol[];
  /** A member without an id is given one and must come again with it (JoinGroup 4 and later). */
  readonly requiresMemberId: boolean;
  /** The client understands that it need not assign although it leads (JoinGroup 9 and later). */
  readonly maySkipAssignment: boolean;
}

export interface JoinedMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly metadata: Buffer;
}

export interface JoinResult {
  readonly error: GroupError;
  readonly memberId: string;
  readonly generation: number;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly leader: string;
  readonly skipAssignment: boolean;
  /** Only for the leader. */
  readonly members: readonly JoinedMember[];
}

export interface MemberIdentity {
  readonly groupId: string;
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly generation: number;
}

export interface SyncRequest extends MemberIdentity {
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  /** From the leader only. */
  readonly assignments: readonly { readonly memberId: string; readonly assignment: Buffer }[];
}

export interface SyncResult {
  readonly error: GroupError;
  readonly protocolType: string | null;
  readonly protocolName: string | null;
  readonly assignment: Buffer;
}

export interface LeavingMember {
  /** Empty: the static member with that instance id, whoever it is now. */
  readonly memberId: string;
  readonly instanceId: string | null;
}

export interface DescribedGroup {
  readonly state: GroupState;
  readonly protocolType: string;
  readonly protocolName: string;
  readonly members: readonly {
    readonly memberId: string;
    readonly instanceId: string | null;
    readonly clientId: string;
    readonly clientHost: string;
    readonly metadata: Buffer;
    readonly assignment: Buffer;
  }[];
}

export interface GroupOptions {
  readonly initialRebalanceDelayMs: number;
  readonly sessionTimeoutMsMin: number;
  readonly sessionTimeoutMsMax: number;
  readonly membersMax: number;
  readonly offsetMetadataBytesMax: number;
  readonly offsetsRetentionMs: number;
  readonly offsetsRetentionCheckMs: number;
  readonly newMemberJoinTimeoutMs: number;
}

export const noBytes: Buffer = Buffer.alloc(0);

export const joinFailure = (error: GroupError, memberId: string): JoinResult => ({
  error,
  memberId,
  generation: -1,
  protocolType: null,
  protocolName: null,
  leader: '',
  skipAssignment: false,
  members: [],
});

export const syncFailure = (error: GroupError): SyncResult => ({
  error,
  protocolType: null,
  protocolName: null,
  assignment: noBytes,
});
