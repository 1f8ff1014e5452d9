/** Outcomes of the group coordinator as codes of the protocol. */
import type { GroupError } from '../../broker/groups/group-types.ts';
import { ErrorCode } from './error-codes.ts';

export const groupErrorCode = {
  none: ErrorCode.NONE,
  'unknown-member': ErrorCode.UNKNOWN_MEMBER_ID,
  'illegal-generation': ErrorCode.ILLEGAL_GENERATION,
  'rebalance-in-progress': ErrorCode.REBALANCE_IN_PROGRESS,
  'member-id-required': ErrorCode.MEMBER_ID_REQUIRED,
  'fenced-instance': ErrorCode.FENCED_INSTANCE_ID,
  'inconsistent-protocol': ErrorCode.INCONSISTENT_GROUP_PROTOCOL,
  'invalid-session-timeout': ErrorCode.INVALID_SESSION_TIMEOUT,
  'invalid-group-id': ErrorCode.INVALID_GROUP_ID,
  'group-full': ErrorCode.GROUP_MAX_SIZE_REACHED,
  'group-not-found': ErrorCode.GROUP_ID_NOT_FOUND,
  'group-not-empty': ErrorCode.NON_EMPTY_GROUP,
  'invalid-name': ErrorCode.INVALID_REQUEST,
  // As Kafka, when the group's record is too large for the topic of the offsets.
  'too-large': ErrorCode.UNKNOWN_SERVER_ERROR,
} as const satisfies Record<GroupError, number>;
