// Kafka v2 record batches as a producer makes them: no compression, values only.
import { batchHeaderBytes, sealBatch } from '../../src/log/batch-header.ts';
import { varintSize, writeVarint } from '../../src/wire/varint.ts';

export interface BatchProducer {
  readonly id: number;
  readonly epoch: number;
  readonly sequence: number;
}

/** Attributes, timestamp delta and header count of each record are zero; the key is null. */
const recordBody = (offsetDelta: number, value: Buffer): Buffer => {
  const body = Buffer.alloc(2 + varintSize(offsetDelta) + 1 + varintSize(value.length) + value.length + 1);
  let at = writeVarint(body, 2, offsetDelta);
  at = writeVarint(body, at, -1);
  at = writeVarint(body, at, value.length);
  at += value.copy(body, at);
  writeVarint(body, at, 0);
  return body;
};

export const encodeBatch = (
  values: readonly (string | Buffer)[],
  timestampMs: number,
  producer?: BatchProducer,
): Buffer => {
  const records = values.map((value, index) => recordBody(index, Buffer.from(value)));
  const bytes = records.reduce((sum, { length }) => sum + varintSize(length) + length, batchHeaderBytes);
  const batch = Buffer.alloc(bytes);
  batch.writeInt32BE(bytes - 12, 8);
  batch[16] = 2;
  batch.writeInt32BE(values.length - 1, 23);
  batch.writeBigInt64BE(BigInt(timestampMs), 27);
  batch.writeBigInt64BE(BigInt(timestampMs), 35);
  batch.writeBigInt64BE(BigInt(producer?.id ?? -1), 43);
  batch.writeInt16BE(producer?.epoch ?? -1, 51);
  batch.writeInt32BE(producer?.sequence ?? -1, 53);
  batch.writeInt32BE(values.length, 57);
  let at = batchHeaderBytes;
  for (const record of records) {
    at = writeVarint(batch, at, record.length);
    at += record.copy(batch, at);
  }
  sealBatch(batch, 0);
  return batch;
};
