/** Who is in a group: members by id and by instance id, who leads them, and on which protocol they agree. */
import type { GroupMember } from './group-member.ts';
import type { GroupError, GroupProtocol, JoinedMember, JoinRequest, LeavingMember } from './group-types.ts';

export class Membership {
  /** Of the members; kept when the last one goes. */
  protocolType = '';
  /** One of the members; null if and only if there are none. */
  leader: string | null = null;
  /** In order of joining. */
  readonly #byId = new Map<string, GroupMember>();
  readonly #idOfInstance = new Map<string, string>();

  get size(): number {
    return this.#byId.size;
  }

  get(memberId: string): GroupMember | undefined {
    return this.#byId.get(memberId);
  }

  /** A copy: members may be taken out meanwhile. */
  list(): GroupMember[] {
    return [...this.#byId.values()];
  }

  /** The static member that has the instance id now. */
  ofInstance(instanceId: string): GroupMember | undefined {
    return this.#byId.get(this.#idOfInstance.get(instanceId) ?? '');
  }

  /** Is this who it says? */
  check({ memberId, instanceId }: LeavingMember): GroupError {
    if (instanceId !== null) {
      const current = this.#idOfInstance.get(instanceId);
      if (current === undefined) return 'unknown-member';
      if (current !== memberId) return 'fenced-instance';
    }
    return this.#byId.has(memberId) ? 'none' : 'unknown-member';
  }

  add(member: GroupMember, protocolType: string): void {
    if (this.#byId.size === 0) this.protocolType = protocolType;
    this.#byId.set(member.memberId, member);
    if (member.instanceId !== null) this.#idOfInstance.set(member.instanceId, member.memberId);
    this.leader ??= member.memberId;
  }

  remove(member: GroupMember): void {
    this.#byId.delete(member.memberId);
    if (member.instanceId !== null) this.#idOfInstance.delete(member.instanceId);
    if (this.leader === member.memberId) this.leader = this.#byId.keys().next().value ?? null;
  }

  /** The same static member under another id. */
  replace(old: GroupMember, member: GroupMember): void {
    this.#byId.delete(old.memberId);
    this.#byId.set(member.memberId, member);
    this.#idOfInstance.set(member.instanceId!, member.memberId);
    if (this.leader === old.memberId) this.leader = member.memberId;
  }

  /** Could this one take part? It must share a protocol with all who are here. */
  supports({ protocolType, protocols }: JoinRequest): boolean {
    if (protocolType === '' || protocols.length === 0) return false;
    if (this.#byId.size === 0) return true;
    if (protocolType !== this.protocolType) return false;
    const common = this.#commonProtocols();
    return protocols.some(({ name }) => common.has(name));
  }

  /** Each member votes for the first of its protocols that all support; the one with most votes wins. */
  selectProtocol(): string | null {
    const common = this.#commonProtocols();
    const votes = new Map<string, number>();
    for (const { protocols } of this.#byId.values()) {
      const vote = protocols.find(({ name }) => common.has(name));
      if (vote !== undefined) votes.set(vote.name, (votes.get(vote.name) ?? 0) + 1);
    }
    let selected: string | null = null;
    for (const [name, count] of votes) if (selected === null || count > votes.get(selected)!) selected = name;
    return selected;
  }

  /** Keeps the leader if it has joined again, else takes the first who has. False: nobody has. */
  electJoinedLeader(): boolean {
    if (this.leader !== null && this.#byId.get(this.leader)?.respondJoin !== undefined) return true;
    for (const member of this.#byId.values()) {
      if (member.respondJoin === undefined) continue;
      this.leader = member.memberId;
      return true;
    }
    return false;
  }

  get joinedCount(): number {
    let count = 0;
    for (const member of this.#byId.values()) if (member.respondJoin !== undefined) count++;
    return count;
  }

  /** The slowest member's. */
  get rebalanceTimeoutMs(): number {
    let longestMs = 0;
    for (const member of this.#byId.values()) longestMs = Math.max(longestMs, member.rebalanceTimeoutMs);
    return longestMs;
  }

  /** What the leader assigns by. */
  joined(protocol: string | null): JoinedMember[] {
    return this.list().map((member) => ({
      memberId: member.memberId,
      instanceId: member.instanceId,
      metadata: member.metadataFor(protocol),
    }));
  }

  /** What the members said about themselves, without their assignments. `except` does not count. */
  sizeBytes(except: string): number {
    let bytes = 0;
    for (const { memberId, clientId, protocols } of this.#byId.values()) {
      if (memberId !== except) bytes += 2 * memberId.length + 2 * clientId.length + protocolBytes(protocols);
    }
    return bytes;
  }

  #commonProtocols(): Set<string> {
    let common: Set<string> | undefined;
    for (const { protocols } of this.#byId.values()) {
      const names = protocols.map(({ name }) => name);
      const known: Set<string> | undefined = common;
      common = new Set(known === undefined ? names : names.filter((name) => known.has(name)));
    }
    return common ?? new Set();
  }
}

export const protocolBytes = (protocols: readonly GroupProtocol[]): number => {
  let bytes = 0;
  for (const { name, metadata } of protocols) bytes += 2 * name.length + metadata.length;
  return bytes;
};
