/** FindCoordinator: this node for groups. For transactions the answer is the one error that clients do not retry. */
import { ErrorCode } from '../error-codes.ts';
import type { FindCoordinatorRequest, FindCoordinatorResponseInput } from '../generated/find-coordinator.ts';
import type { RequestContext } from '../request-context.ts';

const keyType = { group: 0, transaction: 1 } as const;

export const handleFindCoordinator = (
  request: FindCoordinatorRequest,
  context: RequestContext,
): FindCoordinatorResponseInput => {
  const keys = context.version >= 4 ? request.coordinatorKeys : [request.key];
  const coordinators = keys.map((key) => ({ key, ...locate(request.keyType, key, context) }));
  const first = coordinators[0] ?? locate(request.keyType, '', context);
  return { ...first, coordinators };
};

const locate = (type: number, key: string, { settings, advertised }: RequestContext) => {
  const nowhere = (errorCode: number, errorMessage: string) => ({
    errorCode,
    errorMessage,
    nodeId: -1,
    host: '',
    port: -1,
  });
  if (type === keyType.transaction) {
    return nowhere(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 'Transactions are not supported.');
  }
  if (type !== keyType.group) return nowhere(ErrorCode.INVALID_REQUEST, `Unknown coordinator type ${type}`);
  if (key === '') return nowhere(ErrorCode.INVALID_GROUP_ID, 'The group id must not be empty.');
  return {
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    nodeId: settings['node.id'],
    host: advertised.host,
    port: advertised.port,
  };
};
