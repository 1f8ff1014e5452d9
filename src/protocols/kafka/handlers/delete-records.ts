/** DeleteRecords: the start of a partition moves up. Records of a queue are not deleted so: they go when they are settled. */
import type { Topic } from '../../../broker/topic.ts';
import { ErrorCode } from '../error-codes.ts';
import type {
  DeleteRecordsPartitionResult,
  DeleteRecordsRequest,
  DeleteRecordsResponseInput,
} from '../generated/delete-records.ts';
import type { RequestContext } from '../request-context.ts';
import { allowsDeleteRecords } from '../topic-config.ts';

/** As an offset: everything there is. */
const highWatermark = -1;
const unknownWatermark = -1;

/** What was asked for twice is answered once, for the later offset. */
export const handleDeleteRecords = (
  request: DeleteRecordsRequest,
  context: RequestContext,
): DeleteRecordsResponseInput => {
  const offsets = new Map<string, Map<number, number>>();
  for (const { name, partitions } of request.topics) {
    for (const { partitionIndex, offset } of partitions) {
      if (!offsets.has(name)) offsets.set(name, new Map());
      offsets.get(name)!.set(partitionIndex, offset);
    }
  }
  const topics = [...offsets].map(([name, partitions]) => {
    const topic = context.topics.find(name);
    return { name, partitions: [...partitions].map(([index, offset]) => deleteRecords(topic, index, offset)) };
  });
  return { topics };
};

const deleteRecords = (
  topic: Topic | undefined,
  partitionIndex: number,
  offset: number,
): DeleteRecordsPartitionResult => {
  const refuse = (errorCode: number): DeleteRecordsPartitionResult => ({
    partitionIndex,
    lowWatermark: unknownWatermark,
    errorCode,
  });
  const log = topic?.partitions[partitionIndex];
  if (topic === undefined || log === undefined) return refuse(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  if (topic.kind === 'queue' || !allowsDeleteRecords(topic)) return refuse(ErrorCode.POLICY_VIOLATION);
  const start = offset === highWatermark ? log.durableEnd : offset;
  if (start < 0 || start > log.durableEnd) return refuse(ErrorCode.OFFSET_OUT_OF_RANGE);
  if (start > log.startOffset) log.store.moveStart(log, start);
  return { partitionIndex, lowWatermark: log.startOffset, errorCode: ErrorCode.NONE };
};
