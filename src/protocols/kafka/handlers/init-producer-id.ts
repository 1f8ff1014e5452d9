/**
 * InitProducerId for idempotent producers: always a new id. An id in the request says nothing without a transactional id, as
 * in Apache Kafka: there are clients that send 0 when they have none, and two with one id would pass for one another's
 * repetitions. A transactional id gets an error that clients take for final.
 */
import { ErrorCode } from '../error-codes.ts';
import type { InitProducerIdRequest, InitProducerIdResponseInput } from '../generated/init-producer-id.ts';
import type { RequestContext } from '../request-context.ts';

export const handleInitProducerId = (
  request: InitProducerIdRequest,
  { broker }: RequestContext,
): InitProducerIdResponseInput => {
  const refuse = (errorCode: number) => ({ errorCode, producerId: -1n, producerEpoch: -1 });
  const { transactionalId, producerId, producerEpoch } = request;
  if (transactionalId === '') return refuse(ErrorCode.INVALID_REQUEST);
  if (transactionalId !== null) return refuse(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  if (producerId < 0n !== producerEpoch < 0) return refuse(ErrorCode.INVALID_REQUEST);
  return { errorCode: ErrorCode.NONE, producerId: BigInt(broker.newProducerId()), producerEpoch: 0 };
};
