/**
 * The 61-byte header of a Kafka v2 record batch; the only part of a batch that the log looks at. Base offset and leader
 * epoch lie outside the checksum and are stamped in place at append.
 * Source: Apache Kafka, DefaultRecordBatch.
 */
import { crc32c } from '../wire/crc32c.ts';

export const batchHeaderBytes = 61;
/** Bytes before the part that `batchLength` counts. */
const lengthPrefixBytes = 12;

export const batchAttribute = {
  compressionMask: 0x07,
  logAppendTime: 0x08,
  transactional: 0x10,
  control: 0x20,
} as const;

const readInt64 = (buffer: Buffer, at: number): number =>
  buffer.readInt32BE(at) * 0x1_0000_0000 + buffer.readUInt32BE(at + 4);

const writeInt64 = (buffer: Buffer, at: number, value: number): void => {
  buffer.writeInt32BE(Math.floor(value / 0x1_0000_0000), at);
  buffer.writeUInt32BE(
    value % 0x1_0000_0000 < 0 ? (value % 0x1_0000_0000) + 0x1_0000_0000 : value % 0x1_0000_0000,
    at + 4,
  );
};

/** Bytes of the whole batch; needs its first 12 bytes. */
export const batchBytes = (buffer: Buffer, batch: number): number => lengthPrefixBytes + buffer.readInt32BE(batch + 8);
export const batchBaseOffset = (buffer: Buffer, batch: number): number => readInt64(buffer, batch);
export const batchLeaderEpoch = (buffer: Buffer, batch: number): number => buffer.readInt32BE(batch + 12);
export const batchMagic = (buffer: Buffer, batch: number): number => buffer[batch + 16]!;
export const batchAttributes = (buffer: Buffer, batch: number): number => buffer.readInt16BE(batch + 21);
export const batchLastOffsetDelta = (buffer: Buffer, batch: number): number => buffer.readInt32BE(batch + 23);
export const batchBaseTimestamp = (buffer: Buffer, batch: number): number => readInt64(buffer, batch + 27);
export const batchMaxTimestamp = (buffer: Buffer, batch: number): number => readInt64(buffer, batch + 35);
/** -1 for a producer without idempotence. A number: Kafka hands producer ids out from zero upwards. */
export const batchProducerId = (buffer: Buffer, batch: number): number => readInt64(buffer, batch + 43);
export const batchProducerEpoch = (buffer: Buffer, batch: number): number => buffer.readInt16BE(batch + 51);
export const batchBaseSequence = (buffer: Buffer, batch: number): number => buffer.readInt32BE(batch + 53);
export const batchRecordCount = (buffer: Buffer, batch: number): number => buffer.readInt32BE(batch + 57);

/** Stamps what the broker assigns. Both fields lie outside the checksum. */
export const stampBatch = (buffer: Buffer, batch: number, baseOffset: number, leaderEpoch: number): void => {
  writeInt64(buffer, batch, baseOffset);
  buffer.writeInt32BE(leaderEpoch, batch + 12);
};

/** Sets the time of the append (message.timestamp.type=LogAppendTime) and renews the checksum. */
export const stampAppendTime = (buffer: Buffer, batch: number, timestampMs: number): void => {
  buffer.writeInt16BE(batchAttributes(buffer, batch) | batchAttribute.logAppendTime, batch + 21);
  writeInt64(buffer, batch + 35, timestampMs);
  sealBatch(buffer, batch);
};

/** Writes the checksum over everything after it. */
export const sealBatch = (buffer: Buffer, batch: number): void => {
  buffer.writeUInt32BE(crc32c(buffer, batch + 21, batch + batchBytes(buffer, batch)), batch + 17);
};

export const batchChecksumHolds = (buffer: Buffer, batch: number): boolean =>
  buffer.readUInt32BE(batch + 17) === crc32c(buffer, batch + 21, batch + batchBytes(buffer, batch));
