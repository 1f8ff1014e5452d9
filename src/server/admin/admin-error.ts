import { BrokerError } from '../../core/errors.ts';
import type { AdminError } from './admin-protocol.ts';

export const toAdminError = (error: unknown): AdminError => ({
  kind: error instanceof BrokerError ? error.kind : 'internal',
  message: error instanceof Error ? error.message : String(error),
});
