/**
 * Finds records by time. The index gives the newest time within each entry; the record itself is found by opening the entry.
 * Times of producers need not ascend, so every entry that may hold an answer is looked at, in order.
 */
import type { Broker } from '../../broker/broker.ts';
import { limits } from '../../core/limits.ts';
import {
  batchAttribute,
  batchAttributes,
  batchBaseOffset,
  batchBytes,
  batchMaxTimestamp,
} from '../../log/batch-header.ts';
import { batchCodec, batchPayload, decodeBatchRecords } from '../../log/batch-records.ts';
import { runFirstOffset } from '../../log/block.ts';
import type { Log } from '../../log/log.ts';
import { LogReader } from '../../log/log-reader.ts';
import { decompress } from '../../wire/decompress.ts';
import { kafkaLimits } from './kafka-limits.ts';
import { runMessages } from './render-block.ts';

export interface FoundRecord {
  readonly offset: number;
  readonly timestampMs: number;
}

/** The first record that is not older than `timestampMs`. Rejects when storage fails. */
export const findByTimestamp = async (
  log: Log,
  timestampMs: number,
  broker: Broker,
): Promise<FoundRecord | undefined> => {
  let from = log.startOffset;
  for (let count = 0; count < kafkaLimits.timestampBatchesMax; count++) {
    const entry = firstEntryNotBefore(log, from, timestampMs);
    if (entry < 0) return undefined;
    const entryEnd = log.entryEndOffset(entry);
    const opened = await openAt(log, Math.max(from, log.entryFirstOffset(entry)), timestampMs, broker);
    from = opened?.endOffset ?? entryEnd;
    const record = opened?.records.find((each) => each.timestampMs >= timestampMs && each.offset >= log.startOffset);
    if (record !== undefined) return record;
  }
  return undefined;
};

/** The record with the highest time, the first of several. */
export const findNewest = async (log: Log, broker: Broker): Promise<FoundRecord | undefined> => {
  let newest = -1;
  for (let entry = 0; entry < log.entryCount && log.entryFirstOffset(entry) < log.durableEnd; entry++) {
    if (!log.entryIsLive(entry) || log.entryEndOffset(entry) <= log.startOffset) continue;
    if (newest < 0 || log.entryTimestamp(entry) > log.entryTimestamp(newest)) newest = entry;
  }
  if (newest < 0) return undefined;
  const opened = await openAt(log, log.entryFirstOffset(newest), log.entryTimestamp(newest), broker);
  let found: FoundRecord | undefined;
  for (const record of opened?.records ?? []) {
    if (found === undefined || record.timestampMs > found.timestampMs) found = record;
  }
  return found;
};

const firstEntryNotBefore = (log: Log, fromOffset: number, timestampMs: number): number => {
  const first = log.findEntry(fromOffset);
  if (first < 0) return -1;
  for (let entry = first; entry < log.entryCount && log.entryFirstOffset(entry) < log.durableEnd; entry++) {
    if (log.entryIsLive(entry) && log.entryTimestamp(entry) >= timestampMs) return entry;
  }
  return -1;
};

/**
 * Offsets and times of records of the entry that holds `offset`, from the first on that may not be older than `timestampMs`, and where
 * they end; undefined if the entry is gone or cannot be opened.
 */
const openAt = async (
  log: Log,
  offset: number,
  timestampMs: number,
  broker: Broker,
): Promise<{ readonly records: readonly FoundRecord[]; readonly endOffset: number } | undefined> => {
  const reader = new LogReader(log);
  for (let attempt = 0; attempt < kafkaLimits.fetchLoadsMax; attempt++) {
    const entry = log.findEntry(offset);
    if (entry < 0 || log.entryFirstOffset(entry) > offset) return undefined;
    const from = reader.firstNotBefore(entry, offset, timestampMs);
    if (from === log.entryEndOffset(entry)) return { records: [], endOffset: from };
    if (from === undefined || !reader.locate(entry, from)) {
      await reader.fill();
      continue;
    }
    const { chunk, at, entryEnd, endOffset, isBatch } = reader;
    const records = isBatch ? await batchesTimes(chunk.buffer, at, entryEnd) : runTimes(chunk.buffer, at, broker);
    return { records, endOffset };
  }
  return undefined;
};

const runTimes = (buffer: Buffer, run: number, broker: Broker): FoundRecord[] => {
  const firstOffset = runFirstOffset(buffer, run);
  return runMessages(buffer, run, broker.forms).map(({ timestampMs }, index) => ({
    offset: firstOffset + index,
    timestampMs,
  }));
};

/** Of all batches in buffer[start, end). */
const batchesTimes = async (buffer: Buffer, start: number, end: number): Promise<FoundRecord[]> => {
  // The arena's memory may be used anew while records are decompressed.
  const batches = Buffer.from(buffer.subarray(start, end));
  const times: FoundRecord[] = [];
  for (let at = 0; at < batches.length; at += batchBytes(batches, at)) times.push(...(await batchTimes(batches, at)));
  return times;
};

const batchTimes = async (buffer: Buffer, batch: number): Promise<FoundRecord[]> => {
  const baseOffset = batchBaseOffset(buffer, batch);
  if ((batchAttributes(buffer, batch) & batchAttribute.logAppendTime) !== 0) {
    return [{ offset: baseOffset, timestampMs: batchMaxTimestamp(buffer, batch) }];
  }
  try {
    const payload = batchPayload(buffer, batch);
    const data = await decompress(batchCodec(buffer, batch), payload, limits.batchDecompressedBytesMax);
    const records = decodeBatchRecords(buffer, batch, data);
    return records.map(({ offsetDelta, timestampMs }) => ({ offset: baseOffset + offsetDelta, timestampMs }));
  } catch {
    // Its producer damaged it; the batch as a whole still has a time.
    return [{ offset: baseOffset, timestampMs: batchMaxTimestamp(buffer, batch) }];
  }
};
