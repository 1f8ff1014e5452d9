/** Appends one Kafka record batch to a log: copied once, checked where it lies, stamped, committed. */
import { limits } from '../core/limits.ts';
import { recordType } from '../shard/shard.ts';
import {
  batchAttribute,
  batchAttributes,
  batchBaseSequence,
  batchBytes,
  batchChecksumHolds,
  batchHeaderBytes,
  batchLastOffsetDelta,
  batchMagic,
  batchProducerEpoch,
  batchProducerId,
  batchRecordCount,
  stampAppendTime,
  stampBatch,
} from './batch-header.ts';
import type { Log } from './log.ts';
import { batchPrefixBytes } from './log-records.ts';

/** Bytes of a batch wherever they were received; may lie in several chunks. */
export interface BatchSource {
  readonly lengthBytes: number;
  copyTo(target: Buffer, at: number): void;
}

export interface AppendOptions {
  readonly nowMs: number;
  /** Set the timestamp of the append (LogAppendTime) instead of keeping the producer's. */
  readonly stampsAppendTime: boolean;
  /** Producers that wrote nothing since are unknown. */
  readonly producersExpiredBeforeMs: number;
}

export type AppendOutcome =
  | { readonly kind: 'appended'; readonly baseOffset: number }
  /** Written before: the offset and the time it got then. */
  | { readonly kind: 'duplicate'; readonly baseOffset: number; readonly timestampMs: number }
  | { readonly kind: 'out-of-order-sequence' | 'stale-producer-epoch' }
  /** Checksum or lengths do not fit. */
  | { readonly kind: 'corrupt'; readonly reason: string }
  /** Well formed, but not allowed. */
  | { readonly kind: 'invalid'; readonly reason: string }
  | { readonly kind: 'unsupported-magic' };

/** Applies at once; answer after the gate's current ticket, whatever the outcome. */
export const appendBatch = (log: Log, source: BatchSource, options: AppendOptions): AppendOutcome => {
  if (source.lengthBytes < batchHeaderBytes) return { kind: 'corrupt', reason: 'shorter than a batch header' };
  const shard = log.store.shard;
  const start = shard.beginCommit(recordType.batch, 1, batchPrefixBytes + source.lengthBytes);
  const buffer = shard.log.reservedBuffer;
  const batch = start + batchPrefixBytes;
  source.copyTo(buffer, batch);
  const refusal = checkShape(buffer, batch, source.lengthBytes) ?? checkSequence(log, buffer, batch, options);
  if (refusal !== undefined) {
    shard.abandonCommit();
    return refusal;
  }
  const baseOffset = log.endOffset;
  buffer.writeUInt32LE(log.id, start);
  buffer.writeUInt32LE(0, start + 4);
  buffer.writeDoubleLE(options.nowMs, start + 8);
  stampBatch(buffer, batch, baseOffset, log.leaderEpoch);
  if (options.stampsAppendTime) stampAppendTime(buffer, batch, options.nowMs);
  shard.endCommit();
  return { kind: 'appended', baseOffset };
};

const checkShape = (buffer: Buffer, batch: number, lengthBytes: number): AppendOutcome | undefined => {
  if (batchMagic(buffer, batch) !== 2) return { kind: 'unsupported-magic' };
  if (batchBytes(buffer, batch) !== lengthBytes) return { kind: 'corrupt', reason: 'length field does not match' };
  if (!batchChecksumHolds(buffer, batch)) return { kind: 'corrupt', reason: 'checksum does not match' };
  const count = batchRecordCount(buffer, batch);
  if (count < 1 || count !== batchLastOffsetDelta(buffer, batch) + 1) {
    return { kind: 'invalid', reason: 'record count does not match the last offset' };
  }
  const attributes = batchAttributes(buffer, batch);
  const isCompressed = (attributes & batchAttribute.compressionMask) !== 0;
  const recordsBytesMax = isCompressed ? limits.batchDecompressedBytesMax : lengthBytes - batchHeaderBytes;
  if (count * limits.recordBytesMin > recordsBytesMax) {
    return { kind: 'invalid', reason: `the batch is too small for ${count} records` };
  }
  if ((attributes & batchAttribute.control) !== 0)
    return { kind: 'invalid', reason: 'clients may not write control records' };
  if ((attributes & batchAttribute.compressionMask) > 4) return { kind: 'invalid', reason: 'unknown compression' };
  return undefined;
};

const checkSequence = (log: Log, buffer: Buffer, batch: number, options: AppendOptions): AppendOutcome | undefined => {
  const producerId = batchProducerId(buffer, batch);
  if (producerId < 0) return undefined;
  const epoch = batchProducerEpoch(buffer, batch);
  const sequence = batchBaseSequence(buffer, batch);
  if (sequence < 0) {
    return {
      kind: 'invalid',
      reason: `Invalid sequence number ${sequence} in record batch with producerId ${producerId}`,
    };
  }
  const count = batchRecordCount(buffer, batch);
  const verdict = log.producers.check(producerId, epoch, sequence, count, options.producersExpiredBeforeMs);
  switch (verdict.kind) {
    case 'next':
      return undefined;
    case 'duplicate':
      return verdict;
    case 'out-of-order':
      return { kind: 'out-of-order-sequence' };
    case 'stale-epoch':
      return { kind: 'stale-producer-epoch' };
  }
};
