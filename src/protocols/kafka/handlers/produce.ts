/**
 * Produce, the hottest request: parsed by hand over the chunks as received, appended as it is parsed, and answered into the
 * writer on the way. Its grammar is tested against the generated codec.
 */

import type { Topic } from '../../../broker/topic.ts';
import { type AppendOutcome, appendBatch } from '../../../log/append-batch.ts';
import {
  batchAttribute,
  batchAttributes,
  batchBaseTimestamp,
  batchBytes,
  batchHeaderBytes,
  batchMagic,
  batchMaxTimestamp,
} from '../../../log/batch-header.ts';
import { MalformedError, ZERO_UUID } from '../../../wire/cursor.ts';
import type { Writer } from '../../../wire/writer.ts';
import { ErrorCode } from '../error-codes.ts';
import type { FrameCursor } from '../received-bytes.ts';
import type { KafkaServices } from '../request-context.ts';
import type { TopicRules } from '../topic-config.ts';

const zstd = 4;
const noMessage: string | null = null;

/** answered: the body is in the writer. silent: acks=0, there is no answer; silent-error: and something was refused. */
export type ProduceOutcome = 'answered' | 'silent' | 'silent-error';

/** Outcome of one partition. */
class PartitionResult {
  errorCode: number = ErrorCode.NONE;
  baseOffset = -1;
  appendTimeMs = -1;
  startOffset = -1;
  message: string | null = noMessage;
  /** The first record is at fault and named so. */
  blamesRecord = false;

  refuse(errorCode: number, message: string | null): void {
    this.errorCode = errorCode;
    this.message = message;
  }
}

interface Checks {
  readonly services: KafkaServices;
  readonly version: number;
  readonly nowMs: number;
  /** Holds for every partition of the request; NONE if there is none. */
  errorCode: number;
  message: string | null;
}

const readArrayLength = (cursor: FrameCursor, flexible: boolean): number => {
  const length = flexible ? cursor.uvarint() - 1 : cursor.int32();
  if (length < 0 || length > cursor.remainingBytes) throw new MalformedError(`array of length ${length}`);
  return length;
};

const readNullableText = (cursor: FrameCursor, flexible: boolean): string | null => {
  const length = flexible ? cursor.uvarint() - 1 : cursor.int16();
  return length === -1 ? null : cursor.text(length);
};

/** @throws MalformedError; what was appended before stays */
export const handleProduce = (
  cursor: FrameCursor,
  writer: Writer,
  version: number,
  services: KafkaServices,
): ProduceOutcome => {
  const flexible = version >= 9;
  const transactionalId = version >= 3 ? readNullableText(cursor, flexible) : null;
  const acks = cursor.int16();
  cursor.skip(4);
  const checks = requestChecks(services, version, acks, transactionalId);
  let refused = false;
  const topicCount = readArrayLength(cursor, flexible);
  if (flexible) writer.compactArrayLength(topicCount);
  else writer.arrayLength(topicCount);
  for (let topics = topicCount; topics > 0; topics--) {
    const topic = readTopic(cursor, writer, version, services);
    const partitionCount = readArrayLength(cursor, flexible);
    if (flexible) writer.compactArrayLength(partitionCount);
    else writer.arrayLength(partitionCount);
    for (let partitions = partitionCount; partitions > 0; partitions--) {
      if (!producePartition(cursor, writer, topic, checks)) refused = true;
    }
    if (flexible) {
      cursor.skipTaggedFields();
      writer.uvarint(0);
    }
  }
  if (flexible) cursor.skipTaggedFields();
  if (version >= 1) writer.int32(0);
  if (flexible) writer.uvarint(0);
  if (acks !== 0) return 'answered';
  return refused ? 'silent-error' : 'silent';
};

const requestChecks = (
  services: KafkaServices,
  version: number,
  acks: number,
  transactionalId: string | null,
): Checks => {
  const checks: Checks = {
    services,
    version,
    nowMs: services.broker.clock.now(),
    errorCode: ErrorCode.NONE,
    message: null,
  };
  if (acks < -1 || acks > 1) {
    checks.errorCode = ErrorCode.INVALID_REQUIRED_ACKS;
  } else if (transactionalId !== null) {
    checks.errorCode = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    checks.message = 'Transactions are not supported.';
  } else if (!services.broker.hasRoom) {
    checks.errorCode = ErrorCode.KAFKA_STORAGE_ERROR;
    checks.message = 'The storage is full: records are refused until consumers have made room.';
  }
  return checks;
};

/** Reads which topic is meant and repeats it in the response. */
const readTopic = (
  cursor: FrameCursor,
  writer: Writer,
  version: number,
  { topics }: KafkaServices,
): Topic | undefined => {
  if (version >= 13) {
    const id = cursor.hexId();
    writer.uuid(/^0+$/.test(id) ? ZERO_UUID : Buffer.from(id, 'hex').toString('base64url'));
    return topics.findByHexId(id);
  }
  const name = readNullableText(cursor, version >= 9);
  if (name === null) throw new MalformedError('a topic without a name');
  if (version >= 9) writer.compactString(name);
  else writer.string(name);
  return topics.find(name);
};

/** False: the records were refused. */
const producePartition = (cursor: FrameCursor, writer: Writer, topic: Topic | undefined, checks: Checks): boolean => {
  const flexible = checks.version >= 9;
  const index = cursor.int32();
  const lengthBytes = flexible ? cursor.uvarint() - 1 : cursor.int32();
  if (lengthBytes < -1 || lengthBytes > cursor.remainingBytes) {
    throw new MalformedError(`records of ${lengthBytes} bytes`);
  }
  cursor.lengthBytes = Math.max(0, lengthBytes);
  const result = new PartitionResult();
  const log = topic?.partitions[index];
  if (checks.errorCode !== ErrorCode.NONE) {
    result.refuse(checks.errorCode, checks.message);
  } else if (topic === undefined || log === undefined) {
    const isUnknownId = topic === undefined && checks.version >= 13;
    result.refuse(isUnknownId ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, null);
  } else {
    const rules = checks.services.topics.rules(topic);
    result.startOffset = log.startOffset;
    if (mayAppend(cursor, rules, checks, result)) {
      const outcome = appendBatch(log, cursor, {
        nowMs: checks.nowMs,
        stampsAppendTime: rules.stampsAppendTime,
        producersExpiredBeforeMs: checks.nowMs - checks.services.settings['producer.id.expiration.ms'],
      });
      takeOutcome(outcome, result, rules.stampsAppendTime ? checks.nowMs : -1);
    }
  }
  cursor.skip(cursor.lengthBytes);
  if (flexible) cursor.skipTaggedFields();
  writePartition(writer, checks.version, index, result);
  return result.errorCode === ErrorCode.NONE;
};

/** What can be said from the batch's header alone; the checksum is verified where the batch is stored. */
const mayAppend = (cursor: FrameCursor, rules: TopicRules, checks: Checks, result: PartitionResult): boolean => {
  const { version, nowMs } = checks;
  const { lengthBytes } = cursor;
  if (lengthBytes === 0) {
    result.refuse(
      ErrorCode.INVALID_RECORD,
      `Produce requests with version ${version} must have at least one record batch per partition`,
    );
    return false;
  }
  if (lengthBytes < batchHeaderBytes) {
    result.refuse(ErrorCode.CORRUPT_MESSAGE, 'The records are shorter than the header of a batch.');
    return false;
  }
  const at = cursor.peek(batchHeaderBytes);
  const { view } = cursor;
  if (batchMagic(view, at) !== 2) {
    result.refuse(
      ErrorCode.INVALID_RECORD,
      `Produce requests with version ${version} are only allowed to contain record batches with magic version 2`,
    );
    return false;
  }
  if (batchBytes(view, at) < lengthBytes) {
    result.refuse(
      ErrorCode.INVALID_RECORD,
      `Produce requests with version ${version} are only allowed to contain exactly one record batch per partition`,
    );
    return false;
  }
  const attributes = batchAttributes(view, at);
  if (version < 7 && (attributes & batchAttribute.compressionMask) === zstd) {
    result.refuse(
      ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
      `Produce requests with version ${version} are not allowed to use ZStandard compression`,
    );
    return false;
  }
  if ((attributes & batchAttribute.transactional) !== 0) {
    result.refuse(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, 'Transactions are not supported.');
    return false;
  }
  if (lengthBytes > rules.batchBytesMax) {
    result.refuse(
      ErrorCode.MESSAGE_TOO_LARGE,
      `The record batch size is ${lengthBytes} bytes, which exceeds the maximum configured value of ${rules.batchBytesMax}.`,
    );
    return false;
  }
  return rules.stampsAppendTime || hasValidTime(view, at, rules, nowMs, result);
};

const hasValidTime = (view: Buffer, at: number, rules: TopicRules, nowMs: number, result: PartitionResult): boolean => {
  const newestMs = batchMaxTimestamp(view, at);
  const oldestMs = batchBaseTimestamp(view, at);
  const latestMs = nowMs + rules.timestampAfterMaxMs;
  const earliestMs = nowMs - rules.timestampBeforeMaxMs;
  const invalidMs = newestMs > latestMs ? newestMs : oldestMs >= 0 && oldestMs < earliestMs ? oldestMs : undefined;
  if (invalidMs === undefined) return true;
  result.refuse(
    ErrorCode.INVALID_TIMESTAMP,
    `Timestamp ${invalidMs} of message with offset 0 is out of range. The timestamp should be within [${earliestMs}, ${latestMs}]`,
  );
  result.blamesRecord = true;
  return false;
};

const takeOutcome = (outcome: AppendOutcome, result: PartitionResult, appendTimeMs: number): void => {
  switch (outcome.kind) {
    case 'appended':
      result.baseOffset = outcome.baseOffset;
      result.appendTimeMs = appendTimeMs;
      return;
    case 'duplicate':
      result.baseOffset = outcome.baseOffset;
      result.appendTimeMs = appendTimeMs === -1 ? -1 : outcome.timestampMs;
      return;
    case 'out-of-order-sequence':
      result.refuse(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, null);
      return;
    case 'stale-producer-epoch':
      result.refuse(ErrorCode.INVALID_PRODUCER_EPOCH, null);
      return;
    case 'corrupt':
      result.refuse(ErrorCode.CORRUPT_MESSAGE, `The record batch is corrupt: ${outcome.reason}.`);
      return;
    case 'invalid':
      result.refuse(ErrorCode.INVALID_RECORD, outcome.reason);
      return;
    case 'unsupported-magic':
      result.refuse(ErrorCode.INVALID_RECORD, 'only record batches with magic version 2 are allowed');
      return;
  }
};

const writePartition = (writer: Writer, version: number, index: number, result: PartitionResult): void => {
  const flexible = version >= 9;
  writer.int32(index);
  writer.int16(result.errorCode);
  writer.int64(result.baseOffset);
  if (version >= 2) writer.int64(result.appendTimeMs);
  if (version >= 5) writer.int64(result.startOffset);
  if (version >= 8) {
    const blamed = result.blamesRecord ? 1 : 0;
    if (flexible) writer.compactArrayLength(blamed);
    else writer.arrayLength(blamed);
    if (blamed === 1) {
      writer.int32(0);
      if (flexible) writer.compactNullableString(result.message);
      else writer.nullableString(result.message);
      if (flexible) writer.uvarint(0);
    }
    if (flexible) writer.compactNullableString(result.message);
    else writer.nullableString(result.message);
  }
  if (flexible) writer.uvarint(0);
};
