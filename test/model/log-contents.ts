// What a reader of a log finds in it.
import assert from 'node:assert/strict';
import { batchBaseOffset, batchHeaderBytes, batchLeaderEpoch } from '../../src/log/batch-header.ts';
import { batchPayload, decodeBatchRecords } from '../../src/log/batch-records.ts';
import {
  blockBytes,
  messageEnd,
  messageStart,
  runCount,
  runDistance,
  runFirstMessage,
  runFirstOffset,
  runIndex,
  runLogId,
} from '../../src/log/block.ts';
import type { Log } from '../../src/log/log.ts';
import { LogReader } from '../../src/log/log-reader.ts';

/** The messages of the entry that the reader is at, by offset. */
const entryMessages = (reader: LogReader): [offset: number, body: string][] => {
  const { buffer } = reader.chunk;
  if (reader.isBatch) {
    const batch = reader.at;
    const header = Buffer.from(buffer.subarray(batch, batch + batchHeaderBytes));
    const base = batchBaseOffset(buffer, batch);
    assert.ok(batchLeaderEpoch(buffer, batch) <= reader.log.leaderEpoch);
    return decodeBatchRecords(header, 0, batchPayload(buffer, batch)).map(({ offsetDelta, value }) => [
      base + offsetDelta,
      String(value),
    ]);
  }
  const run = reader.at;
  const block = run - runDistance(runIndex(buffer, run));
  assert.equal(runLogId(buffer, run), reader.log.id);
  assert.equal(reader.entryEnd, block + blockBytes(buffer, block));
  return Array.from({ length: runCount(buffer, run) }, (_, index) => {
    const message = runFirstMessage(buffer, run) + index;
    const body = buffer.toString('utf8', messageStart(buffer, block, message), messageEnd(buffer, block, message));
    return [runFirstOffset(buffer, run) + index, body];
  });
};

/** The messages of [from, to) that are in the log, by offset, found by walking from entry to entry. */
export const readLog = async (log: Log, from: number, to: number): Promise<Map<number, string>> => {
  const reader = new LogReader(log);
  const found = new Map<number, string>();
  let offset = from;
  while (offset < to) {
    const entry = log.findEntry(offset);
    if (entry < 0) break;
    const end = log.entryEndOffset(entry);
    assert.ok(end > offset, `entry [${log.entryFirstOffset(entry)}, ${end}) found for offset ${offset}`);
    if (log.entryIsLive(entry)) {
      if (!reader.locate(entry, offset)) {
        await reader.fill();
        continue;
      }
      assert.ok(reader.endOffset <= end);
      const messages = entryMessages(reader);
      const next = messages.at(-1)![0] + 1;
      assert.ok(messages[0]![0] >= log.entryFirstOffset(entry) && next > offset && next <= reader.endOffset);
      if (!reader.isBatch) assert.equal(next, reader.endOffset);
      for (const [at, body] of messages) if (at >= offset && at < to) found.set(at, body);
      offset = next;
    } else {
      offset = end;
    }
  }
  return found;
};
