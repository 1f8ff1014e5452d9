/**
 * The records inside a Kafka v2 batch, for readers of other protocols.
 *
 *   record = varint length, int8 attributes, varlong timestamp delta, varint offset delta,
 *            varint key length (-1 null), key, varint value length (-1 null), value,
 *            varint header count, (varint name length, name, varint value length (-1 null), value)*
 */
import { limits } from '../core/limits.ts';
import {
  batchAttribute,
  batchAttributes,
  batchBaseTimestamp,
  batchBytes,
  batchHeaderBytes,
  batchMaxTimestamp,
  batchRecordCount,
} from './batch-header.ts';

export interface BatchRecord {
  readonly offsetDelta: number;
  readonly timestampMs: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly { readonly name: string; readonly value: Buffer | null }[];
}

/** Compression codec of the batch; 0 for none. */
export const batchCodec = (buffer: Buffer, batch: number): number =>
  batchAttributes(buffer, batch) & batchAttribute.compressionMask;

/** The compressed (or plain) records of the batch, a view. */
export const batchPayload = (buffer: Buffer, batch: number): Buffer =>
  buffer.subarray(batch + batchHeaderBytes, batch + batchBytes(buffer, batch));

class RecordCursor {
  readonly #data: Buffer;
  at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.#data[this.at++];
      if (byte === undefined) throw new RangeError('record ends within a number');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      scale *= 128;
    }
    throw new RangeError('record with an endless number');
  }

  bytes(): Buffer | null {
    const length = this.varint();
    if (length < 0) return null;
    if (length > this.#data.length - this.at) throw new RangeError('record is shorter than its field');
    this.at += length;
    return this.#data.subarray(this.at - length, this.at);
  }

  skip(count: number): void {
    this.at += count;
  }
}

/**
 * @param buffer @param batch where the batch's header is
 * @param payload its records, decompressed; the records are views of it
 * @throws RangeError when the records do not parse, or are too many
 */
export const decodeBatchRecords = (buffer: Buffer, batch: number, payload: Buffer): BatchRecord[] => {
  const count = batchRecordCount(buffer, batch);
  if (count > limits.batchRecordsOpenedMax) throw new RangeError(`${count} records in one batch`);
  const baseTimestampMs = batchBaseTimestamp(buffer, batch);
  const appendTimeMs =
    (batchAttributes(buffer, batch) & batchAttribute.logAppendTime) !== 0
      ? batchMaxTimestamp(buffer, batch)
      : undefined;
  const cursor = new RecordCursor(payload);
  const records: BatchRecord[] = [];
  for (let i = 0; i < count; i++) {
    const length = cursor.varint();
    const end = cursor.at + length;
    cursor.skip(1);
    const timestampMs = appendTimeMs ?? baseTimestampMs + cursor.varint();
    if (appendTimeMs !== undefined) cursor.varint();
    const offsetDelta = cursor.varint();
    const key = cursor.bytes();
    const value = cursor.bytes();
    const headers: { name: string; value: Buffer | null }[] = [];
    for (let headerCount = cursor.varint(); headerCount > 0; headerCount--) {
      headers.push({ name: (cursor.bytes() ?? Buffer.alloc(0)).toString(), value: cursor.bytes() });
    }
    if (cursor.at !== end) throw new RangeError('record length does not match its fields');
    records.push({ offsetDelta, timestampMs, key, value, headers });
  }
  return records;
};
