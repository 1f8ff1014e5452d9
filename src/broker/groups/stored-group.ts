/** A consumer group as it is stored, and how it is put into JSON. */
import type { GroupProtocol } from './group-types.ts';

export interface StoredMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  /** Best first. */
  readonly protocols: readonly GroupProtocol[];
  readonly assignment: Buffer;
}

export interface StoredMembership {
  readonly generation: number;
  readonly protocolType: string;
  readonly protocolName: string | null;
  readonly leader: string | null;
  /** When it came about, by the broker's clock. */
  readonly sinceMs: number;
  readonly members: readonly StoredMember[];
}

export interface CommittedOffset {
  readonly offset: number;
  /** -1: not told. */
  readonly leaderEpoch: number;
  readonly metadata: string;
  readonly committedMs: number;
  /** When the committer wants it forgotten; -1: by the broker's rule. */
  readonly expiresMs: number;
}

export interface OffsetChange extends CommittedOffset {
  readonly topicId: string;
  readonly partition: number;
}

export interface StoredGroup {
  readonly id: string;
  /** Undefined if the group never had members. */
  readonly membership: StoredMembership | undefined;
  /** By topic id (hexadecimal), then by partition. */
  readonly offsets: ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>>;
}

interface PlainMember extends Omit<StoredMember, 'protocols' | 'assignment'> {
  readonly protocols: readonly (readonly [name: string, metadata: string])[];
  readonly assignment: string;
}
export interface PlainMembership extends Omit<StoredMembership, 'members'> {
  readonly members: readonly PlainMember[];
}
export type PlainOffset = readonly [
  topicId: string,
  partition: number,
  offset: number,
  leaderEpoch: number,
  metadata: string,
  committedMs: number,
  expiresMs: number,
];

export const plainOffset = (topicId: string, partition: number, committed: CommittedOffset): PlainOffset => {
  const { offset, leaderEpoch, metadata, committedMs, expiresMs } = committed;
  return [topicId, partition, offset, leaderEpoch, metadata, committedMs, expiresMs];
};

export const plainMembership = (membership: StoredMembership): PlainMembership => ({
  ...membership,
  members: membership.members.map((member) => ({
    ...member,
    protocols: member.protocols.map(({ name, metadata }) => [name, metadata.toString('base64')] as const),
    assignment: member.assignment.toString('base64'),
  })),
});

export const readMembership = (plain: PlainMembership): StoredMembership => ({
  ...plain,
  members: plain.members.map((member) => ({
    ...member,
    protocols: member.protocols.map(([name, metadata]) => ({ name, metadata: Buffer.from(metadata, 'base64') })),
    assignment: Buffer.from(member.assignment, 'base64'),
  })),
});
