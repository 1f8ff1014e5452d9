/**
 * The set of files of one log: those that hold frames (in use), those prepared for the frames to come (upcoming), and
 * those reclaimed, which become upcoming ones or are removed. One background loop prepares, recycles and removes, one
 * step at a time; it alone creates and renames files. If it cannot prepare (disk full) the log has no room until all
 * files that should be ready are, while the active file, prepared before, still takes what drains. A next file is begun only
 * if the disk has room for all of it: what would be left over without it is for checkpoints, which free more.
 *
 * How far ahead: the active file of a fresh log is zeroed a quarter of a file ahead of the frames, so that start is
 * immediate and an idle log small; once an eighth of it is written, it and a next file are prepared in full.
 */
import type { Clock } from '../../core/clock.ts';
import { BrokerError } from '../../core/errors.ts';
import type { Position } from '../../core/ids.ts';
import type { Storage } from '../../storage/storage.ts';
import { PieceReader, PieceWriter } from '../piece.ts';
import type { LogStretch } from '../shard-log.ts';
import { FrameCuts } from './frame-cuts.ts';
import { closeZeroHandle, type PrepareContext, prepareHeader, removeIfThere, zeroStep } from './prepare-file.ts';
import { type FramesEnd, WalFile } from './wal-file.ts';
import {
  checkpointReserveBytes,
  prepareRetryMsMax,
  prepareRetryMsMin,
  spareFilesMax,
  spareFilesMin,
  type WalLimits,
} from './wal-limits.ts';

export interface WalFilesOptions {
  readonly storage: Storage;
  readonly limits: WalLimits;
  readonly clock: Clock;
  readonly durable: boolean;
  readonly onRoomChanged: (hasRoom: boolean) => void;
  /** A file that a write waits for could not be prepared; it is tried again. */
  readonly onPrepareFailed: (error: Error) => void;
}

/** What recovery found beside the files in use. */
export interface FoundFiles {
  readonly salt: number;
  /** Prepared files that follow the active one without a gap. */
  readonly upcoming: readonly WalFile[];
  /** Names of files that hold nothing wanted. */
  readonly reclaimed: readonly string[];
}

interface ReadyWait {
  readonly file: WalFile;
  readonly endOffset: number;
  readonly callback: () => void;
}

export class WalFiles {
  readonly #options: WalFilesOptions;
  readonly #walFileBytes: number;
  #context: PrepareContext;
  /** Files in use by sequence - #firstSequence; reclaimed ones in the middle are undefined. The first and last are not. */
  #inUse: Array<WalFile | undefined> = [];
  #firstSequence = 0;
  #inUseCount = 0;
  #active = new WalFile(0);
  /** Sequences follow that of the active file. */
  readonly #upcoming: WalFile[] = [];
  /** Active or later files that are not zeroed to their end yet, in order of sequence. */
  #unprepared: WalFile[] = [];
  /** Names of reclaimed files. */
  readonly #reclaimed: string[] = [];
  /** Sealed files with nothing held in them; what the next checkpoint can free. */
  #unheld: WalFile[] = [];
  /** The writer waits for at most one file. */
  #waiting: ReadyWait | undefined;
  #hasRoom = true;
  #prepareHasFailed = false;
  #retryMs = prepareRetryMsMin;
  #retryTimer: { cancel(): void } | undefined;
  /** The run of the background loop under way. */
  #running: Promise<void> | undefined;
  /** Something may be to do since the loop looked last. */
  #isKicked = false;
  /** The loop is not to start: a name is being freed. */
  #isPaused = false;
  #isStopped = false;

  constructor(options: WalFilesOptions) {
    this.#options = options;
    this.#walFileBytes = options.limits.walFileBytes;
    this.#context = { storage: options.storage, walFileBytes: this.#walFileBytes, salt: 0, durable: options.durable };
  }

  get active(): WalFile {
    return this.#active;
  }

  get hasRoom(): boolean {
    return this.#hasRoom;
  }

  get usedBytes(): number {
    return this.#inUseCount * this.#walFileBytes;
  }

  /** Files in use but for the active one. */
  get sealedCount(): number {
    return this.#inUseCount - 1;
  }

  /**
   * How the files are cut: sequence of each, its cuts, and 0; behind the cuts of the active file, which is among them if it is told where
   * its frames end, come that offset and the chain there.
   */
  cuts(activeEnd: FramesEnd | undefined): Buffer {
    const out = new PieceWriter();
    for (const file of this.files()) {
      if (file === this.#active && activeEnd === undefined) continue;
      out.count(file.sequence);
      file.cuts.write(out);
      if (file === this.#active) writeFramesEnd(out, activeEnd!);
      else out.count(0);
    }
    return out.take();
  }

  /** Of files that are in use. */
  restoreCuts(piece: Buffer): void {
    const reader = new PieceReader(piece, 0);
    while (!reader.isAtEnd) {
      const file = this.#inUse[reader.count() - this.#firstSequence];
      const cuts = FrameCuts.read(reader);
      const end = readFramesEnd(reader);
      if (file === undefined) continue;
      file.restoredCuts = cuts;
      file.restoredEnd = end;
    }
  }

  /** Adds a file in use, in order of sequence. The last one added is the active one. */
  adopt(file: WalFile): void {
    if (this.#inUseCount === 0) this.#firstSequence = file.sequence;
    this.#inUse[file.sequence - this.#firstSequence] = file;
    this.#inUseCount++;
    this.#active = file;
  }

  /** Starts the background loop, once all files in use are adopted. Files without a handle are prepared first. */
  start(found: FoundFiles): void {
    this.#context = { ...this.#context, salt: found.salt };
    this.#upcoming.push(...found.upcoming);
    for (const file of found.upcoming) file.wantedBytes = this.#walFileBytes;
    this.#reclaimed.push(...found.reclaimed);
    for (const file of [this.#active, ...this.#upcoming]) {
      if (file.readyBytes < this.#walFileBytes) this.#unprepared.push(file);
    }
    this.#unheld = [...this.files()].filter((file) => file !== this.#active && file.holdCount === 0);
    this.#updateRoom();
    this.#kick();
  }

  /** The file in use that holds this position. */
  fileAt(position: number): WalFile | undefined {
    return this.#inUse[Math.floor(position / this.#walFileBytes) - this.#firstSequence];
  }

  /** The oldest file, of this sequence or a later one, in which something is held. */
  oldestHeld(sequence: number): WalFile | undefined {
    return this.#inUse.find((file) => file !== undefined && file.sequence >= sequence && file.holdCount > 0);
  }

  /** Files in use, in order of sequence. */
  *files(): Generator<WalFile> {
    for (const file of this.#inUse) if (file !== undefined) yield file;
  }

  /** Seals the active file, whose frames end at `endOffset`, and returns the next one. */
  roll(endOffset: number): WalFile {
    const sealed = this.#active;
    sealed.endOffset = endOffset;
    if (sealed.holdCount === 0) this.#unheld.push(sealed);
    let next = this.#upcoming.shift();
    if (next === undefined) {
      next = new WalFile(sealed.sequence + 1);
      this.#unprepared.push(next);
    }
    this.adopt(next);
    this.#updateRoom();
    this.#kick();
    return next;
  }

  /** Calls back, now or later, when frames may be written up to endOffset. One call at a time. */
  whenReady(file: WalFile, endOffset: number, callback: () => void): void {
    const aheadBytes = endOffset * 8 > this.#walFileBytes ? this.#walFileBytes : this.#walFileBytes >>> 2;
    const wantedBytes = Math.min(this.#walFileBytes, endOffset + aheadBytes);
    const needsUpcoming = wantedBytes === this.#walFileBytes && file === this.#active && this.#upcoming.length === 0;
    const isReady = file.readyBytes >= endOffset && file.handle !== undefined;
    if (!isReady) this.#waiting = { file, endOffset, callback };
    if (needsUpcoming || wantedBytes > file.wantedBytes) {
      file.wantedBytes = Math.max(file.wantedBytes, wantedBytes);
      if (needsUpcoming) this.#addUpcoming(undefined);
      this.#kick();
    }
    if (isReady) callback();
    else if (this.#retryTimer !== undefined) this.retryNow();
  }

  hold(position: number): void {
    const file = this.#heldFile(position);
    if (file.holdCount === 0 && file !== this.#active && this.#unheld.length > 0) {
      this.#unheld = this.#unheld.filter((unheld) => unheld !== file);
    }
    file.holdCount++;
  }

  /** Takes `count` holds back that the file of this position has. */
  release(position: number, count: number, endPosition: number): void {
    const file = this.#heldFile(position);
    if (file.holdCount < count) throw new Error(`position ${position} released more often than held`);
    file.holdCount -= count;
    if (file.holdCount > 0) return;
    file.releasedAt = endPosition;
    if (file !== this.#active) this.#unheld.push(file);
  }

  stretchOf(position: number): LogStretch {
    const start = this.#heldFile(position).sequence * this.#walFileBytes;
    return { start: start as Position, end: (start + this.#walFileBytes) as Position };
  }

  #heldFile(position: number): WalFile {
    const file = this.fileAt(position);
    if (file === undefined) throw new Error(`position ${position} lies in no file of the log`);
    return file;
  }

  /** Bytes that a checkpoint at `position` would free of files before the one with `durableSequence`. */
  reclaimableBytes(position: number, durableSequence: number): number {
    let fileCount = 0;
    for (const file of this.#unheld) if (this.#isReclaimable(file, position, durableSequence)) fileCount++;
    return fileCount * this.#walFileBytes;
  }

  /** The files that a checkpoint at `position` may leave out. */
  reclaimable(position: number, durableSequence: number): Set<WalFile> {
    return new Set(this.#unheld.filter((file) => this.#isReclaimable(file, position, durableSequence)));
  }

  /**
   * The state at `position` refers to nothing in the file if its last hold was released before the last commit that the
   * state contains. (Whether release() is called before or after that commit is appended does not matter.)
   */
  #isReclaimable(file: WalFile, position: number, durableSequence: number): boolean {
    return (
      file.releasedAt < position &&
      file.sequence < durableSequence &&
      file.sequence * this.#walFileBytes + file.endOffset <= position
    );
  }

  /** Gives the files back, once a durable checkpoint leaves them out. */
  async reclaim(files: Set<WalFile>): Promise<void> {
    for (const file of files) {
      this.#inUse[file.sequence - this.#firstSequence] = undefined;
      this.#inUseCount--;
    }
    this.#unheld = this.#unheld.filter((file) => !files.has(file));
    while (this.#inUse[0] === undefined) {
      this.#inUse.shift();
      this.#firstSequence++;
    }
    this.#updateRoom();
    for (const file of files) if (file.readCount === 0) await this.#giveBack(file);
  }

  beginRead(file: WalFile): void {
    file.readCount++;
  }

  async endRead(file: WalFile): Promise<void> {
    file.readCount--;
    if (file.readCount === 0 && this.fileAt(file.sequence * this.#walFileBytes) !== file) await this.#giveBack(file);
  }

  async #giveBack(file: WalFile): Promise<void> {
    this.#unprepared = this.#unprepared.filter((unprepared) => unprepared !== file);
    await this.#closeHandles(file);
    if (this.#isStopped) return;
    this.#reclaimed.push(file.name);
    this.retryNow();
  }

  /** What failed is tried again at once: the disk has more space than before, or somebody cannot wait. */
  retryNow(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    this.#kick();
  }

  /** Frees disk space for a checkpoint by removing a file prepared but unused. False if there is none. */
  async sacrificeUpcoming(): Promise<boolean> {
    while (this.#running !== undefined) await this.#running;
    const last = this.#upcoming.pop();
    if (last === undefined || this.#isStopped) return false;
    this.#isPaused = true;
    try {
      this.#unprepared = this.#unprepared.filter((unprepared) => unprepared !== last);
      await this.#closeHandles(last);
      await removeIfThere(this.#options.storage, last.recycledFrom ?? last.name);
      return true;
    } finally {
      this.#isPaused = false;
      // One in its place is tried later, which gives the checkpoint time; until then there is no room.
      if (this.#upcoming.length === 0) this.#addUpcoming(undefined);
      this.#retryLater(true);
    }
  }

  /** Stops the background loop and closes all files. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retryTimer?.cancel();
    await this.#running;
    for (const file of [...this.files(), ...this.#upcoming]) await this.#closeHandles(file);
  }

  async #closeHandles(file: WalFile): Promise<void> {
    const handle = file.handle;
    file.handle = undefined;
    await closeZeroHandle(file).catch(() => {});
    await handle?.close().catch(() => {});
  }

  #addUpcoming(recycledFrom: string | undefined): void {
    const file = new WalFile(this.#active.sequence + this.#upcoming.length + 1);
    file.wantedBytes = this.#walFileBytes;
    file.recycledFrom = recycledFrom;
    this.#upcoming.push(file);
    this.#unprepared.push(file);
  }

  #kick(): void {
    this.#isKicked = true;
    if (this.#running !== undefined || this.#isStopped || this.#isPaused || this.#retryTimer !== undefined) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#isKicked) this.#kick();
    });
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.#isKicked = false;
      const file = this.#nextToPrepare();
      try {
        if (file !== undefined) await this.#prepare(file);
        else if (this.#reclaimed.length > 0) await this.#disposeReclaimed();
        else return;
        this.#retryMs = prepareRetryMsMin;
      } catch (error) {
        if (file !== undefined && (await this.#relieve(file))) continue;
        this.#retryLater(file !== undefined && this.#isNeeded(file));
        if (file !== undefined && this.#waiting?.file === file) this.#options.onPrepareFailed(error as Error);
        return;
      }
    }
  }

  /** What is waited for comes first, and last what is only spared work for later. */
  #nextToPrepare(): WalFile | undefined {
    const due = this.#unprepared.filter((each) => this.#isDue(each));
    const waitedFor = due.find((each) => each === this.#waiting?.file);
    const needed = waitedFor ?? due.find((each) => this.#isNeeded(each));
    return needed ?? (this.#reclaimed.length > 0 ? undefined : due[0]);
  }

  get #lacksFile(): boolean {
    return this.#unprepared.some((each) => this.#isDue(each) && this.#isNeeded(each));
  }

  /** Frames are to come into it. */
  #isNeeded(file: WalFile): boolean {
    return file.sequence >= this.#active.sequence || file === this.#waiting?.file;
  }

  /** After a failure to prepare `file`: uses a reclaimed file for it, or its space. False if nothing could be done. */
  async #relieve(file: WalFile): Promise<boolean> {
    const name = this.#reclaimed[0];
    if (name === undefined || file.recycledFrom !== undefined) return false;
    try {
      if (file.chainStart === undefined) {
        await this.#closeHandles(file);
        file.readyBytes = 0;
        file.recycledFrom = name;
      } else {
        await this.#options.storage.remove(name);
      }
      this.#reclaimed.shift();
      return true;
    } catch {
      return false;
    }
  }

  async #prepare(file: WalFile): Promise<void> {
    try {
      if (file.handle === undefined) await this.#begin(file);
      else await zeroStep(file, this.#context, this.#waiting?.file === file ? this.#waiting.endOffset : 0);
    } finally {
      this.#continueWaiting(file);
    }
    if (file.readyBytes === this.#walFileBytes) {
      this.#unprepared = this.#unprepared.filter((unprepared) => unprepared !== file);
    }
    if (this.#lacksFile) return;
    this.#prepareHasFailed = false;
    this.#updateRoom();
  }

  async #begin(file: WalFile): Promise<void> {
    if (file !== this.#active && file.recycledFrom === undefined) {
      const freeBytes = await this.#options.storage.freeBytes();
      if (freeBytes < this.#walFileBytes + checkpointReserveBytes(this.#options.limits)) {
        throw new BrokerError('storage-full', `the disk has ${freeBytes} bytes left, too few for ${file.name}`);
      }
    }
    await prepareHeader(file, this.#context);
  }

  #continueWaiting(file: WalFile): void {
    const waiting = this.#waiting;
    if (waiting === undefined || waiting.file !== file || file.readyBytes < waiting.endOffset) return;
    if (file.handle === undefined) return;
    this.#waiting = undefined;
    waiting.callback();
  }

  /** True if the file is not as ready as it is wanted, or its last step did not come to its end. */
  #isDue(file: WalFile): boolean {
    return file.handle === undefined || file.readyBytes < file.wantedBytes || file.readyBytes === this.#walFileBytes;
  }

  async #disposeReclaimed(): Promise<void> {
    const name = this.#reclaimed[0]!;
    const spareCount = this.#upcoming.length;
    if (spareCount < spareFilesMin || (spareCount < spareFilesMax && (await this.#hasRoomForFullLog()))) {
      this.#addUpcoming(name);
    } else {
      await removeIfThere(this.#options.storage, name);
    }
    this.#reclaimed.shift();
  }

  async #hasRoomForFullLog(): Promise<boolean> {
    return (await this.#options.storage.freeBytes()) >= this.#options.limits.walBytesMax;
  }

  #retryLater(wasPreparing: boolean): void {
    if (wasPreparing) {
      this.#prepareHasFailed = true;
      this.#updateRoom();
    }
    if (this.#isStopped || this.#retryTimer !== undefined) return;
    this.#retryTimer = this.#options.clock.after(this.#retryMs, () => {
      this.#retryTimer = undefined;
      this.#kick();
    });
    this.#retryMs = Math.min(prepareRetryMsMax, this.#retryMs * 2);
  }

  #updateRoom(): void {
    const { walBytesMax, walReserveBytes } = this.#options.limits;
    const hasRoom = !(this.#prepareHasFailed && this.#lacksFile) && this.usedBytes <= walBytesMax - walReserveBytes;
    if (hasRoom === this.#hasRoom) return;
    this.#hasRoom = hasRoom;
    this.#options.onRoomChanged(hasRoom);
  }
}

const writeFramesEnd = (out: PieceWriter, { endOffset, chain }: FramesEnd): void => {
  out.count(endOffset);
  out.count(chain.nextSequence);
  out.u32(chain.previousCrc);
  out.u32(chain.epoch);
};

const readFramesEnd = (reader: PieceReader): FramesEnd | undefined => {
  const endOffset = reader.count();
  if (endOffset === 0) return undefined;
  return { endOffset, chain: { nextSequence: reader.count(), previousCrc: reader.u32(), epoch: reader.u32() } };
};
