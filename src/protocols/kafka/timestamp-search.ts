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
  batchHeaderBytes,
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
  for (let opened = 0; opened < kafkaLimits.timestampBatchesMax; opened++) {
    const entry = firstEntryNotBefore(log, from, timestampMs);
    if (entry < 0) return undefined;
    from = log.entryEndOffset(entry);
    const records = await readTimes(log, log.entryFirstOffset(entry), broker);
    const record = records?.find((each) => each.timestampMs >= timestampMs && each.offset >= log.startOffset);
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
  const records = await readTimes(log, log.entryFirstOffset(newest), broker);
  let found: FoundRecord | undefined;
  for (const record of records ?? []) {
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

/** Offsets and times of the records of the entry at `offset`; undefined if it is gone or cannot be opened. */
const readTimes = async (log: Log, offset: number, broker: Broker): Promise<FoundRecord[] | undefined> => {
  const reader = new LogReader(log);
  for (let attempt = 0; attempt < kafkaLimits.fetchLoadsMax; attempt++) {
    const entry = log.findEntry(offset);
    if (entry < 0 || log.entryFirstOffset(entry) !== offset) return undefined;
    if (!reader.locate(entry)) {
      await reader.fill();
      continue;
    }
    const { chunk, at, isBatch } = reader;
    return isBatch ? await batchTimes(chunk.buffer, at) : runTimes(chunk.buffer, at, broker);
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

const batchTimes = async (buffer: Buffer, batch: number): Promise<FoundRecord[] | undefined> => {
  const baseOffset = batchBaseOffset(buffer, batch);
  if ((batchAttributes(buffer, batch) & batchAttribute.logAppendTime) !== 0) {
    return [{ offset: baseOffset, timestampMs: batchMaxTimestamp(buffer, batch) }];
  }
  // The arena's memory may be used anew while the records are decompressed.
  const header = Buffer.from(buffer.subarray(batch, batch + batchHeaderBytes));
  const codec = batchCodec(buffer, batch);
  const payload = Buffer.from(batchPayload(buffer, batch));
  try {
    const data = await decompress(codec, payload, limits.batchDecompressedBytesMax);
    const records = decodeBatchRecords(header, 0, data);
    return records.map(({ offsetDelta, timestampMs }) => ({ offset: baseOffset + offsetDelta, timestampMs }));
  } catch {
    // Its producer damaged it; the batch as a whole still has a time.
    return [{ offset: baseOffset, timestampMs: batchMaxTimestamp(header, 0) }];
  }
};
