import { BrokerError } from '../../core/errors.ts';

/** Errors of the system become operating errors; those of a programmer stay what they are. */
export const operatingError = (error: unknown): unknown => {
  const { code, message } = error as { code?: unknown; message: string };
  if (error instanceof BrokerError || typeof code !== 'string' || code.startsWith('ERR_')) return error;
  return new BrokerError('storage-failed', `write-ahead log: ${message}`, { cause: error });
};

/** True for an error that says that there is no space: on the disk, or of what the user may take of it. */
export const isFull = (error: unknown): boolean => {
  const { code } = error as { code?: unknown };
  return code === 'ENOSPC' || code === 'EDQUOT';
};
