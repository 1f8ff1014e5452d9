/** Arguments of queues that are this broker's own. Texts of errors are made as RabbitMQ makes them. */
import { fieldTypeName } from '../field-type-name.ts';
import type { HeaderValue } from '../message.ts';
import type { ArgumentTable } from '../routing/headers-match.ts';

/** What is settled in the queue can still be read by offset, for so many milliseconds after it was published. */
export const replayRetentionArgument = 'x-replay-retention';

/** 0: nothing that is settled is kept. */
export const replayRetentionMs = (args: ArgumentTable): number => Number(args.get(replayRetentionArgument) ?? 0);

/** Why this is not a number of milliseconds; undefined if it is. */
export const whyNotMilliseconds = (value: HeaderValue): string | undefined => {
  if (typeof value !== 'bigint' && !Number.isInteger(value)) return `{unacceptable_type,${fieldTypeName(value)}}`;
  if (Number(value) < 0) return `{value_negative,${String(value)}}`;
  return Number.isSafeInteger(Number(value)) ? undefined : `{value_too_big,${String(value)}}`;
};
