import { BrokerError } from '../../core/errors.ts';
import { isShortage } from '../../storage/unreadable-blocks.ts';

const isOfTheSystem = (error: unknown): boolean => {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && !code.startsWith('ERR_');
};

/** Errors of the system become operating errors; those of a programmer stay what they are. */
export const operatingError = (error: unknown): unknown => {
  if (error instanceof BrokerError || !isOfTheSystem(error)) return error;
  return new BrokerError('storage-failed', `storage has failed: ${(error as Error).message}`, { cause: error });
};

/**
 * As operatingError(), for a read of stored data: what cannot be read is damaged, for those who want it. Only a shortage of the
 * process or the system is 'storage-failed': the same read may succeed later.
 */
export const readError = (error: unknown, name: string): unknown => {
  if (error instanceof BrokerError || !isOfTheSystem(error)) return error;
  const kind = isShortage(error) ? 'storage-failed' : 'corrupt';
  return new BrokerError(kind, `${name} cannot be read: ${(error as Error).message}`, { cause: error });
};

/** True for an error that says that there is no space: on the disk, or of what the user may take of it. */
export const isFull = (error: unknown): boolean => {
  const { code } = error as { code?: unknown };
  return code === 'ENOSPC' || code === 'EDQUOT';
};
