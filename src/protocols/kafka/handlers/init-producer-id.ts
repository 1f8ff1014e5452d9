/**
 * InitProducerId for idempotent producers: a new id, or the next epoch of an id that the producer has (KIP-360). A
 * transactional id gets an error that clients take for final.
 */
import { ErrorCode } from '../error-codes.ts';
import type { InitProducerIdRequest, InitProducerIdResponseInput } from '../generated/init-producer-id.ts';
import type { RequestContext } from '../request-context.ts';

const epochMax = 32_767;

export const handleInitProducerId = (
  request: InitProducerIdRequest,
  { broker }: RequestContext,
): InitProducerIdResponseInput => {
  const refuse = (errorCode: number) => ({ errorCode, producerId: -1n, producerEpoch: -1 });
  const { transactionalId, producerId, producerEpoch } = request;
  if (transactionalId === '') return refuse(ErrorCode.INVALID_REQUEST);
  if (transactionalId !== null) return refuse(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  if (producerId < 0n !== producerEpoch < 0) return refuse(ErrorCode.INVALID_REQUEST);
  if (producerId >= 0n && producerEpoch < epochMax - 1) {
    return { errorCode: ErrorCode.NONE, producerId, producerEpoch: producerEpoch + 1 };
  }
  return { errorCode: ErrorCode.NONE, producerId: BigInt(broker.newProducerId()), producerEpoch: 0 };
};
