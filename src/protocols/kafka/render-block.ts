/**
 * Renders a run of a message block as a Kafka v2 record batch: uncompressed, without producer id, one record per message.
 * The same run gives the same bytes each time, whatever was settled meanwhile and wherever the Fetch starts: its base offset
 * is that of the run, its leader epoch the one that the run was written under.
 */
import type { Message, MessageForm } from '../../broker/message.ts';
import { batchHeaderBytes, sealBatch, stampBatch } from '../../log/batch-header.ts';
import {
  blockForm,
  messageEnd,
  messageStart,
  messageTimestamp,
  runCount,
  runDistance,
  runFirstMessage,
  runFirstOffset,
  runIndex,
} from '../../log/block.ts';
import { varintSize, varlongSize, writeVarint, writeVarlong } from '../../wire/varint.ts';
import { type RecordHeader, recordHeaders } from './interop-headers.ts';

export interface RenderOptions {
  readonly forms: ReadonlyMap<number, MessageForm>;
  readonly topicName: string;
  readonly leaderEpoch: number;
}

interface RenderedRecord {
  readonly timestampDelta: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  /** Without the length that stands before it. */
  readonly sizeBytes: number;
}

/** The largest time that differences of two can be written for. */
const timestampMsMax = 2 ** 52;

/** Time of a record: that which the publisher gave, if it can be one, else that of the append. */
const recordTimestamp = (message: Message, appendedMs: number): number => {
  const timestampMs = Math.trunc(message.timestampMs ?? appendedMs);
  return timestampMs >= 0 && timestampMs <= timestampMsMax ? timestampMs : Math.trunc(appendedMs);
};

/** A message in the neutral view, and its time as a record. */
export interface TimedMessage {
  readonly message: Message;
  readonly timestampMs: number;
}

/** The messages of a run; they may be views of the buffer. */
export const runMessages = (buffer: Buffer, run: number, forms: ReadonlyMap<number, MessageForm>): TimedMessage[] => {
  const block = run - runDistance(runIndex(buffer, run));
  const form = forms.get(blockForm(buffer, block));
  if (form === undefined) throw new Error(`no protocol reads messages of form ${blockForm(buffer, block)}`);
  const first = runFirstMessage(buffer, run);
  return Array.from({ length: runCount(buffer, run) }, (_, index) => {
    const place = first + index;
    const appendedMs = messageTimestamp(buffer, block, place);
    const start = messageStart(buffer, block, place);
    const message = form.decode(buffer, start, messageEnd(buffer, block, place), appendedMs);
    return { message, timestampMs: recordTimestamp(message, appendedMs) };
  });
};

/** @param run where the run stands in the buffer, which must hold the whole block */
export const renderRun = (buffer: Buffer, run: number, options: RenderOptions): Buffer => {
  const messages = runMessages(buffer, run, options.forms);
  const baseTimestamp = messages[0]!.timestampMs;
  let maxTimestamp = baseTimestamp;
  let bytes = batchHeaderBytes;
  const records = messages.map(({ message, timestampMs }, index) => {
    if (timestampMs > maxTimestamp) maxTimestamp = timestampMs;
    const record = measureRecord(message, index, timestampMs - baseTimestamp, options.topicName);
    bytes += varintSize(record.sizeBytes) + record.sizeBytes;
    return record;
  });
  const batch = Buffer.allocUnsafe(bytes);
  writeHeader(batch, { baseTimestamp, maxTimestamp, count: records.length });
  let at = batchHeaderBytes;
  records.forEach((record, index) => {
    at = writeRecord(batch, at, index, record);
  });
  stampBatch(batch, 0, runFirstOffset(buffer, run), options.leaderEpoch);
  sealBatch(batch, 0);
  return batch;
};

const fieldBytes = (field: Buffer | null): number =>
  field === null ? varintSize(-1) : varintSize(field.length) + field.length;

const measureRecord = (
  message: Message,
  offsetDelta: number,
  timestampDelta: number,
  topicName: string,
): RenderedRecord => {
  const { key, body } = message;
  const headers = recordHeaders(message, topicName);
  let sizeBytes = 1 + varlongSize(timestampDelta) + varintSize(offsetDelta) + fieldBytes(key) + fieldBytes(body);
  sizeBytes += varintSize(headers.length);
  for (const { name, value } of headers) sizeBytes += fieldBytes(name) + fieldBytes(value);
  return { timestampDelta, key, value: body, headers, sizeBytes };
};

const writeField = (batch: Buffer, at: number, field: Buffer | null): number => {
  if (field === null) return writeVarint(batch, at, -1);
  const start = writeVarint(batch, at, field.length);
  return start + field.copy(batch, start);
};

const writeRecord = (batch: Buffer, start: number, offsetDelta: number, record: RenderedRecord): number => {
  let at = writeVarint(batch, start, record.sizeBytes);
  batch[at++] = 0;
  at = writeVarlong(batch, at, record.timestampDelta);
  at = writeVarint(batch, at, offsetDelta);
  at = writeField(batch, at, record.key);
  at = writeField(batch, at, record.value);
  at = writeVarint(batch, at, record.headers.length);
  for (const { name, value } of record.headers) {
    at = writeField(batch, at, name);
    at = writeField(batch, at, value);
  }
  return at;
};

/** Everything but offset, epoch and checksum. */
const writeHeader = (
  batch: Buffer,
  { baseTimestamp, maxTimestamp, count }: { baseTimestamp: number; maxTimestamp: number; count: number },
): void => {
  batch.writeInt32BE(batch.length - 12, 8);
  batch[16] = 2;
  batch.writeInt16BE(0, 21);
  batch.writeInt32BE(count - 1, 23);
  batch.writeBigInt64BE(BigInt(baseTimestamp), 27);
  batch.writeBigInt64BE(BigInt(maxTimestamp), 35);
  batch.writeBigInt64BE(-1n, 43);
  batch.writeInt16BE(-1, 51);
  batch.writeInt32BE(-1, 53);
  batch.writeInt32BE(count, 57);
};
