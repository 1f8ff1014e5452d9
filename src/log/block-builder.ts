/**
 * Collects messages and where each goes, then makes one atomic commit of them: a message block.
 *
 * Messages are given as pieces of the buffers they were received in; pieces that follow one another in the same buffer
 * are one copy, so a socket chunk full of messages costs one copy into the arena. Scratch arrays are reused; nothing is
 * allocated per message.
 */
import { recordType } from '../shard/shard.ts';
import { blockHeaderBytes, runBytes, runTransient } from './block.ts';
import type { Log } from './log.ts';
import type { LogStore } from './log-store.ts';

const scratchLength = 256;

const grown = (array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> => {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
};

export class BlockBuilder {
  readonly #store: LogStore;
  #form = 0;
  #timestampMs = 0;
  /** Copies to make: source, start, end. */
  readonly #sources: Buffer[] = [];
  #sourceRanges = new Int32Array(scratchLength);
  /** End of each message relative to the payload. */
  #messageEnds = new Int32Array(scratchLength);
  #messageCount = 0;
  #payloadBytes = 0;
  /** Runs: log, first offset, and first message, count, flags. */
  readonly #runLogs: Log[] = [];
  readonly #runOffsets: number[] = [];
  #runs = new Int32Array(scratchLength);
  /** Deliveries to logs of other shards, which get blocks of their own. */
  readonly #foreign: { log: Log; message: number; transient: boolean }[] = [];
  /** Distinguishes this block's marks on logs from those of earlier blocks. */
  #serial = 0;

  constructor(store: LogStore) {
    this.#store = store;
  }

  /** Messages so far. */
  get messageCount(): number {
    return this.#messageCount;
  }

  /** What commit() would append so far. */
  get sizeBytes(): number {
    const runCount = this.#runLogs.length + this.#foreign.length;
    return blockHeaderBytes + runCount * runBytes + this.#messageCount * 4 + this.#payloadBytes;
  }

  /**
   * @param form the stored representation that the messages are in, a number of the head that wrote them
   * @param timestampMs when they were received
   */
  begin(form: number, timestampMs: number): void {
    this.reset();
    this.#form = form;
    this.#timestampMs = timestampMs;
  }

  beginMessage(): void {
    if (this.#messageCount === this.#messageEnds.length) this.#messageEnds = grown(this.#messageEnds);
  }

  /** The next bytes of the message: source[start, end), which must not change before commit(). */
  piece(source: Buffer, start: number, end: number): void {
    const last = this.#sources.length - 1;
    this.#payloadBytes += end - start;
    if (last >= 0 && this.#sources[last] === source && this.#sourceRanges[last * 2 + 1] === start) {
      this.#sourceRanges[last * 2 + 1] = end;
      return;
    }
    this.#sources.push(source);
    if (this.#sources.length * 2 > this.#sourceRanges.length) this.#sourceRanges = grown(this.#sourceRanges);
    this.#sourceRanges[last * 2 + 2] = start;
    this.#sourceRanges[last * 2 + 3] = end;
  }

  /** Returns the index of the message in the block. */
  endMessage(): number {
    this.#messageEnds[this.#messageCount] = this.#payloadBytes;
    return this.#messageCount++;
  }

  /**
   * The message goes to this log and gets its next offset. Call in order of messages; once per message and log.
   * @param transient in a queue: recovery drops it, and consumers may have it before it is durable. A topic keeps it: its
   *   subscriptions count what lies between two offsets, so there must be no holes
   */
  deliver(log: Log, message: number, transient: boolean): void {
    if (log.store !== this.#store) {
      this.#foreign.push({ log, message, transient });
      return;
    }
    const flags = transient && log.deletesOnAck ? runTransient : 0;
    if (log.buildSerial === this.#serial) {
      const at = log.buildRun * 3;
      if (this.#runs[at]! + this.#runs[at + 1]! === message && this.#runs[at + 2] === flags) {
        this.#runs[at + 1]!++;
        log.buildNextOffset++;
        return;
      }
    } else {
      log.buildSerial = this.#serial;
      log.buildNextOffset = log.endOffset;
    }
    const run = this.#runLogs.length;
    if ((run + 1) * 3 > this.#runs.length) this.#runs = grown(this.#runs);
    this.#runLogs.push(log);
    this.#runOffsets.push(log.buildNextOffset++);
    this.#runs[run * 3] = message;
    this.#runs[run * 3 + 1] = 1;
    this.#runs[run * 3 + 2] = flags;
    log.buildRun = run;
  }

  /**
   * Appends and applies the block; nothing happens if no message went anywhere. Ready for the next begin() afterwards.
   * Logs of other shards get their part in a commit of their own shard.
   */
  commit(): void {
    if (this.#foreign.length > 0) this.#commitForeign();
    const runCount = this.#runLogs.length;
    if (runCount === 0) {
      this.reset();
      return;
    }
    const messageCount = this.#messageCount;
    const shard = this.#store.shard;
    const start = shard.beginCommit(recordType.messageBlock, 1, this.sizeBytes);
    const buffer = shard.log.reservedBuffer;
    buffer.writeDoubleLE(this.#timestampMs, start);
    buffer.writeUInt32LE(this.#form, start + 8);
    buffer.writeUInt32LE(messageCount, start + 12);
    buffer.writeUInt32LE(runCount, start + 16);
    buffer.writeUInt32LE(this.#payloadBytes, start + 20);
    let at = start + blockHeaderBytes;
    for (let run = 0; run < runCount; run++, at += runBytes) {
      buffer.writeUInt32LE(this.#runLogs[run]!.id, at);
      buffer.writeUInt32LE(run, at + 4);
      buffer.writeDoubleLE(this.#runOffsets[run]!, at + 8);
      buffer.writeUInt32LE(this.#runs[run * 3]!, at + 16);
      buffer.writeUInt32LE(this.#runs[run * 3 + 1]!, at + 20);
      buffer.writeUInt32LE(this.#runs[run * 3 + 2]!, at + 24);
    }
    for (let message = 0; message < messageCount; message++, at += 4)
      buffer.writeUInt32LE(this.#messageEnds[message]!, at);
    for (let i = 0; i < this.#sources.length; i++) {
      const from = this.#sourceRanges[i * 2]!;
      const to = this.#sourceRanges[i * 2 + 1]!;
      this.#sources[i]!.copy(buffer, at, from, to);
      at += to - from;
    }
    this.reset();
    shard.endCommit();
  }

  #commitForeign(): void {
    const targets = new Map<LogStore, { readonly builder: BlockBuilder; source: number; message: number }>();
    for (const { log, message: source, transient } of this.#foreign.splice(0)) {
      let target = targets.get(log.store);
      if (target === undefined) {
        target = { builder: new BlockBuilder(log.store), source: -1, message: -1 };
        target.builder.begin(this.#form, this.#timestampMs);
        targets.set(log.store, target);
      }
      if (target.source !== source) {
        target.builder.beginMessage();
        this.#copyMessage(source, target.builder);
        target.source = source;
        target.message = target.builder.endMessage();
      }
      target.builder.deliver(log, target.message, transient);
    }
    for (const { builder } of targets.values()) builder.commit();
  }

  #copyMessage(message: number, target: BlockBuilder): void {
    const from = message === 0 ? 0 : this.#messageEnds[message - 1]!;
    const to = this.#messageEnds[message]!;
    let sourceFrom = 0;
    for (let i = 0; i < this.#sources.length && sourceFrom < to; i++) {
      const start = this.#sourceRanges[i * 2]!;
      const length = this.#sourceRanges[i * 2 + 1]! - start;
      const low = Math.max(from, sourceFrom);
      const high = Math.min(to, sourceFrom + length);
      if (low < high) target.piece(this.#sources[i]!, start + low - sourceFrom, start + high - sourceFrom);
      sourceFrom += length;
    }
  }

  /** Forgets what was collected. */
  reset(): void {
    this.#serial = blockSerial += 1;
    this.#sources.length = 0;
    this.#runLogs.length = 0;
    this.#runOffsets.length = 0;
    this.#foreign.length = 0;
    this.#messageCount = 0;
    this.#payloadBytes = 0;
  }
}

/** Counts the blocks of all builders of the process, so that a log's mark names one block. */
let blockSerial = 0;
