/** DeleteGroups: empty ones, with their offsets. */
import type { DeleteGroupsRequest, DeleteGroupsResponseInput } from '../generated/delete-groups.ts';
import { groupErrorCode } from '../group-errors.ts';
import type { RequestContext } from '../request-context.ts';

export const handleDeleteGroups = (
  { groupsNames }: DeleteGroupsRequest,
  { groups }: RequestContext,
): DeleteGroupsResponseInput => ({
  results: groupsNames.map((groupId) => ({ groupId, errorCode: groupErrorCode[groups.delete(groupId)] })),
});
