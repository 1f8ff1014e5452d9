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
  const coordinator = locate(request.keyType, context);
  return { ...coordinator, coordinators: keys.map((key) => ({ key, ...coordinator })) };
};

const locate = (type: number, { settings, advertised }: RequestContext) => {
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
  return {
    errorCode: ErrorCode.NONE,
    errorMessage: null,
    nodeId: settings['node.id'],
    host: advertised.host,
    port: advertised.port,
  };
};
