/** JoinGroup: answered when the rebalance is complete. */
import type { JoinGroupRequest, JoinGroupResponseInput } from '../generated/join-group.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleJoinGroup = (
  request: JoinGroupRequest,
  { groups, version, clientId, clientHost }: RequestContext,
  respond: (response: JoinGroupResponseInput) => void,
): void =>
  groups.join(
    {
      groupId: request.groupId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
      clientId,
      clientHost,
      sessionTimeoutMs: request.sessionTimeoutMs,
      // Version 0 has one timeout for both.
      rebalanceTimeoutMs: request.rebalanceTimeoutMs < 0 ? request.sessionTimeoutMs : request.rebalanceTimeoutMs,
      protocolType: request.protocolType,
      protocols: request.protocols,
      requiresMemberId: version >= 4,
      maySkipAssignment: version >= 9,
    },
    ({ error, generation, protocolType, protocolName, leader, skipAssignment, memberId, members }) =>
      respond({
        errorCode: groupErrorCode[error],
        generationId: generation,
        protocolType,
        protocolName: version >= 7 ? protocolName : (protocolName ?? ''),
        leader,
        skipAssignment,
        memberId,
        members: members.map((member) => ({
          memberId: member.memberId,
          groupInstanceId: member.instanceId,
          metadata: member.metadata,
        })),
      }),
  );
