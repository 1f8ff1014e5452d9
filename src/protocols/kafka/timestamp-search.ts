/**
 * Finds records by time, entry by entry: times need not ascend. The index has the newest time within each entry. Of a batch that is
 * the newest of its records, so those that cannot hold the answer are passed over. Of a run of a message block it is the time of the
 * append, while its records have the times that their publishers gave: each run has to be opened.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Broker } from '../../broker/broker.ts';
import { BrokerError } from '../../core/errors.ts';
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

export interface SearchOptions {
  readonly log: Log;
  readonly broker: Broker;
  /** Nobody waits for the answer any more: undefined will do. */
  readonly isCancelled: () => boolean;
}

/** The first record that is not older than `timestampMs`. Rejects when storage fails. */
export const findByTimestamp = async (
  timestampMs: number,
  options: SearchOptions,
): Promise<FoundRecord | undefined> => {
  const { log } = options;
  const opener = new EntryOpener(options);
  try {
    for (let from = log.startOffset; ; ) {
      if (opener.isSliceOver && !(await opener.nextSlice())) return undefined;
      const entry = opener.entryFrom(from);
      if (entry < 0) return undefined;
      if (!log.entryIsLive(entry) || (log.entryIsBatch(entry) && log.entryTimestamp(entry) < timestampMs)) {
        from = log.entryEndOffset(entry);
        continue;
      }
      const opened = await opener.open(Math.max(from, log.entryFirstOffset(entry)), timestampMs);
      const record = opened?.records.find((each) => each.timestampMs >= timestampMs);
      if (record !== undefined) return record;
      from = opened?.endOffset ?? from;
    }
  } finally {
    opener.release();
  }
};

/** The record with the highest time, the first of several. Rejects when storage fails. */
export const findNewest = async (options: SearchOptions): Promise<FoundRecord | undefined> => {
  const opener = new EntryOpener(options);
  try {
    for (;;) {
      const candidate = await findCandidate(options.log, opener);
      if (candidate === undefined || !candidate.isUnopened) return candidate;
      const opened = await opener.open(candidate.offset, candidate.timestampMs);
      if (opened !== undefined && opened.records.length > 0) return newerOf(undefined, opened.records);
      // It was deleted meanwhile: another record is the newest.
    }
  } finally {
    opener.release();
  }
};

/** The first offset and the newest time of an entry of batches stand for the record in it, unless that was opened. */
type Candidate = FoundRecord & { readonly isUnopened?: boolean };

const findCandidate = async (log: Log, opener: EntryOpener): Promise<Candidate | undefined> => {
  let newest: Candidate | undefined;
  for (let from = log.startOffset; ; ) {
    if (opener.isSliceOver && !(await opener.nextSlice())) return undefined;
    const entry = opener.entryFrom(from);
    if (entry < 0) return newest;
    const isBatch = log.entryIsBatch(entry);
    const firstOffset = log.entryFirstOffset(entry);
    const newestMs = log.entryTimestamp(entry);
    if (!log.entryIsLive(entry) || (isBatch && newest !== undefined && newestMs <= newest.timestampMs)) {
      from = log.entryEndOffset(entry);
    } else if (isBatch && firstOffset >= log.startOffset) {
      newest = { offset: firstOffset, timestampMs: newestMs, isUnopened: true };
      from = log.entryEndOffset(entry);
    } else {
      // A run, or batches that the log's start lies within: the newest of them may be below it.
      const opened = await opener.open(Math.max(from, firstOffset), Number.NEGATIVE_INFINITY);
      newest = newerOf(newest, opened?.records ?? []);
      from = opened?.endOffset ?? from;
    }
  }
};

const newerOf = (before: Candidate | undefined, records: readonly FoundRecord[]): Candidate | undefined => {
  let newest = before;
  for (const record of records) if (newest === undefined || record.timestampMs > newest.timestampMs) newest = record;
  return newest;
};

/** Opens the entries of one log, one after the other, in slices between which the loop serves others. */
class EntryOpener {
  readonly #log: Log;
  readonly #broker: Broker;
  readonly #isCancelled: () => boolean;
  readonly #reader: LogReader;
  /** Entries passed over and records looked at that this slice has left. */
  #sliceLeft: number = kafkaLimits.timestampSliceRecords;

  constructor({ log, broker, isCancelled }: SearchOptions) {
    this.#log = log;
    this.#broker = broker;
    this.#isCancelled = isCancelled;
    this.#reader = new LogReader(log, true);
  }

  release(): void {
    this.#reader.release();
  }

  get isSliceOver(): boolean {
    return this.#sliceLeft <= 0;
  }

  /** False: the search is cancelled. */
  async nextSlice(): Promise<boolean> {
    this.#sliceLeft = kafkaLimits.timestampSliceRecords;
    await nextTurn();
    return !this.#isCancelled();
  }

  /** Index of the entry that holds `offset`, or of the next one; -1 if there is no visible one. Valid until something is awaited. */
  entryFrom(offset: number): number {
    this.#sliceLeft--;
    const entry = this.#log.findEntry(offset);
    return entry >= 0 && this.#log.entryFirstOffset(entry) < this.#log.durableEnd ? entry : -1;
  }

  /**
   * Offsets and times of the log's records in the entry that holds `offset`: of batches from the first on that may have one not older
   * than `timestampMs`, or of the run at `offset`; and where they end. Undefined if the entry is gone.
   */
  async open(
    offset: number,
    timestampMs: number,
  ): Promise<{ readonly records: readonly FoundRecord[]; readonly endOffset: number } | undefined> {
    const log = this.#log;
    const reader = this.#reader;
    for (let attempt = 0; attempt < kafkaLimits.fetchLoadsMax; attempt++) {
      const entry = log.findEntry(offset);
      if (entry < 0 || log.entryFirstOffset(entry) > offset) return undefined;
      const isBatch = log.entryIsBatch(entry);
      const from = isBatch ? reader.firstNotBefore(entry, offset, timestampMs) : offset;
      if (from === log.entryEndOffset(entry)) return { records: [], endOffset: from };
      if (from !== undefined && reader.locate(entry, from)) {
        const { chunk, at, entryEnd, endOffset } = reader;
        const times = isBatch
          ? await batchesTimes(chunk.buffer, at, entryEnd)
          : runTimes(chunk.buffer, at, this.#broker);
        this.#sliceLeft -= times.length;
        return { records: times.filter((record) => record.offset >= log.startOffset), endOffset };
      }
      await this.#fill();
    }
    throw new BrokerError('storage-failed', 'what was to be read moves again and again');
  }

  async #fill(): Promise<void> {
    try {
      await this.#reader.fill();
    } catch (error) {
      // Settled and given up meanwhile: the index does not lead there any more.
      if (!(error instanceof BrokerError) || error.kind !== 'not-found') throw error;
    }
  }
}

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
