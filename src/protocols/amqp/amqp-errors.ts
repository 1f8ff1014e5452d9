/** Reply codes of AMQP 0-9-1, and how the broker's errors become them. */
import { BrokerError, type BrokerErrorKind } from '../../core/errors.ts';

export const replyNames = {
  311: 'CONTENT_TOO_LARGE',
  312: 'NO_ROUTE',
  313: 'NO_CONSUMERS',
  320: 'CONNECTION_FORCED',
  402: 'INVALID_PATH',
  403: 'ACCESS_REFUSED',
  404: 'NOT_FOUND',
  405: 'RESOURCE_LOCKED',
  406: 'PRECONDITION_FAILED',
  501: 'FRAME_ERROR',
  502: 'SYNTAX_ERROR',
  503: 'COMMAND_INVALID',
  504: 'CHANNEL_ERROR',
  505: 'UNEXPECTED_FRAME',
  506: 'RESOURCE_ERROR',
  530: 'NOT_ALLOWED',
  540: 'NOT_IMPLEMENTED',
  541: 'INTERNAL_ERROR',
} as const;

export type ReplyCode = keyof typeof replyNames;

/** These close the channel only; all others close the connection. */
const channelCodes: ReadonlySet<ReplyCode> = new Set<ReplyCode>([311, 312, 313, 403, 404, 405, 406]);

/** An error that the peer is told. `fatalFraming`: the frame boundary is lost, nothing more may be read. */
export class AmqpError extends Error {
  readonly code: ReplyCode;
  readonly fatalFraming: boolean;

  constructor(code: ReplyCode, explanation: string, options: { fatalFraming?: boolean } = {}) {
    super(`${replyNames[code]} - ${explanation}`);
    this.name = 'AmqpError';
    this.code = code;
    this.fatalFraming = options.fatalFraming ?? false;
  }

  get closesConnection(): boolean {
    return !channelCodes.has(this.code);
  }
}

const codeOfKind = {
  'not-found': 404,
  'already-exists': 406,
  'wrong-kind': 406,
  'not-equivalent': 406,
  locked: 405,
  'in-use': 406,
  'not-empty': 406,
  'invalid-argument': 406,
  'invalid-name': 406,
  unsupported: 406,
  refused: 403,
  'too-large': 406,
  'storage-full': 406,
  'storage-failed': 541,
  corrupt: 541,
  closing: 320,
} as const satisfies Record<BrokerErrorKind, ReplyCode>;

export const toAmqpError = (error: unknown): AmqpError => {
  if (error instanceof AmqpError) return error;
  if (error instanceof BrokerError) return new AmqpError(codeOfKind[error.kind], error.message);
  return new AmqpError(541, 'internal error');
};

/** Erlang's way to print a binary, which clients see in frame errors. */
export const erlangBinary = (bytes: Buffer): string => `<<${[...bytes].join(',')}>>`;
