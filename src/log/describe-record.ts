/** Records of logs as plain values, for people: what is in a data directory. Nothing is decoded beyond the headers. */
import { recordType } from '../shard/shard.ts';
import {
  batchAttribute,
  batchAttributes,
  batchBaseOffset,
  batchBaseSequence,
  batchBaseTimestamp,
  batchBytes,
  batchChecksumHolds,
  batchLastOffsetDelta,
  batchLeaderEpoch,
  batchMaxTimestamp,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
} from './batch-header.ts';
import { batchCodec } from './batch-records.ts';
import {
  blockForm,
  blockHeaderBytes,
  blockMessageCount,
  blockPayloadBytes,
  blockRunCount,
  blockTimestamp,
  runBytes,
  runCount,
  runFirstOffset,
  runFlags,
  runLogId,
  runTransient,
} from './block.ts';
import { readFoldRecord } from './folded-segments.ts';
import {
  ackBytes,
  ackFrom,
  ackTo,
  batchAppendedMs,
  batchPrefixBytes,
  entryLogId,
  entrySubscriptionId,
  markBytes,
  markOffset,
  startOffset,
} from './log-records.ts';
import { rewriteNewIds, rewriteOldIds } from './rewrite-record.ts';
import {
  rowBatch,
  rowBytes,
  rowCount,
  rowFirstOffset,
  rowFlags,
  rowLogId,
  rowPage,
  rowPageRows,
  rowPlace,
  rowSizeBytes,
  rowTimestamp,
  rowTransient,
} from './segment-index.ts';

type Fields = Readonly<Record<string, unknown>>;

const codecNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/**
 * What a record with the payload buffer[start, end) says, times in milliseconds since 1970; undefined if its type is not one of
 * the log's.
 * @throws RangeError when the payload is shorter than its fields
 */
export const describeRecord = (type: number, buffer: Buffer, start: number, end: number): Fields | undefined => {
  switch (type) {
    case recordType.messageBlock:
      return describeBlock(buffer, start);
    case recordType.batch:
      return {
        logId: entryLogId(buffer, start),
        appendedMs: batchAppendedMs(buffer, start),
        ...describeBatch(buffer, start + batchPrefixBytes),
      };
    case recordType.ack:
      return {
        acks: entries(start, end, ackBytes).map((at) => ({
          logId: entryLogId(buffer, at),
          subscriptionId: entrySubscriptionId(buffer, at),
          from: ackFrom(buffer, at),
          to: ackTo(buffer, at),
        })),
      };
    case recordType.deliveredMark:
      return {
        marks: entries(start, end, markBytes).map((at) => ({
          logId: entryLogId(buffer, at),
          subscriptionId: entrySubscriptionId(buffer, at),
          mark: markOffset(buffer, at),
        })),
      };
    case recordType.fold: {
      const { stretch, leaves, ids } = readFoldRecord(buffer, start);
      return { foldStart: stretch.start, foldEnd: stretch.end, leaves, segments: ids };
    }
    case recordType.rewrite:
      return { oldSegments: rewriteOldIds(buffer, start), segments: rewriteNewIds(buffer, start) };
    case recordType.logStart:
      return { logId: entryLogId(buffer, start), offset: startOffset(buffer, start) };
    default:
      return undefined;
  }
};

/** Where each entry of a list begins. */
const entries = (start: number, end: number, entryBytes: number): number[] =>
  Array.from({ length: Math.ceil((end - start) / entryBytes) }, (_, i) => start + i * entryBytes);

const describeBlock = (buffer: Buffer, block: number): Fields => ({
  form: blockForm(buffer, block),
  timestampMs: blockTimestamp(buffer, block),
  messages: blockMessageCount(buffer, block),
  payloadBytes: blockPayloadBytes(buffer, block),
  runs: Array.from({ length: blockRunCount(buffer, block) }, (_, i) => {
    const run = block + blockHeaderBytes + i * runBytes;
    return {
      logId: runLogId(buffer, run),
      firstOffset: runFirstOffset(buffer, run),
      count: runCount(buffer, run),
      transient: (runFlags(buffer, run) & runTransient) !== 0,
    };
  }),
});

const describeBatch = (buffer: Buffer, batch: number): Fields => {
  const attributes = batchAttributes(buffer, batch);
  return {
    baseOffset: batchBaseOffset(buffer, batch),
    lastOffset: batchBaseOffset(buffer, batch) + batchLastOffsetDelta(buffer, batch),
    records: batchRecordCount(buffer, batch),
    batchBytes: batchBytes(buffer, batch),
    codec: codecNames[batchCodec(buffer, batch)] ?? batchCodec(buffer, batch),
    crc: batchChecksumHolds(buffer, batch) ? 'ok' : 'damaged',
    leaderEpoch: batchLeaderEpoch(buffer, batch),
    producerId: batchProducerId(buffer, batch),
    producerEpoch: batchProducerEpoch(buffer, batch),
    baseSequence: batchBaseSequence(buffer, batch),
    baseTimestampMs: batchBaseTimestamp(buffer, batch),
    maxTimestampMs: batchMaxTimestamp(buffer, batch),
    logAppendTime: (attributes & batchAttribute.logAppendTime) !== 0,
    transactional: (attributes & batchAttribute.transactional) !== 0,
    control: (attributes & batchAttribute.control) !== 0,
  };
};

/** The row of a segment's index. */
export const describeRow = (index: Buffer, row: number): Fields => ({
  logId: rowLogId(index, row),
  firstOffset: rowFirstOffset(index, row),
  count: rowCount(index, row),
  stored: (rowFlags(index, row) & rowBatch) === 0 ? 'messages' : 'batches',
  transient: (rowFlags(index, row) & rowTransient) !== 0,
  ...((rowFlags(index, row) & rowPage) !== 0 && { rowsInPage: rowPageRows(index, row) }),
  place: rowPlace(index, row),
  sizeBytes: rowSizeBytes(index, row),
  timestampMs: rowTimestamp(index, row),
});

/** Rows of an index. */
export const rowsOf = (index: Buffer): number => Math.floor(index.length / rowBytes);
