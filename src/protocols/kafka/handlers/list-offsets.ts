/**
 * ListOffsets: the ends of a partition, and the first record not older than a time. For the latter, batches are opened until
 * the record itself is found, in one partition after the other.
 */
import { BrokerError } from '../../../core/errors.ts';
import type { Log } from '../../../log/log.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  ListOffsetsPartition,
  ListOffsetsPartitionResponseInput,
  ListOffsetsRequest,
  ListOffsetsResponseInput,
} from '../generated/list-offsets.ts';
import { checkLeaderEpoch } from '../partition-checks.ts';
import type { RequestContext } from '../request-context.ts';
import { type FoundRecord, findByTimestamp, findNewest } from '../timestamp-search.ts';

/** What a negative timestamp asks for. */
const special = {
  latest: -1,
  earliest: -2,
  maxTimestamp: -3,
  earliestLocal: -4,
  latestTiered: -5,
  earliestPendingUpload: -6,
} as const;

/** First version that may ask for it. */
const specialFrom: ReadonlyMap<number, number> = new Map([
  [special.latest, 1],
  [special.earliest, 1],
  [special.maxTimestamp, 7],
  [special.earliestLocal, 8],
  [special.latestTiered, 9],
  [special.earliestPendingUpload, 11],
]);

const noOffset = -1;

export const handleListOffsets = (
  request: ListOffsetsRequest,
  context: RequestContext,
  respond: (response: ListOffsetsResponseInput) => void,
): void => {
  const searches: (() => Promise<void>)[] = [];
  const repeated = repeatedPartitions(request);
  const topics = request.topics.map(({ name, partitions }) => {
    const topic = context.topics.find(name);
    const answers: ListOffsetsPartitionResponseInput[] = [];
    partitions.forEach((partition, index) => {
      const log = topic?.partitions[partition.partitionIndex];
      const answer = repeated.get(name)?.has(partition.partitionIndex)
        ? failure(partition.partitionIndex, ErrorCode.INVALID_REQUEST)
        : answerAtOnce(log, partition, context.version);
      if (answer !== undefined) {
        answers[index] = answer;
        return;
      }
      searches.push(async () => {
        answers[index] = await search(log!, partition, context);
      });
    });
    return { name, partitions: answers };
  });
  if (searches.length === 0) respond({ topics });
  else void inTurn(searches).then(() => respond({ topics }));
};

const inTurn = async (searches: readonly (() => Promise<void>)[]): Promise<void> => {
  for (const search of searches) await search();
};

/** By topic, what is asked for more than once. */
const repeatedPartitions = ({ topics }: ListOffsetsRequest): Map<string, Set<number>> => {
  const asked = new Map<string, Set<number>>();
  const repeated = new Map<string, Set<number>>();
  for (const { name, partitions } of topics) {
    for (const { partitionIndex } of partitions) {
      const target = asked.get(name)?.has(partitionIndex) ? repeated : asked;
      const indexes = target.get(name);
      if (indexes === undefined) target.set(name, new Set([partitionIndex]));
      else indexes.add(partitionIndex);
    }
  }
  return repeated;
};

const failure = (partitionIndex: number, errorCode: number): ListOffsetsPartitionResponseInput => ({
  partitionIndex,
  errorCode,
});

const found = (
  log: Log,
  partitionIndex: number,
  offset: number,
  timestamp = -1,
): ListOffsetsPartitionResponseInput => ({
  partitionIndex,
  errorCode: ErrorCode.NONE,
  timestamp,
  offset,
  leaderEpoch: offset === noOffset ? -1 : log.epochAt(offset),
});

/** Undefined: records must be looked at. */
const answerAtOnce = (
  log: Log | undefined,
  { partitionIndex, currentLeaderEpoch, timestamp }: ListOffsetsPartition,
  version: number,
): ListOffsetsPartitionResponseInput | undefined => {
  if (timestamp < 0 && version < (specialFrom.get(timestamp) ?? Number.POSITIVE_INFINITY)) {
    return failure(partitionIndex, ErrorCode.UNSUPPORTED_VERSION);
  }
  if (log === undefined) return failure(partitionIndex, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  const epochError = checkLeaderEpoch(log, currentLeaderEpoch);
  if (epochError !== ErrorCode.NONE) return failure(partitionIndex, epochError);
  switch (timestamp) {
    case special.latest:
      return found(log, partitionIndex, log.durableEnd);
    case special.earliest:
    case special.earliestLocal:
      return found(log, partitionIndex, log.startOffset);
    // Nothing is in another tier, and nothing waits to be moved there.
    case special.latestTiered:
    case special.earliestPendingUpload:
      return found(log, partitionIndex, noOffset);
    default:
      return undefined;
  }
};

const search = async (
  log: Log,
  { partitionIndex, timestamp }: ListOffsetsPartition,
  { broker, isGone }: RequestContext,
): Promise<ListOffsetsPartitionResponseInput> => {
  try {
    const options = { log, broker, isCancelled: isGone };
    const record: FoundRecord | undefined =
      timestamp === special.maxTimestamp ? await findNewest(options) : await findByTimestamp(timestamp, options);
    if (log.deleted) return failure(partitionIndex, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
    return record === undefined
      ? found(log, partitionIndex, noOffset)
      : found(log, partitionIndex, record.offset, record.timestampMs);
  } catch (error) {
    if (error instanceof BrokerError) broker.noteDamaged(log, error);
    const isDamaged = error instanceof BrokerError && error.kind === 'corrupt';
    return failure(partitionIndex, isDamaged ? ErrorCode.CORRUPT_MESSAGE : ErrorCode.KAFKA_STORAGE_ERROR);
  }
};
