/** Heartbeat: keeps the session and tells of rebalances. */
import type { HeartbeatRequest, HeartbeatResponseInput } from '../generated/heartbeat.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleHeartbeat = (request: HeartbeatRequest, { groups }: RequestContext): HeartbeatResponseInput => ({
  errorCode:
    groupErrorCode[
      groups.heartbeat({
        groupId: request.groupId,
        memberId: request.memberId,
        instanceId: request.groupInstanceId,
        generation: request.generationId,
      })
    ],
});
