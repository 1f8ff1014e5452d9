/** One member of a classic group: what it told about itself, and what it waits for. */
import type { Deadline } from './deadline.ts';
import { type GroupProtocol, type JoinRequest, type JoinResult, noBytes, type SyncResult } from './group-types.ts';
import type { StoredMember } from './stored-group.ts';

export class GroupMember {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly clientId: string;
  readonly clientHost: string;
  sessionTimeoutMs: number;
  rebalanceTimeoutMs: number;
  /** Best first. */
  protocols: readonly GroupProtocol[];
  /** For the current generation. */
  assignment: Buffer;

  /** Has joined and did not get its first answer: it does not know its id and cannot send heartbeats. */
  isNew = false;
  /** Set while its JoinGroup or SyncGroup waits for an answer. */
  respondJoin: ((result: JoinResult) => void) | undefined;
  respondSync: ((result: SyncResult) => void) | undefined;
  /** The end of its session. */
  session: Deadline | undefined;

  /** Keeps the buffers that it is given. */
  constructor(member: StoredMember) {
    this.memberId = member.memberId;
    this.instanceId = member.instanceId;
    this.clientId = member.clientId;
    this.clientHost = member.clientHost;
    this.sessionTimeoutMs = member.sessionTimeoutMs;
    this.rebalanceTimeoutMs = member.rebalanceTimeoutMs;
    this.protocols = member.protocols;
    this.assignment = member.assignment;
  }

  /** What it says when it joins again. */
  update(request: JoinRequest): void {
    this.sessionTimeoutMs = request.sessionTimeoutMs;
    this.rebalanceTimeoutMs = request.rebalanceTimeoutMs;
    this.protocols = copyProtocols(request.protocols);
  }

  metadataFor(protocol: string | null): Buffer {
    return this.protocols.find(({ name }) => name === protocol)?.metadata ?? noBytes;
  }

  hasSameProtocols(protocols: readonly GroupProtocol[]): boolean {
    return (
      protocols.length === this.protocols.length &&
      protocols.every(({ name, metadata }, index) => {
        const own = this.protocols[index]!;
        return own.name === name && own.metadata.equals(metadata);
      })
    );
  }

  /** Its session lasts for a whole timeout from now on. */
  renewSession(): void {
    this.session!.set(this.sessionTimeoutMs);
  }

  get isWaiting(): boolean {
    return this.respondJoin !== undefined || this.respondSync !== undefined;
  }

  answerJoin(result: JoinResult): void {
    const respond = this.respondJoin;
    this.respondJoin = undefined;
    respond?.(result);
  }

  answerSync(result: SyncResult): void {
    const respond = this.respondSync;
    this.respondSync = undefined;
    respond?.(result);
  }

  store(): StoredMember {
    const { memberId, instanceId, clientId, clientHost, sessionTimeoutMs, rebalanceTimeoutMs } = this;
    const { protocols, assignment } = this;
    return {
      memberId,
      instanceId,
      clientId,
      clientHost,
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      protocols,
      assignment,
    };
  }
}

/** A member as its JoinGroup describes it. */
export const joiningMember = (memberId: string, request: JoinRequest): GroupMember =>
  new GroupMember({
    ...request,
    memberId,
    protocols: copyProtocols(request.protocols),
    assignment: noBytes,
  });

/** The request's bytes do not outlive it. */
const copyProtocols = (protocols: readonly GroupProtocol[]): GroupProtocol[] =>
  protocols.map(({ name, metadata }) => ({ name, metadata: Buffer.from(metadata) }));
