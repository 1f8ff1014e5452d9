/**
 * The message block: what the heads of single messages store. Each message stands once, then every log that received it
 * names it in a run, so a fan-out to a hundred queues stores the body once.
 *
 *   block  = f64 timestamp (ms), u8 form, u8 flags, 2 zero bytes, u32 message count, u32 run count, u32 payload bytes
 *            run*, u32 end of each message (relative to the payload), u32 time of each message (if timed), payload
 *   run    = u32 log id, u32 index of this run, f64 first offset, u32 first message, u32 count, u32 flags
 *
 * A block that one publisher filled in one turn has one time. Those of a fold gather messages of many turns and are timed:
 * each message has its own, in milliseconds after that of the block.
 *
 * A log's index points at its run; the run's own index leads back to the start of the block. All numbers little endian.
 */
export const blockHeaderBytes = 24;
export const runBytes = 28;

/** Block flag: each message has a time of its own. */
export const blockTimed = 1;

/** Run flag: dropped by recovery, and a queue's consumer may have it before it is durable. */
export const runTransient = 1;

export const blockTimestamp = (buffer: Buffer, block: number): number => buffer.readDoubleLE(block);
export const blockForm = (buffer: Buffer, block: number): number => buffer[block + 8]!;
export const blockMessageCount = (buffer: Buffer, block: number): number => buffer.readUInt32LE(block + 12);
export const blockRunCount = (buffer: Buffer, block: number): number => buffer.readUInt32LE(block + 16);
export const blockPayloadBytes = (buffer: Buffer, block: number): number => buffer.readUInt32LE(block + 20);

export const runLogId = (buffer: Buffer, run: number): number => buffer.readUInt32LE(run);
export const runIndex = (buffer: Buffer, run: number): number => buffer.readUInt32LE(run + 4);
export const runFirstOffset = (buffer: Buffer, run: number): number => buffer.readDoubleLE(run + 8);
export const runFirstMessage = (buffer: Buffer, run: number): number => buffer.readUInt32LE(run + 16);
export const runCount = (buffer: Buffer, run: number): number => buffer.readUInt32LE(run + 20);
export const runFlags = (buffer: Buffer, run: number): number => buffer.readUInt32LE(run + 24);

/** How far before a run its block starts. */
export const runDistance = (index: number): number => blockHeaderBytes + index * runBytes;

const isTimed = (buffer: Buffer, block: number): boolean => (buffer[block + 9]! & blockTimed) !== 0;

/** Bytes that each message takes in the tables. */
const tableBytes = (buffer: Buffer, block: number): number => (isTimed(buffer, block) ? 8 : 4);

/** Start of the table of message ends. */
const endsStart = (buffer: Buffer, block: number): number =>
  block + blockHeaderBytes + blockRunCount(buffer, block) * runBytes;

/** First byte of message `message` of the block. */
export const messageStart = (buffer: Buffer, block: number, message: number): number => {
  const ends = endsStart(buffer, block);
  const payload = ends + tableBytes(buffer, block) * blockMessageCount(buffer, block);
  return message === 0 ? payload : payload + buffer.readUInt32LE(ends + 4 * (message - 1));
};

/** One past the last byte of message `message` of the block. */
export const messageEnd = (buffer: Buffer, block: number, message: number): number => {
  const ends = endsStart(buffer, block);
  const payload = ends + tableBytes(buffer, block) * blockMessageCount(buffer, block);
  return payload + buffer.readUInt32LE(ends + 4 * message);
};

/** When message `message` of the block was published, in milliseconds since 1970. */
export const messageTimestamp = (buffer: Buffer, block: number, message: number): number => {
  const base = blockTimestamp(buffer, block);
  if (!isTimed(buffer, block)) return base;
  const times = endsStart(buffer, block) + 4 * blockMessageCount(buffer, block);
  return base + buffer.readUInt32LE(times + 4 * message);
};

/** Bytes of the messages of the run; needs the tables of its block. */
export const runPayloadBytes = (buffer: Buffer, run: number): number => {
  const block = run - runDistance(runIndex(buffer, run));
  const first = runFirstMessage(buffer, run);
  return messageEnd(buffer, block, first + runCount(buffer, run) - 1) - messageStart(buffer, block, first);
};

/** Bytes of the whole block; needs only its header. */
export const blockBytes = (buffer: Buffer, block: number): number =>
  blockHeaderBytes +
  blockRunCount(buffer, block) * runBytes +
  blockMessageCount(buffer, block) * tableBytes(buffer, block) +
  blockPayloadBytes(buffer, block);

/** Most bytes that cutRun() writes for a run of so many messages that have so many bytes. */
export const cutRunBytes = (messageCount: number, payloadBytes: number): number =>
  blockHeaderBytes + runBytes + 8 * messageCount + payloadBytes;

/** Writes a block with this run alone at target[at…] and returns where it ends; the run lies behind the header. */
export const cutRun = (buffer: Buffer, run: number, target: Buffer, at: number): number => {
  const block = run - runDistance(runIndex(buffer, run));
  const count = runCount(buffer, run);
  if (blockRunCount(buffer, block) === 1 && blockMessageCount(buffer, block) === count) {
    return at + buffer.copy(target, at, block, block + blockBytes(buffer, block));
  }
  const first = runFirstMessage(buffer, run);
  const start = messageStart(buffer, block, first);
  const end = messageEnd(buffer, block, first + count - 1);
  buffer.copy(target, at, block, block + blockHeaderBytes);
  target.writeUInt32LE(count, at + 12);
  target.writeUInt32LE(1, at + 16);
  target.writeUInt32LE(end - start, at + 20);
  const cut = at + blockHeaderBytes;
  buffer.copy(target, cut, run, run + runBytes);
  target.writeUInt32LE(0, cut + 4);
  target.writeUInt32LE(0, cut + 16);
  let table = cut + runBytes;
  for (let i = first; i < first + count; i++, table += 4) {
    target.writeUInt32LE(messageEnd(buffer, block, i) - start, table);
  }
  if (isTimed(buffer, block)) {
    const times = endsStart(buffer, block) + 4 * blockMessageCount(buffer, block);
    table += buffer.copy(target, table, times + 4 * first, times + 4 * (first + count));
  }
  return table + buffer.copy(target, table, start, end);
};
