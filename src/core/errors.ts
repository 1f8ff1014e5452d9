/**
 * Operating errors are one class with a coarse kind that tells the caller what to do. Each protocol head has one total
 * table from kind to its own code. Expected outcomes of the hot path are return values, not errors.
 */
export type BrokerErrorKind =
  | 'not-found'
  | 'already-exists'
  /** The name is taken by the other kind (topic or queue). */
  | 'wrong-kind'
  /** Declared again with other properties. */
  | 'not-equivalent'
  /** Exclusive to another connection, or consumed exclusively. */
  | 'locked'
  | 'in-use'
  | 'not-empty'
  | 'invalid-argument'
  | 'invalid-name'
  | 'unsupported'
  | 'refused'
  | 'too-large'
  /** No room for new messages; draining goes on. Retriable. */
  | 'storage-full'
  /** The shard is being reopened after an I/O error, or the process lacks what a read takes. Retriable. */
  | 'storage-failed'
  /** Stored bytes are not as they were written, or cannot be read; `cause` is the error of the system if there is one. */
  | 'corrupt'
  | 'closing';

export class BrokerError extends Error {
  readonly kind: BrokerErrorKind;

  constructor(kind: BrokerErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BrokerError';
    this.kind = kind;
  }
}

/** The bytes themselves are wrong, and stay so; what the disk does not give may come later. */
export const isDamage = (error: unknown): boolean =>
  error instanceof BrokerError && error.kind === 'corrupt' && error.cause === undefined;
