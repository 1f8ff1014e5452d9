import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  blockBytes,
  blockForm,
  blockHeaderBytes,
  blockTimed,
  cutRun,
  cutRunBytes,
  messageEnd,
  messageStart,
  messageTimestamp,
  runBytes,
  runCount,
  runDistance,
  runFirstMessage,
  runFirstOffset,
  runFlags,
  runIndex,
  runLogId,
  runPayloadBytes,
} from './block.ts';

const margin = 16;
const baseMs = 1_700_000_000_000;
const bodies = ['first', '', 'the third', 'x'.repeat(300), 'last'];
/** Of each run: log id, first offset, first message, count, flags. */
const runs = [
  [7, 1000, 0, 5, 0],
  [8, 2 ** 40, 1, 3, 1],
  [9, 5, 4, 1, 0],
] as const;

/** A block of `bodies` with these runs, behind some other bytes. */
const encode = (wanted: readonly (readonly number[])[], isTimed: boolean): Buffer => {
  const header = Buffer.alloc(blockHeaderBytes);
  const payload = Buffer.from(bodies.join(''));
  header.writeDoubleLE(baseMs);
  header.writeUInt32LE(200 | ((isTimed ? blockTimed : 0) << 8), 8);
  for (const [i, value] of [bodies.length, wanted.length, payload.length].entries())
    header.writeUInt32LE(value, 12 + 4 * i);
  const parts = wanted.map(([logId, firstOffset, firstMessage, count, flags], index) => {
    const run = Buffer.alloc(runBytes);
    run.writeDoubleLE(firstOffset!, 8);
    for (const [at, value] of [
      [0, logId],
      [4, index],
      [16, firstMessage],
      [20, count],
      [24, flags],
    ] as const)
      run.writeUInt32LE(value!, at);
    return run;
  });
  const ends = bodies.map((_, i) => bodies.slice(0, i + 1).join('').length);
  const table = Buffer.from(Uint32Array.from([...ends, ...(isTimed ? bodies.map((_, i) => i * 10) : [])]).buffer);
  return Buffer.concat([Buffer.alloc(margin, 0xff), header, ...parts, table, payload]);
};

/** What a reader finds at a run, but for where the block has it. */
const read = (buffer: Buffer, run: number): unknown => {
  const block = run - runDistance(runIndex(buffer, run));
  const first = runFirstMessage(buffer, run);
  const messages = Array.from({ length: runCount(buffer, run) }, (_, i) => [
    buffer.toString('latin1', messageStart(buffer, block, first + i), messageEnd(buffer, block, first + i)),
    messageTimestamp(buffer, block, first + i),
  ]);
  const fields = [runLogId, runFirstOffset, runFlags, runPayloadBytes].map((field) => field(buffer, run));
  return [blockForm(buffer, block), fields, messages];
};

for (const isTimed of [false, true]) {
  test(`a run that is cut out of its block is as it was${isTimed ? ', with the times of its messages' : ''}`, () => {
    for (const wanted of [runs, runs.slice(0, 1), runs.slice(1, 2)]) {
      const buffer = encode(wanted, isTimed);
      for (const index of wanted.keys()) {
        const run = margin + runDistance(index);
        const mostBytes = cutRunBytes(runCount(buffer, run), runPayloadBytes(buffer, run));
        const target = Buffer.alloc(3 + mostBytes, 0xee);
        const end = cutRun(buffer, run, target, 3);
        assert.deepEqual(read(target, 3 + blockHeaderBytes), read(buffer, run));
        assert.equal(end - 3, blockBytes(target, 3));
        assert.ok(end <= target.length, `${end - 3} bytes, ${mostBytes} at most`);
      }
    }
  });
}
