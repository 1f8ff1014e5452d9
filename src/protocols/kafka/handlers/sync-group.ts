/** SyncGroup: answered when the leader has sent the assignments. */

import { noBytes } from '../../../broker/groups/group-types.ts';
import { ErrorCode } from '../error-codes.ts';
import type { SyncGroupRequest, SyncGroupResponseInput } from '../generated/sync-group.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleSyncGroup = (
  request: SyncGroupRequest,
  { groups, version }: RequestContext,
  respond: (response: SyncGroupResponseInput) => void,
): void => {
  // From version 5 on both must be told (KIP-559).
  if (version >= 5 && (request.protocolType === null || request.protocolName === null)) {
    respond({ errorCode: ErrorCode.INCONSISTENT_GROUP_PROTOCOL, assignment: noBytes });
    return;
  }
  groups.sync(
    {
      groupId: request.groupId,
      memberId: request.memberId,
      instanceId: request.groupInstanceId,
      generation: request.generationId,
      protocolType: request.protocolType,
      protocolName: request.protocolName,
      assignments: request.assignments,
    },
    ({ error, protocolType, protocolName, assignment }) =>
      respond({ errorCode: groupErrorCode[error], protocolType, protocolName, assignment }),
  );
};
