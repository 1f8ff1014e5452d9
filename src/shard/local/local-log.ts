/**
 * The local write-ahead log: ShardLog over the files of one directory. This file joins the parts, each of which owns one
 * kind of state: group-writer.ts (open frame, order of writes), arena.ts (memory), wal-files.ts (files in use, prepared,
 * reclaimed), recovery.ts (found at open), checkpoint-store.ts, log-reads.ts, segment-files.ts (what folds have moved).
 *
 * Opening writes a frame without commits that carries the new epoch. It is durable before open() resolves, so no two
 * opens ever serve under one epoch; and it proves by its durableThrough that all before it is on disk.
 *
 * One process, one open log per directory: a log that failed must be closed before another is opened in its place, for
 * its background work may still be writing.
 */
import { type Clock, systemClock } from '../../core/clock.ts';
import { BrokerError } from '../../core/errors.ts';
import type { Epoch, Position } from '../../core/ids.ts';
import { type Random, systemRandom } from '../../core/random.ts';
import type { Storage } from '../../storage/storage.ts';
import {
  type AdoptedSegment,
  type Checkpoint,
  type CheckpointPieces,
  type Chunk,
  type Durability,
  isSegmentPosition,
  type LogStretch,
  type OpenProgress,
  type ReplayCommit,
  type RestorePiece,
  type SegmentWriter,
  type ShardLog,
  type ShardLogOpened,
  type StretchReader,
} from '../shard-log.ts';
import { checkpointFiles, fileTable, knowsPlaces } from './checkpoint-file.ts';
import { CheckpointStore, ownSection } from './checkpoint-store.ts';
import { removeClosedMark, writeClosedMark } from './closed-mark.ts';
import { GroupWriter } from './group-writer.ts';
import { backupOf, type LogBackup } from './log-backup.ts';
import { LogReads } from './log-reads.ts';
import { operatingError } from './operating-error.ts';
import { Recovery } from './recovery.ts';
import { ReplayProgress } from './replay-progress.ts';
import { SegmentFiles } from './segment-files.ts';
import type { WalFile } from './wal-file.ts';
import { WalFiles } from './wal-files.ts';
import {
  checkpointEveryFiles,
  checkpointReserveBytes,
  checkpointRetryMs,
  closingCheckpointShare,
  diskBlockBytes,
  smallSegmentBytes,
  type WalLimits,
  walLimits,
} from './wal-limits.ts';

export interface LocalLogOptions {
  /** The directory of this log alone. */
  readonly storage: Storage;
  /** 'sync': durable is on disk. 'os': durable is in the page cache, and survives the process but not the machine. */
  readonly durability: Durability;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly limits?: Partial<WalLimits>;
  /** Open over damage, with what is left. What is lost is told in one line each. */
  readonly onLoss?: ((what: string) => void) | undefined;
}

type State = 'new' | 'opening' | 'open' | 'closing' | 'failed' | 'closed';

export class LocalLog implements ShardLog {
  readonly #storage: Storage;
  readonly #durable: boolean;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #limits: WalLimits;
  readonly #onLoss: ((what: string) => void) | undefined;
  readonly #files: WalFiles;
  readonly #writer: GroupWriter;
  readonly #reads: LogReads;
  readonly segments: SegmentFiles;
  readonly #checkpoints: CheckpointStore;
  #state: State = 'new';
  /** Nobody waits any more for space that may come. */
  #isToBeClosed = false;
  #checkpointing: Promise<void> | undefined;
  /** After a failed checkpoint, until another one is wanted. */
  #checkpointRetry: { cancel(): void } | undefined;
  /** Damage was accepted, and no checkpoint says so yet. */
  #hasLoss = false;
  /** During replay: end of the commit being replayed. */
  #replayPosition = 0;

  onDurable: (durablePosition: Position) => void = () => {};
  onFailed: (error: Error) => void = () => {};
  onRoomChanged: (hasRoom: boolean) => void = () => {};
  onCheckpointDue: () => void = () => {};
  onProgress: (progress: OpenProgress) => void = () => {};

  constructor(options: LocalLogOptions) {
    this.#storage = options.storage;
    this.#durable = options.durability === 'sync';
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#limits = walLimits(options.limits);
    const { onLoss } = options;
    this.#onLoss =
      onLoss &&
      ((what) => {
        this.#hasLoss = true;
        onLoss(what);
      });
    this.#files = new WalFiles({
      storage: options.storage,
      limits: this.#limits,
      clock: this.#clock,
      durable: this.#durable,
      onRoomChanged: (hasRoom) => this.onRoomChanged(hasRoom),
      onPrepareFailed: (error) => {
        // Whoever opens or closes waits for that write; a log at work goes on without room.
        if (this.#state !== 'open' || this.#isToBeClosed) this.#writer.fail(error);
      },
    });
    this.#writer = new GroupWriter({
      files: this.#files,
      limits: this.#limits,
      durable: this.#durable,
      onDurable: (durablePosition) => {
        if (this.#isServing) this.onDurable(durablePosition);
      },
      onFailed: (error) => this.#fail(error),
    });
    this.#reads = new LogReads({
      files: this.#files,
      writer: this.#writer,
      walFileBytes: this.#limits.walFileBytes,
      readAheadBytes: this.#limits.readAheadBytes,
    });
    this.segments = new SegmentFiles({
      storage: options.storage,
      readAheadBytes: this.#limits.readAheadBytes,
      smallBytes: smallSegmentBytes(this.#limits),
    });
    this.#checkpoints = new CheckpointStore({
      storage: options.storage,
      makeRoom: () => this.#files.sacrificeUpcoming(),
    });
  }

  async open(
    onCheckpoint: (checkpoint: Checkpoint | undefined) => void,
    replay: ReplayCommit,
    onPiece: RestorePiece = () => {},
  ): Promise<ShardLogOpened> {
    if (this.#state !== 'new') throw new Error('a log is opened once');
    this.#state = 'opening';
    try {
      const progress = new ReplayProgress(this.#limits.walFileBytes);
      const recovery = new Recovery({
        storage: this.#storage,
        walFileBytes: this.#limits.walFileBytes,
        readAheadBytes: this.#limits.readAheadBytes,
        durable: this.#durable,
        random: this.#random,
        onLoss: this.#onLoss,
        onProgress: (told) => this.onProgress(told),
        onFile: (file) => this.#files.adopt(file),
        onCheckpoint: async (checkpoint) => {
          // With damage accepted all is read, as something of it may be lost.
          const usesPlaces = checkpoint !== undefined && knowsPlaces(checkpoint) && !this.acceptsDamage;
          if (usesPlaces) await this.#checkpoints.restoreOwn(checkpoint, this.#restoreOwnPiece);
          await this.segments.open((done, whole) => this.onProgress({ what: 'segments', done, whole }));
          if (checkpoint === undefined) return onCheckpoint(undefined);
          onCheckpoint({ ...checkpoint, knowsPlaces: usesPlaces });
          await this.#checkpoints.restore(checkpoint, usesPlaces, onPiece, this.onProgress);
        },
        replay: (buffer, start, lengthBytes, position, epoch) => {
          this.#replayPosition = position + lengthBytes;
          progress.replaying(position, this.usedBytes, this.onProgress);
          replay(buffer, start, lengthBytes, position, epoch);
        },
      });
      const found = await recovery.run();
      await removeClosedMark(this.#storage);
      for (const file of this.#files.files()) file.isSynced = file !== this.#files.active;
      this.#reads.salt = found.salt;
      await this.#checkpoints.start({
        salt: found.salt,
        lastNumber: found.lastCheckpointNumber,
        newest: found.checkpoint,
        givenUp: found.givenUpCheckpoints,
      });
      const epoch = (found.chain.epoch + 1) as Epoch;
      this.#writer.start(found.endOffset, found.chain, found.salt);
      this.#files.start(found);
      await this.#writer.writeOpeningFrame(epoch);
      await this.#writer.syncWritten();
      await this.segments.removeOrphans();
      this.#state = 'open';
      const { lostBytes, lostBefore } = found;
      const loss = this.#hasLoss ? { bytes: lostBytes, before: lostBefore as Position } : undefined;
      return { epoch, checkpoint: found.checkpoint, loss };
    } catch (error) {
      this.#state = 'failed';
      this.#writer.stop(new BrokerError('closing', 'the log could not be opened'));
      await this.#writer.whenIdle();
      await this.#files.stop();
      await this.segments.close();
      throw operatingError(error);
    }
  }

  get #isServing(): boolean {
    return this.#state === 'open' || this.#state === 'closing';
  }

  #fail(error: Error): void {
    if (!this.#isServing) return;
    this.#state = 'failed';
    this.onFailed(error);
  }

  get durablePosition(): Position {
    return this.#writer.durablePosition;
  }

  get endPosition(): Position {
    return this.#writer.endPosition;
  }

  reserve(lengthBytes: number): Position {
    return this.#writer.reserve(lengthBytes);
  }

  get reservedBuffer(): Buffer {
    return this.#writer.reservedBuffer;
  }

  get reservedStart(): number {
    return this.#writer.reservedStart;
  }

  commit(): Position {
    return this.#writer.commit();
  }

  abandon(): void {
    this.#writer.abandon();
  }

  chunkAt(position: Position, lengthBytes?: number): Chunk | undefined {
    const chunk = this.#writer.arena.find(position);
    if (chunk !== undefined || lengthBytes === undefined) return chunk;
    if (isSegmentPosition(position)) return this.segments.find(position, lengthBytes);
    return this.#reads.find(position, lengthBytes);
  }

  async load(position: Position, lengthBytes: number, aheadBytes?: number): Promise<Chunk> {
    if (this.#state === 'closed') throw new BrokerError('closing', 'the log is closed');
    if (isSegmentPosition(position)) {
      return await this.segments.load(position, lengthBytes, aheadBytes);
    }
    return await this.#reads.load(position, lengthBytes, aheadBytes);
  }

  hold(position: Position): void {
    if (isSegmentPosition(position)) this.segments.hold(position);
    else this.#files.hold(position);
  }

  release(position: Position, count = 1): void {
    if (isSegmentPosition(position)) this.segments.release(position, count, this.#appliedPosition);
    else this.#files.release(position, count, this.#appliedPosition);
  }

  stretchOf(position: Position): LogStretch {
    return isSegmentPosition(position) ? this.segments.stretchOf(position) : this.#files.stretchOf(position);
  }

  /** End of the commit that is being applied. */
  get #appliedPosition(): number {
    return this.#state === 'opening' ? this.#replayPosition : this.#writer.endPosition;
  }

  get acceptsDamage(): boolean {
    return this.#onLoss !== undefined;
  }

  /** The oldest file, once the log is half full: what is short-lived never comes so far. */
  foldable(from: Position, wanted = false): LogStretch | undefined {
    if (this.#state !== 'open' || !(wanted || this.usedBytes * 2 > this.limitBytes)) return undefined;
    const file = this.#files.oldestHeld(Math.ceil(from / this.#limits.walFileBytes));
    if (file === undefined || file.sequence >= this.#writer.durableFileSequence) return undefined;
    const start = file.sequence * this.#limits.walFileBytes;
    return { start: start as Position, end: (start + file.endOffset) as Position };
  }

  openStretch({ start }: LogStretch): StretchReader {
    return this.#reads.openFileAt(start);
  }

  createSegment(): Promise<SegmentWriter> {
    return this.segments.create();
  }

  async freeBytes(): Promise<number> {
    return (await this.#storage.freeBytes()) - checkpointReserveBytes(this.#limits);
  }

  adoptSegment(id: number): AdoptedSegment | undefined {
    try {
      return this.segments.adopt(id, this.#appliedPosition);
    } catch (error) {
      const isAccepted = error instanceof BrokerError && error.kind === 'corrupt' && this.#onLoss !== undefined;
      if (!isAccepted || this.#state !== 'opening') throw error;
      this.#onLoss?.(`${error.message}: all messages in it that are not in the log as well`);
      return undefined;
    }
  }

  skipSegmentIds(id: number): void {
    this.segments.skipIds(id);
  }

  get liveSegments(): readonly number[] {
    return this.segments.liveIds();
  }

  get hasRoom(): boolean {
    return this.#files.hasRoom;
  }

  get usedBytes(): number {
    return this.#files.usedBytes;
  }

  get limitBytes(): number {
    return this.#limits.walBytesMax;
  }

  /**
   * A checkpoint pays if it frees as much as it writes, if the log is half full and it frees anything, or if recovery
   * would have much to replay.
   */
  get wantsCheckpoint(): boolean {
    if (this.#state !== 'open' || this.#checkpointing !== undefined || this.#checkpointRetry !== undefined)
      return false;
    const { endPosition, durableFileSequence } = this.#writer;
    if (this.#unfoldedBytes >= checkpointEveryFiles * this.#limits.walFileBytes) return true;
    if (this.#hasLoss) return true;
    const nextPosition = endPosition + 1;
    const freedBytes =
      this.#files.reclaimableBytes(nextPosition, durableFileSequence) + this.segments.reclaimableBytes(nextPosition);
    if (freedBytes === 0) return false;
    return (
      freedBytes + diskBlockBytes >= this.#checkpoints.nextBytes ||
      this.usedBytes * 2 > this.limitBytes ||
      !this.hasRoom
    );
  }

  /** Bytes that the next open would replay. */
  get #unfoldedBytes(): number {
    return this.#writer.endPosition - (this.#checkpoints.position ?? this.#limits.walFileBytes);
  }

  get needsBase(): boolean {
    return this.#checkpoints.needsBase;
  }

  get wantsClosingCheckpoint(): boolean {
    if (this.#state !== 'open') return false;
    if (this.wantsCheckpoint || (this.wantsPlaces && !this.#checkpoints.knowsPlaces)) return true;
    return this.#unfoldedBytes >= closingCheckpointShare * this.#limits.walFileBytes;
  }

  /** There is something that the next open would read for nothing else. */
  get wantsPlaces(): boolean {
    const { walFileBytes } = this.#limits;
    const activeBytes = this.#writer.endPosition - this.#files.active.sequence * walFileBytes;
    return (
      this.#files.sealedCount > 0 || this.segments.usedBytes > 0 || activeBytes >= closingCheckpointShare * walFileBytes
    );
  }

  async writeCheckpoint(checkpoint: Checkpoint, pieces?: CheckpointPieces): Promise<void> {
    if (this.#checkpointing !== undefined) throw new Error('a checkpoint is being written');
    if (checkpoint.position > this.#writer.endPosition) throw new RangeError('checkpoint beyond the end of the log');
    this.#checkpointing = this.#writeCheckpoint(checkpoint, pieces);
    try {
      await this.#checkpointing;
    } catch (error) {
      this.#retryCheckpointLater();
      throw error;
    } finally {
      this.#checkpointing = undefined;
    }
  }

  #retryCheckpointLater(): void {
    if (this.#state !== 'open' || this.#checkpointRetry !== undefined) return;
    this.#checkpointRetry = this.#clock.after(checkpointRetryMs, () => {
      this.#checkpointRetry = undefined;
      this.onCheckpointDue();
    });
  }

  async #writeCheckpoint(checkpoint: Checkpoint, pieces: CheckpointPieces | undefined): Promise<void> {
    const { position } = checkpoint;
    let reclaimed: Set<WalFile> = new Set();
    let reclaimedSegments: readonly number[] = [];
    await this.#checkpoints.write(checkpoint, pieces && this.#withOwnPieces(pieces, position), async () => {
      await this.#writer.whenDurable(position);
      await this.#writer.syncWritten();
      const { durableFileSequence } = this.#writer;
      reclaimed = this.#files.reclaimable(position, durableFileSequence);
      reclaimedSegments = this.segments.reclaimable(position);
      return fileTable(this.#files.files(), durableFileSequence, reclaimed);
    });
    this.#hasLoss = false;
    await this.#files.reclaim(reclaimed);
    await this.segments.reclaim(reclaimedSegments);
    if (reclaimedSegments.length > 0) this.#files.retryNow();
  }

  /** Behind the places comes what else it takes to pass over files at open. */
  #withOwnPieces(pieces: CheckpointPieces, position: Position): CheckpointPieces {
    const { isBase, placeSection } = pieces;
    if (placeSection === undefined) return pieces;
    const own = [
      () => ({ section: placeSection + ownSection.cuts, bytes: this.#files.cuts(this.#writer.restAt(position)) }),
      () => ({ section: placeSection + ownSection.segments, bytes: this.segments.table() }),
    ];
    return { isBase, placeSection, next: () => pieces.next() ?? own.shift()?.() };
  }

  readonly #restoreOwnPiece = (section: number, piece: Buffer): void => {
    if (section === ownSection.cuts) this.#files.restoreCuts(piece);
    else this.segments.restoreTable(piece);
  };

  /** Everything up to here, as it lies on disk once it is durable. Whoever calls releases it. */
  beginBackup(): LogBackup {
    const checkpoint = this.#checkpoints.keep();
    const backup = backupOf(this.#files, this.segments, this.#writer.cut());
    return {
      files: async () => [
        ...(checkpoint === undefined ? [] : await checkpointFiles(this.#storage, checkpoint)),
        ...(await backup.files()),
      ],
      release: () => {
        this.#checkpoints.letGo();
        return backup.release();
      },
    };
  }

  beginClose(): void {
    this.#isToBeClosed = true;
    this.#files.retryNow();
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.beginClose();
    this.#checkpointRetry?.cancel();
    if (this.#state === 'open') {
      this.#state = 'closing';
      await this.#writer
        .whenDurable(this.#writer.endPosition)
        .then(() => this.#writer.syncWritten())
        .catch(() => {});
    }
    await this.#checkpointing?.catch(() => {});
    const { durablePosition, endPosition } = this.#writer;
    const isWhole = this.#state === 'closing' && durablePosition === endPosition;
    this.#state = 'closed';
    this.#writer.stop(new BrokerError('closing', 'the log is closed'));
    await this.#writer.whenIdle();
    await this.#reads.whenIdle();
    await this.#files.stop();
    await this.segments.close();
    // Without it the next open takes a little longer.
    if (isWhole) await writeClosedMark(this.#storage, endPosition).catch(() => {});
  }
}
