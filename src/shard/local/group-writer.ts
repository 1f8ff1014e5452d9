/**
 * Group commit. Commits are built in place in the arena behind the room for a frame header; all that arrive while a write
 * is under way form the next frame, which is sealed and written, with one call and without a copy, as soon as the write
 * before it is done. With no write under way the frame is written at the end of the turn, so that all commits that one
 * turn of the event loop brings ride together.
 *
 * A frame closes early when it reaches walGroupBytes or the end of its chunk or file; closed frames wait in order. One
 * write at a time keeps the order on disk that of the log: nothing of a frame is written before the one before it is
 * durable. Rejected: several frames in one write (saves nothing once a frame holds a megabyte) and several writes in
 * flight (recovery would have to sort out holes).
 */
import { BrokerError } from '../../core/errors.ts';
import type { Position } from '../../core/ids.ts';
import { Arena, ArenaChunk } from './arena.ts';
import { alignFrame, type Chain, commitPrefixBytes, frameHeaderBytes, sealFrame } from './frame.ts';
import type { FramesEnd, WalFile } from './wal-file.ts';
import { walHeaderBytes } from './wal-file.ts';
import type { WalFiles } from './wal-files.ts';
import { cutsPerRead, openingReserveBytes, type WalLimits } from './wal-limits.ts';

/** A closed frame on its way to the disk. */
interface ClosedFrame {
  readonly chunk: ArenaChunk;
  readonly file: WalFile;
  /** The frame is chunk.buffer[start, end). */
  readonly start: number;
  readonly end: number;
  /** End of its last commit; of the frame itself if it has none. */
  readonly endPosition: Position;
}

interface DurableWaiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface GroupWriterOptions {
  readonly files: WalFiles;
  readonly limits: WalLimits;
  /** A write called back is on disk. */
  readonly durable: boolean;
  readonly onDurable: (durablePosition: Position) => void;
  readonly onFailed: (error: Error) => void;
}

export class GroupWriter {
  readonly arena: Arena;
  readonly #files: WalFiles;
  readonly #limits: WalLimits;
  /** At the end of each file, for frames without content. */
  readonly #reserveBytes: number;
  readonly #options: GroupWriterOptions;
  #salt = 0;
  #chain: Chain = { epoch: 0, nextSequence: 1, previousCrc: 0 };
  /** Last frame sequence known to be on disk. */
  #syncedSequence = 0;

  /** The chunk being filled: [#frameStart, #fill) is the open frame, room for the header included. */
  #chunk = new ArenaChunk(Buffer.alloc(0), 0, 0);
  #frameStart = 0;
  #fill = 0;
  /** A commit that would end beyond it needs another frame, and begins one if it has no content; 0 while none is open. */
  #frameLimit = 0;
  /** The reservation; valid until commit(), abandon() or the next reserve(). */
  reservedBuffer: Buffer = Buffer.alloc(0);
  reservedStart = 0;
  #reservedBytes = -1;

  readonly #closed: ClosedFrame[] = [];
  /** A frame was handed to the file (or waits for the file) and has not been called back. */
  #inFlight: ClosedFrame | undefined;
  #isScheduled = false;
  /** The file has the frame in flight, and has not called back. */
  #isWriting = false;
  #onWriteEnd: () => void = () => {};
  /** Syncs follow one another: a file is not reclaimed under one. */
  #syncing: Promise<void> = Promise.resolve();
  #waiters: DurableWaiter[] = [];
  /** Set once; from then on nothing is reserved or written. */
  #error: BrokerError | undefined;
  endPosition = 0 as Position;
  durablePosition = 0 as Position;
  /** Sequence of the file that holds the end of what is durable. */
  durableFileSequence = 0;

  constructor(options: GroupWriterOptions) {
    this.#options = options;
    this.#files = options.files;
    this.#limits = options.limits;
    this.#reserveBytes = openingReserveBytes(options.limits);
    this.arena = new Arena(options.limits.arenaChunkBytes, options.limits.arenaBytes);
  }

  /** Goes on where recovery ended: behind `offset` in the active file, all before it on disk. */
  start(offset: number, chain: Chain, salt: number): void {
    this.#chain = { ...chain };
    this.#salt = salt;
    this.#syncedSequence = chain.nextSequence - 1;
    const file = this.#files.active;
    const filePosition = file.sequence * this.#limits.walFileBytes;
    const nextPosition = filePosition + alignFrame(offset);
    this.#chunk = new ArenaChunk(Buffer.alloc(0), nextPosition, nextPosition);
    this.endPosition = (filePosition + offset) as Position;
    this.durablePosition = this.endPosition;
    this.durableFileSequence = file.sequence;
  }

  /** See ShardLog. Allocates nothing unless a frame, chunk or file ends. */
  reserve(lengthBytes: number): Position {
    let start = this.#fill + commitPrefixBytes;
    if (start + lengthBytes > this.#frameLimit) start = this.#beginFrame(lengthBytes) + commitPrefixBytes;
    this.reservedStart = start;
    this.#reservedBytes = lengthBytes;
    return (this.#chunk.basePosition + start) as Position;
  }

  commit(): Position {
    const lengthBytes = this.#reservedBytes;
    if (lengthBytes < 0) throw new Error('commit() without reserve()');
    const start = this.reservedStart;
    this.reservedBuffer.writeUInt32LE(lengthBytes, start - commitPrefixBytes);
    this.#fill = start + lengthBytes;
    this.#reservedBytes = -1;
    this.endPosition = (this.#chunk.basePosition + this.#fill) as Position;
    if (this.#inFlight === undefined && !this.#isScheduled) this.#schedule();
    return this.endPosition;
  }

  abandon(): void {
    this.#reservedBytes = -1;
  }

  /** Ends the open frame, so that none has commits of before and of after. Returns where the log ends, and in which file. */
  cut(): { readonly file: WalFile; readonly endOffset: number } {
    if (this.#error !== undefined) throw this.#error;
    if (this.#hasOpenCommits()) this.#closeFrame();
    const file = this.#files.active;
    return { file, endOffset: this.#offsetInFile(file, this.endPosition) };
  }

  /** Where frames will go on, if everything up to `position` is written and nothing came behind it; else undefined. */
  restAt(position: Position): FramesEnd | undefined {
    if (position !== this.endPosition || position !== this.durablePosition) return undefined;
    return { endOffset: this.#offsetInFile(this.#files.active, position), chain: { ...this.#chain } };
  }

  /** Writes a frame without commits; it begins an epoch. Only while nothing else is written. */
  async writeOpeningFrame(epoch: number): Promise<void> {
    this.#chain.epoch = epoch;
    this.#beginFrame(0);
    this.#closeFrame();
    this.#schedule();
    await this.whenDurable(this.endPosition);
  }

  /** Makes room for a commit in a new frame, and returns where its length prefix goes. */
  #beginFrame(lengthBytes: number): number {
    if (this.#error !== undefined) throw this.#error;
    const { walFileBytes, walGroupBytes } = this.#limits;
    const neededBytes = frameHeaderBytes + commitPrefixBytes + lengthBytes;
    const keptBytes = lengthBytes === 0 ? 0 : this.#reserveBytes;
    if (neededBytes > walFileBytes - walHeaderBytes - keptBytes) {
      throw new BrokerError('too-large', `a commit of ${lengthBytes} bytes does not fit into one file of the log`);
    }
    if (this.#hasOpenCommits()) this.#closeFrame();
    let file = this.#files.active;
    let position = this.#chunk.basePosition + this.#frameStart;
    if (position + neededBytes > (file.sequence + 1) * walFileBytes - keptBytes) {
      file = this.#files.roll(this.endPosition - file.sequence * walFileBytes);
      position = file.sequence * walFileBytes + walHeaderBytes;
    }
    if (position + neededBytes > this.#chunk.limitPosition) {
      this.#chunk = this.arena.next(this.endPosition, position, neededBytes, {
        limitPosition: (file.sequence + 1) * walFileBytes,
        durablePosition: this.durablePosition,
      });
      this.reservedBuffer = this.#chunk.buffer;
    }
    this.#openFrame(position - this.#chunk.basePosition, Math.max(neededBytes, walGroupBytes));
    return this.#fill;
  }

  #openFrame(start: number, frameBytesMax: number): void {
    const { walFileBytes } = this.#limits;
    const { basePosition, limitPosition } = this.#chunk;
    const fileEndPosition = (this.#files.active.sequence + 1) * walFileBytes - this.#reserveBytes;
    const end = Math.min(limitPosition, fileEndPosition) - basePosition;
    this.#frameStart = start;
    this.#fill = start + frameHeaderBytes;
    this.#frameLimit = Math.max(this.#fill, Math.min(end, start + frameBytesMax));
  }

  #hasOpenCommits(): boolean {
    return this.#frameLimit > 0 && this.#fill > this.#frameStart + frameHeaderBytes;
  }

  /** Puts the open frame in line for the disk and opens the next one behind it. */
  #closeFrame(): void {
    const chunk = this.#chunk;
    const end = this.#fill;
    const endPosition = (chunk.basePosition + end) as Position;
    this.#closed.push({ chunk, file: this.#files.active, start: this.#frameStart, end, endPosition });
    this.endPosition = endPosition;
    this.#openFrame(alignFrame(end), this.#limits.walGroupBytes);
  }

  #schedule(): void {
    this.#isScheduled = true;
    setImmediate(this.#flush);
  }

  /** Begins the write of the next frame, if there is one and no write is under way. */
  readonly #flush = (): void => {
    this.#isScheduled = false;
    if (this.#inFlight !== undefined || this.#error !== undefined) return;
    // A reservation does not outlive its turn: the room behind the frame is about to become the next header.
    this.#reservedBytes = -1;
    if (this.#closed.length === 0 && this.#hasOpenCommits()) this.#closeFrame();
    const frame = this.#closed.shift();
    if (frame === undefined) return;
    this.#inFlight = frame;
    this.#files.whenReady(frame.file, this.#readyOffset(frame), this.#write);
  };

  /** The file must be there up to here: the reserve behind what was written is, whenever the disk runs full. */
  #readyOffset({ file, start, end, endPosition }: ClosedFrame): number {
    const endOffset = this.#offsetInFile(file, endPosition);
    if (end - start <= frameHeaderBytes + commitPrefixBytes) return endOffset;
    return Math.min(this.#limits.walFileBytes, endOffset + this.#reserveBytes);
  }

  /** Seals the frame in flight and hands it to its file. */
  readonly #write = (): void => {
    if (this.#error !== undefined) return;
    const { chunk, file, start, end } = this.#inFlight!;
    const { epoch, nextSequence, previousCrc } = this.#chain;
    file.chainStart ??= { frameSequence: nextSequence, previousCrc, epoch };
    const fields = { previousCrc, epoch, sequence: nextSequence, durableThrough: this.#syncedSequence };
    this.#chain.previousCrc = sealFrame(chunk.buffer, start, end, fields, this.#salt);
    this.#chain.nextSequence = nextSequence + 1;
    const offset = this.#offsetInFile(file, chunk.basePosition + start);
    file.cuts.note(offset, this.#chain.previousCrc, this.#limits.readAheadBytes / cutsPerRead);
    this.#isWriting = true;
    file.handle!.write(chunk.buffer, start, end - start, offset, this.#onWritten);
  };

  readonly #onWritten = (error: Error | null): void => {
    this.#isWriting = false;
    this.#onWriteEnd();
    if (error !== null) {
      this.fail(error);
      return;
    }
    const { file, endPosition } = this.#inFlight!;
    this.#inFlight = undefined;
    if (this.#options.durable) this.#syncedSequence = this.#chain.nextSequence - 1;
    else if (file.sequence > this.durableFileSequence) void this.syncWritten().catch(() => {});
    this.durablePosition = endPosition;
    this.durableFileSequence = file.sequence;
    this.#flush();
    this.#options.onDurable(endPosition);
    this.#settleWaiters();
  };

  /**
   * Brings all that was written to the disk, which only mode 'os' has not done already. There `durablePosition` means
   * "written"; what is synced is known per file, and recovery relies on that alone.
   */
  syncWritten(): Promise<void> {
    if (this.#options.durable) return Promise.resolve();
    this.#syncing = this.#syncing.then(() => this.#syncFiles());
    return this.#syncing;
  }

  async #syncFiles(): Promise<void> {
    const writtenSequence = this.#chain.nextSequence - (this.#inFlight === undefined ? 1 : 2);
    try {
      for (const file of [...this.#files.files()]) {
        if (file.isSynced || file.handle === undefined) continue;
        const isComplete = file.sequence < this.durableFileSequence;
        await file.handle.sync();
        if (isComplete) file.isSynced = true;
      }
    } catch (error) {
      this.fail(error as Error);
      throw error;
    }
    this.#syncedSequence = Math.max(this.#syncedSequence, writtenSequence);
  }

  /** Once stopped: resolves when no file is being written or synced any more, whatever comes of it. */
  async whenIdle(): Promise<void> {
    if (this.#isWriting) {
      await new Promise<void>((resolve) => {
        this.#onWriteEnd = resolve;
      });
    }
    await this.#syncing.catch(() => {});
  }

  /** Stops for good: what is not durable now never will be. */
  fail(error: Error): void {
    if (this.#error !== undefined) return;
    const failure = new BrokerError('storage-failed', `write-ahead log: ${error.message}`, { cause: error });
    this.stop(failure);
    this.#options.onFailed(failure);
  }

  /** Takes no more commits and writes no more frames; whoever tries gets `reason`. */
  stop(reason: BrokerError): void {
    this.#error ??= reason;
    this.#frameLimit = 0;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#error);
  }

  /** Resolves when durablePosition has reached `position`. For rare use: checkpoints and close. */
  whenDurable(position: number): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (position <= this.durablePosition) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ position, resolve, reject });
    });
  }

  #settleWaiters(): void {
    if (this.#waiters.length === 0) return;
    const isDone = (waiter: DurableWaiter): boolean => waiter.position <= this.durablePosition;
    for (const waiter of this.#waiters.filter(isDone)) waiter.resolve();
    this.#waiters = this.#waiters.filter((waiter) => !isDone(waiter));
  }

  #offsetInFile(file: WalFile, position: number): number {
    return position - file.sequence * this.#limits.walFileBytes;
  }
}
