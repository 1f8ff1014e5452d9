/** LeaveGroup: one member up to version 2, a list of them from version 3 on. */
import { ErrorCode } from '../error-codes.ts';
import type { LeaveGroupRequest, LeaveGroupResponseInput } from '../generated/leave-group.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleLeaveGroup = (
  request: LeaveGroupRequest,
  { groups, version }: RequestContext,
): LeaveGroupResponseInput => {
  if (request.groupId === '') return { errorCode: ErrorCode.INVALID_GROUP_ID, members: [] };
  const leaving = version >= 3 ? request.members : [{ memberId: request.memberId, groupInstanceId: null }];
  const errors = groups.leave(
    request.groupId,
    leaving.map(({ memberId, groupInstanceId }) => ({ memberId, instanceId: groupInstanceId })),
  );
  if (version < 3) return { errorCode: groupErrorCode[errors[0]!], members: [] };
  return {
    errorCode: ErrorCode.NONE,
    members: leaving.map(({ memberId, groupInstanceId }, index) => ({
      memberId,
      groupInstanceId,
      errorCode: groupErrorCode[errors[index]!],
    })),
  };
};
