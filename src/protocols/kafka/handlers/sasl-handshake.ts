/** SaslHandshake: there is no authentication on this listener, as Kafka answers on PLAINTEXT. */
import { ErrorCode } from '../error-codes.ts';
import type { SaslHandshakeRequest, SaslHandshakeResponse } from '../generated/sasl-handshake.ts';

export const handleSaslHandshake = (_request: SaslHandshakeRequest): SaslHandshakeResponse => ({
  errorCode: ErrorCode.ILLEGAL_SASL_STATE,
  mechanisms: [],
});
