/** DescribeCluster: this one node. */
import { clusterOperations, operationsNotAsked } from '../authorized-operations.ts';
import { ErrorCode } from '../error-codes.ts';
import type { DescribeClusterRequest, DescribeClusterResponseInput } from '../generated/describe-cluster.ts';
import type { RequestContext } from '../request-context.ts';

const brokersEndpoint = 1;

export const handleDescribeCluster = (
  { endpointType, includeClusterAuthorizedOperations }: DescribeClusterRequest,
  { broker, settings, advertised }: RequestContext,
): DescribeClusterResponseInput => {
  if (endpointType !== brokersEndpoint) {
    return {
      errorCode: endpointType === 2 ? ErrorCode.MISMATCHED_ENDPOINT_TYPE : ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
      errorMessage: 'The request was sent to an endpoint of type BROKER, but we wanted an endpoint of another type',
      endpointType: brokersEndpoint,
      clusterId: '',
      brokers: [],
    };
  }
  const nodeId = settings['node.id'];
  return {
    errorCode: ErrorCode.NONE,
    endpointType,
    clusterId: broker.clusterId,
    controllerId: nodeId,
    brokers: [{ brokerId: nodeId, host: advertised.host, port: advertised.port, isFenced: false }],
    clusterAuthorizedOperations: includeClusterAuthorizedOperations ? clusterOperations : operationsNotAsked,
  };
};
