/**
 * The durable part of consumer groups: committed offsets, and the membership as of the last completed rebalance, so that
 * members survive a restart of the broker without a rebalance. State of the first shard; `apply` alone changes it. Timers,
 * heartbeats and joins under way are soft and live in the coordinator.
 *
 * Offsets are kept by topic id, so those of a deleted topic cannot be reached from then on, even if its name is used again;
 * the coordinator removes them when it looks for expired ones.
 */
import { BrokerError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { type RecordType, recordType, type Shard, type StateOwner } from '../../shard/shard.ts';
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

interface MutableGroup extends StoredGroup {
  membership: StoredMembership | undefined;
  readonly offsets: Map<string, Map<number, CommittedOffset>>;
}

interface PlainMember extends Omit<StoredMember, 'protocols' | 'assignment'> {
  readonly protocols: readonly (readonly [name: string, metadata: string])[];
  readonly assignment: string;
}
interface PlainMembership extends Omit<StoredMembership, 'members'> {
  readonly members: readonly PlainMember[];
}
type PlainOffset = readonly [
  topicId: string,
  partition: number,
  offset: number,
  leaderEpoch: number,
  metadata: string,
  committedMs: number,
  expiresMs: number,
];

/** Record of type groupMetadata, version 1. Without membership the group is removed with its offsets. */
interface GroupRecord {
  readonly group: string;
  readonly membership: PlainMembership | null;
}

/** Record of type offsetCommit, version 1. */
interface OffsetRecord {
  readonly group: string;
  readonly set?: readonly PlainOffset[];
  readonly remove?: readonly (readonly [topicId: string, partition: number])[];
}

export class GroupStore implements StateOwner {
  readonly recordTypes: readonly RecordType[] = [recordType.offsetCommit, recordType.groupMetadata];
  readonly wantsHeld = false;
  readonly #shard: Shard;
  readonly #groups = new Map<string, MutableGroup>();

  constructor(shard: Shard) {
    this.#shard = shard;
    shard.register(this);
  }

  get groups(): Iterable<StoredGroup> {
    return this.#groups.values();
  }

  group(id: string): StoredGroup | undefined {
    return this.#groups.get(id);
  }

  saveMembership(group: string, membership: StoredMembership): void {
    this.#commit(recordType.groupMetadata, { group, membership: plainMembership(membership) });
  }

  /** With all its offsets. */
  removeGroup(group: string): void {
    this.#commit(recordType.groupMetadata, { group, membership: null });
  }

  /** In commits of a bounded size; a crash may keep the first of them only. */
  commitOffsets(group: string, changes: readonly OffsetChange[]): void {
    for (let at = 0; at < changes.length; at += limits.offsetsPerCommitMax) {
      const set = changes
        .slice(at, at + limits.offsetsPerCommitMax)
        .map((change) => plainOffset(change.topicId, change.partition, change));
      this.#commit(recordType.offsetCommit, { group, set });
    }
  }

  removeOffsets(group: string, remove: readonly (readonly [topicId: string, partition: number])[]): void {
    if (remove.length > 0) this.#commit(recordType.offsetCommit, { group, remove });
  }

  apply(type: number, version: number, buffer: Buffer, start: number, end: number): void {
    if (version !== 1) throw new BrokerError('corrupt', `unknown version ${version} of a record of type ${type}`);
    const record: unknown = JSON.parse(buffer.toString('utf8', start, end));
    if (type === recordType.groupMetadata) this.#applyGroup(record as GroupRecord);
    else this.#applyOffsets(record as OffsetRecord);
  }

  snapshot(): Buffer {
    const groups = [...this.#groups.values()].map(({ id, membership, offsets }) => ({
      group: id,
      membership: membership === undefined ? null : plainMembership(membership),
      set: [...offsets].flatMap(([topicId, partitions]) =>
        [...partitions].map(([partition, committed]) => plainOffset(topicId, partition, committed)),
      ),
    }));
    return Buffer.from(JSON.stringify(groups));
  }

  restore(snapshot: Buffer): void {
    for (const { group, membership, set } of JSON.parse(snapshot.toString()) as (GroupRecord & OffsetRecord)[]) {
      this.#groupFor(group).membership = membership === null ? undefined : readMembership(membership);
      this.#applyOffsets({ group, set: set ?? [] });
    }
  }

  #commit(type: RecordType, record: GroupRecord | OffsetRecord): void {
    this.#shard.commitRecord(type, 1, Buffer.from(JSON.stringify(record)));
  }

  #groupFor(id: string): MutableGroup {
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = { id, membership: undefined, offsets: new Map() };
      this.#groups.set(id, group);
    }
    return group;
  }

  #applyGroup({ group, membership }: GroupRecord): void {
    if (membership === null) this.#groups.delete(group);
    else this.#groupFor(group).membership = readMembership(membership);
  }

  #applyOffsets({ group, set = [], remove = [] }: OffsetRecord): void {
    const { offsets } = this.#groupFor(group);
    for (const [topicId, partition, offset, leaderEpoch, metadata, committedMs, expiresMs] of set) {
      let partitions = offsets.get(topicId);
      if (partitions === undefined) {
        partitions = new Map();
        offsets.set(topicId, partitions);
      }
      partitions.set(partition, { offset, leaderEpoch, metadata, committedMs, expiresMs });
    }
    for (const [topicId, partition] of remove) {
      const partitions = offsets.get(topicId);
      partitions?.delete(partition);
      if (partitions?.size === 0) offsets.delete(topicId);
    }
  }
}

const plainOffset = (topicId: string, partition: number, committed: CommittedOffset): PlainOffset => {
  const { offset, leaderEpoch, metadata, committedMs, expiresMs } = committed;
  return [topicId, partition, offset, leaderEpoch, metadata, committedMs, expiresMs];
};

const plainMembership = (membership: StoredMembership): PlainMembership => ({
  ...membership,
  members: membership.members.map((member) => ({
    ...member,
    protocols: member.protocols.map(({ name, metadata }) => [name, metadata.toString('base64')] as const),
    assignment: member.assignment.toString('base64'),
  })),
});

const readMembership = (plain: PlainMembership): StoredMembership => ({
  ...plain,
  members: plain.members.map((member) => ({
    ...member,
    protocols: member.protocols.map(([name, metadata]) => ({ name, metadata: Buffer.from(metadata, 'base64') })),
    assignment: Buffer.from(member.assignment, 'base64'),
  })),
});
