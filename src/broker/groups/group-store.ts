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
import type { Slice } from '../../shard/sweep.ts';
import { GroupCheckpoint, linesOfPiece, type SweptGroup } from './group-checkpoint.ts';
import {
  type CommittedOffset,
  type OffsetChange,
  type PlainMembership,
  type PlainOffset,
  plainMembership,
  plainOffset,
  readMembership,
  type StoredGroup,
  type StoredMembership,
} from './stored-group.ts';

interface MutableGroup extends SweptGroup {
  membership: StoredMembership | undefined;
  readonly offsets: Map<string, Map<number, CommittedOffset>>;
}

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
  readonly #shard: Shard;
  readonly #groups = new Map<string, MutableGroup>();
  readonly #checkpoint = new GroupCheckpoint(this.#groups);

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

  head(): Buffer {
    return Buffer.alloc(0);
  }

  restoreHead(): void {}

  get needsBase(): boolean {
    return this.#checkpoint.needsBase;
  }

  beginCheckpoint(isBase: boolean): void {
    this.#checkpoint.begin(isBase);
  }

  nextPiece(slice: Slice): Buffer | undefined {
    return this.#checkpoint.nextPiece(slice);
  }

  endCheckpoint(): void {
    this.#checkpoint.end();
  }

  restorePiece(piece: Buffer): void {
    for (const line of linesOfPiece(piece)) {
      if (!('set' in line)) {
        this.#groups.delete(line.group);
        continue;
      }
      if ('membership' in line) {
        const membership = line.membership === null ? undefined : readMembership(line.membership);
        this.#groups.set(line.group, { id: line.group, membership, offsets: new Map(), changedIn: 0, savedIn: 0 });
      }
      setOffsets(this.#groups.get(line.group)!.offsets, line.set);
    }
  }

  #commit(type: RecordType, record: GroupRecord | OffsetRecord): void {
    this.#shard.commitRecord(type, 1, Buffer.from(JSON.stringify(record)));
  }

  /** The group, which is about to change. */
  #groupFor(id: string): MutableGroup {
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = { id, membership: undefined, offsets: new Map(), changedIn: 0, savedIn: 0 };
      this.#groups.set(id, group);
      this.#checkpoint.created(group);
    } else {
      this.#checkpoint.changing(group);
    }
    return group;
  }

  #applyGroup({ group, membership }: GroupRecord): void {
    if (membership === null) this.#remove(group);
    else this.#groupFor(group).membership = readMembership(membership);
  }

  #remove(id: string): void {
    const group = this.#groups.get(id);
    if (group === undefined) return;
    this.#checkpoint.changing(group);
    this.#groups.delete(id);
    this.#checkpoint.removed(group);
  }

  #applyOffsets({ group, set = [], remove = [] }: OffsetRecord): void {
    const { offsets } = this.#groupFor(group);
    setOffsets(offsets, set);
    for (const [topicId, partition] of remove) {
      const partitions = offsets.get(topicId);
      partitions?.delete(partition);
      if (partitions?.size === 0) offsets.delete(topicId);
    }
  }
}

const setOffsets = (offsets: MutableGroup['offsets'], set: readonly PlainOffset[]): void => {
  for (const [topicId, partition, offset, leaderEpoch, metadata, committedMs, expiresMs] of set) {
    let partitions = offsets.get(topicId);
    if (partitions === undefined) {
      partitions = new Map();
      offsets.set(topicId, partitions);
    }
    partitions.set(partition, { offset, leaderEpoch, metadata, committedMs, expiresMs });
  }
};
