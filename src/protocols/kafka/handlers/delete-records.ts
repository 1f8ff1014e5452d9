/** DeleteRecords: the start of a partition moves up. Records of a queue are not deleted so: they go when they are settled. */
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  DeleteRecordsPartition,
  DeleteRecordsPartitionResult,
  DeleteRecordsRequest,
  DeleteRecordsResponseInput,
} from '../generated/delete-records.ts';
import type { RequestContext } from '../request-context.ts';
import { retentionPolicy } from '../topic-config.ts';

/** As an offset: everything there is. */
const highWatermark = -1;
const unknownWatermark = -1;

export const handleDeleteRecords = (
  request: DeleteRecordsRequest,
  context: RequestContext,
): DeleteRecordsResponseInput => ({
  topics: request.topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map((partition) => deleteRecords(context.topics.find(name), partition, context)),
  })),
});

const deleteRecords = (
  topic: Topic | undefined,
  { partitionIndex, offset }: DeleteRecordsPartition,
  { settings }: RequestContext,
): DeleteRecordsPartitionResult => {
  const refuse = (errorCode: number): DeleteRecordsPartitionResult => ({
    partitionIndex,
    lowWatermark: unknownWatermark,
    errorCode,
  });
  const log = topic?.partitions[partitionIndex];
  if (topic === undefined || log === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  if (topic.kind === 'queue' || !retentionPolicy(topic, settings).deletes) return refuse(ErrorCode.POLICY_VIOLATION);
  const start = offset === highWatermark ? log.durableEnd : offset;
  if (start < 0 || start > log.durableEnd) return refuse(ErrorCode.OFFSET_OUT_OF_RANGE);
  if (start > log.startOffset) log.store.moveStart(log, start);
  return { partitionIndex, lowWatermark: log.startOffset, errorCode: ErrorCode.NONE };
};
