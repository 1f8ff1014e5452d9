/** DescribeGroups: state and members. What members told each other is handed out as it is. */
import { groupOperations, operationsNotAsked } from '../authorized-operations.ts';
import { ErrorCode } from '../error-codes.ts';
import type { DescribeGroupsRequest, DescribeGroupsResponseInput } from '../generated/describe-groups.ts';
import type { RequestContext } from '../request-context.ts';

export const handleDescribeGroups = (
  request: DescribeGroupsRequest,
  { groups, version }: RequestContext,
): DescribeGroupsResponseInput => ({
  groups: request.groups.map((groupId) => {
    const group = groups.describe(groupId);
    const authorizedOperations = request.includeAuthorizedOperations ? groupOperations : operationsNotAsked;
    if (group === undefined) {
      return {
        errorCode: version >= 6 ? ErrorCode.GROUP_ID_NOT_FOUND : ErrorCode.NONE,
        errorMessage: version >= 6 ? `Group ${groupId} not found.` : null,
        groupId,
        groupState: 'Dead',
        protocolType: '',
        protocolData: '',
        members: [],
        authorizedOperations,
      };
    }
    return {
      errorCode: ErrorCode.NONE,
      groupId,
      groupState: group.state,
      protocolType: group.protocolType,
      protocolData: group.protocolName,
      members: group.members.map((member) => ({
        memberId: member.memberId,
        groupInstanceId: member.instanceId,
        clientId: member.clientId,
        clientHost: member.clientHost,
        memberMetadata: member.metadata,
        memberAssignment: member.assignment,
      })),
      authorizedOperations,
    };
  }),
});
