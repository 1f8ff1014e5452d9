/** ListGroups: all groups are of the classic type. */
import { ErrorCode } from '../error-codes.ts';
import type { ListGroupsRequest, ListGroupsResponseInput } from '../generated/list-groups.ts';
import type { RequestContext } from '../request-context.ts';

const classic = 'classic';

export const handleListGroups = (
  { statesFilter, typesFilter }: ListGroupsRequest,
  { groups }: RequestContext,
): ListGroupsResponseInput => {
  const states = new Set(statesFilter.map((state) => state.toLowerCase()));
  const wantsClassic = typesFilter.length === 0 || typesFilter.some((type) => type.toLowerCase() === classic);
  const listed = wantsClassic ? groups.list() : [];
  return {
    errorCode: ErrorCode.NONE,
    groups: listed
      .filter(({ state }) => states.size === 0 || states.has(state.toLowerCase()))
      .map(({ groupId, protocolType, state }) => ({ groupId, protocolType, groupState: state, groupType: classic })),
  };
};
