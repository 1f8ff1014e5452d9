/** Makes a Kafka v2 record batch, uncompressed, for messages that were not received as one. The broker stamps the rest. */
import { varintSize, varlongSize, writeVarint, writeVarlong } from '../wire/varint.ts';
import type { BatchSource } from './append-batch.ts';
import { batchHeaderBytes, sealBatch } from './batch-header.ts';

export interface NewRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly { readonly name: string; readonly value: Buffer | null }[];
  readonly timestampMs: number;
}

const bytesSize = (value: Buffer | null): number =>
  value === null ? varintSize(-1) : varintSize(value.length) + value.length;

const writeBytes = (target: Buffer, at: number, value: Buffer | null): number => {
  const start = writeVarint(target, at, value === null ? -1 : value.length);
  return value === null ? start : start + value.copy(target, start);
};

/** Bytes of a record after its own length. */
const recordBodyBytes = (record: NewRecord, offsetDelta: number, timestampDelta: number): number => {
  let bytes =
    1 + varlongSize(timestampDelta) + varintSize(offsetDelta) + bytesSize(record.key) + bytesSize(record.value);
  bytes += varintSize(record.headers.length);
  for (const { name, value } of record.headers) {
    const nameBytes = Buffer.byteLength(name);
    bytes += varintSize(nameBytes) + nameBytes + bytesSize(value);
  }
  return bytes;
};

const writeRecord = (
  target: Buffer,
  start: number,
  record: NewRecord,
  offsetDelta: number,
  timestampDelta: number,
): number => {
  let at = writeVarint(target, start, recordBodyBytes(record, offsetDelta, timestampDelta));
  target[at++] = 0;
  at = writeVarlong(target, at, timestampDelta);
  at = writeVarint(target, at, offsetDelta);
  at = writeBytes(target, at, record.key);
  at = writeBytes(target, at, record.value);
  at = writeVarint(target, at, record.headers.length);
  for (const { name, value } of record.headers) {
    at = writeBytes(target, at, Buffer.from(name));
    at = writeBytes(target, at, value);
  }
  return at;
};

/** @param records one at least */
export const encodeBatch = (records: readonly NewRecord[]): Buffer => {
  const baseTimestampMs = records[0]!.timestampMs;
  let bytes = batchHeaderBytes;
  let maxTimestampMs = baseTimestampMs;
  records.forEach((record, index) => {
    const body = recordBodyBytes(record, index, record.timestampMs - baseTimestampMs);
    bytes += varintSize(body) + body;
    maxTimestampMs = Math.max(maxTimestampMs, record.timestampMs);
  });
  const batch = Buffer.alloc(bytes);
  batch.writeInt32BE(bytes - 12, 8); // base offset 0, length
  batch[16] = 2; // leader epoch 0, magic
  batch.writeInt32BE(records.length - 1, 23); // no attributes
  batch.writeBigInt64BE(BigInt(baseTimestampMs), 27);
  batch.writeBigInt64BE(BigInt(maxTimestampMs), 35);
  batch.fill(0xff, 43, 57); // no producer id, epoch, sequence
  batch.writeInt32BE(records.length, 57);
  let at = batchHeaderBytes;
  records.forEach((record, index) => {
    at = writeRecord(batch, at, record, index, record.timestampMs - baseTimestampMs);
  });
  sealBatch(batch, 0);
  return batch;
};

export const batchSource = (batch: Buffer): BatchSource => ({
  lengthBytes: batch.length,
  copyTo: (target, at) => {
    batch.copy(target, at);
  },
});
