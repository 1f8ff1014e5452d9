/**
 * Reads a log message by message, whatever form it is stored in, without disturbing anyone. What is settled in a queue's own
 * log is passed over.
 */
import type { Broker } from '../../broker/broker.ts';
import type { Message } from '../../broker/message.ts';
import { limits } from '../../core/limits.ts';
import { batchBaseOffset, batchHeaderBytes, batchLastOffsetDelta } from '../../log/batch-header.ts';
import { batchCodec, batchPayload, decodeBatchRecords } from '../../log/batch-records.ts';
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
import type { Log } from '../../log/log.ts';
import { LogReader } from '../../log/log-reader.ts';
import { decompress } from '../../wire/decompress.ts';

export interface PlacedMessage {
  readonly offset: number;
  readonly message: Message;
}

/** Messages taken from one block at a time. */
const runMessagesMax = 256;

export class LogCursor {
  readonly log: Log;
  /** Where the next read starts. */
  offset: number;
  readonly #reader: LogReader;
  readonly #broker: Broker;

  constructor(log: Log, offset: number, broker: Broker) {
    this.log = log;
    this.offset = offset;
    this.#reader = new LogReader(log);
    this.#broker = broker;
  }

  /** Some messages from `offset` on, in order; none at the end of what is durable. */
  async read(): Promise<readonly PlacedMessage[]> {
    while (!this.log.deleted) {
      this.offset = Math.max(this.offset, this.log.startOffset);
      if (this.offset >= this.log.durableEnd) return [];
      const entry = this.log.findEntry(this.offset);
      if (entry < 0) {
        this.offset = this.log.durableEnd;
        return [];
      }
      if (!this.#reader.locate(entry, this.offset)) {
        await this.#reader.fill();
        continue;
      }
      const from = this.offset;
      const found = await (this.#reader.isBatch ? this.#readBatch() : this.#readRun());
      const wanted = found.filter(({ offset }) => offset >= from && this.#isWanted(offset));
      if (wanted.length > 0) return wanted;
    }
    return [];
  }

  #isWanted(offset: number): boolean {
    if (offset >= this.log.durableEnd) return false;
    return this.log.goneWithin(offset, offset + 1) === 0;
  }

  async #readBatch(): Promise<PlacedMessage[]> {
    const { chunk, at } = this.#reader;
    const baseOffset = batchBaseOffset(chunk.buffer, at);
    this.offset = baseOffset + batchLastOffsetDelta(chunk.buffer, at) + 1;
    // The arena's memory may be used again while the batch is decompressed.
    const header = Buffer.from(chunk.buffer.subarray(at, at + batchHeaderBytes));
    const codec = batchCodec(chunk.buffer, at);
    const payload = Buffer.from(batchPayload(chunk.buffer, at));
    try {
      const data = await decompress(codec, payload, limits.batchDecompressedBytesMax);
      return decodeBatchRecords(header, 0, data).map(({ offsetDelta, key, value, headers, timestampMs }) => ({
        offset: baseOffset + offsetDelta,
        message: { key, body: value, headers, timestampMs },
      }));
    } catch {
      this.#broker.noteUnreadable(this.log, baseOffset, this.offset);
      return [];
    }
  }

  #readRun(): PlacedMessage[] {
    const { chunk, at: run } = this.#reader;
    const { buffer } = chunk;
    const block = run - runDistance(runIndex(buffer, run));
    const first = runFirstOffset(buffer, run);
    const start = Math.max(this.offset, first);
    const end = Math.min(first + runCount(buffer, run), start + runMessagesMax);
    const form = this.#broker.forms.get(blockForm(buffer, block));
    this.offset = end;
    if (form === undefined) return [];
    const found: PlacedMessage[] = [];
    for (let offset = start; offset < end; offset++) {
      const message = runFirstMessage(buffer, run) + offset - first;
      const bytes = Buffer.from(
        buffer.subarray(messageStart(buffer, block, message), messageEnd(buffer, block, message)),
      );
      found.push({ offset, message: form.decode(bytes, 0, bytes.length, messageTimestamp(buffer, block, message)) });
    }
    return found;
  }
}
