/**
 * Folding: what is still wanted of the oldest stretch of the shard's log is copied into segments, and one commit moves the logs'
 * entries there; the stretch is then held by nobody. Messages that were settled before are never written again.
 *
 *   stretch of the log -> per log, in order of offset: what is live -> segments, synced -> commit -> the entries move
 *
 * A stretch that is damaged stays where it is, with all that is in it and can still be read, and the next one is folded.
 *
 * It runs between other turns of the event loop in small slices. Whatever happens to the logs meanwhile (acks, deletions) is
 * taken into account when the commit is applied.
 */
import type { Clock } from '../core/clock.ts';
import { BrokerError } from '../core/errors.ts';
import type { Position } from '../core/ids.ts';
import { recordType } from '../shard/shard.ts';
import type { LogStretch } from '../shard/shard-log.ts';
import type { AckSet } from './ack-set.ts';
import { batchBytes } from './batch-header.ts';
import { runDistance, runFirstMessage, runFirstOffset, runFlags, runIndex, runTransient } from './block.ts';
import { foldRecordBytes, writeFoldRecord } from './folded-segments.ts';
import { builtInSubscription, type Log } from './log.ts';
import type { LogStore } from './log-store.ts';
import { SegmentOutput } from './segment-output.ts';

/** A log with more than this in one fold gets a segment of its own. */
const ownSegmentBytes = 4 * 1024 * 1024;
/** What one slice may copy; a message counts as some bytes more than it has. */
const sliceBytes = 512 * 1024;
const messageCostBytes = 50;
const retryMs = 1_000;
/** A stretch that cannot be read so often, by errors of the system, is left behind like a damaged one. */
const readAttemptsMax = 3;

export interface FolderOptions {
  readonly store: LogStore;
  readonly clock: Clock;
  /** A fold could not be made; it is tried again, and told again only when it fails in another way. */
  readonly onFailed: (error: Error) => void;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Folder {
  readonly #options: FolderOptions;
  #running: Promise<void> | undefined;
  /** After a failure, until it is tried again. */
  #isPaused = false;
  /** Why the last fold could not be made: told once, however often it is tried. */
  #failure = '';
  /** What lies before it is not folded by this process, if it is not yet: stretches that were left behind. */
  #leftUpTo = 0 as Position;
  /** Of the stretch to be folded next, in a row. */
  #failedReads = 0;
  #isClosed = false;

  constructor(options: FolderOptions) {
    this.#options = options;
  }

  /** Begins a fold if the log is full enough and none is under way. */
  check(): void {
    const { store, clock, onFailed } = this.#options;
    if (this.#running !== undefined || this.#isPaused || this.#isClosed) return;
    const leaves = this.#leftUpTo > store.foldEnd;
    const stretch = store.shard.log.foldable(leaves ? this.#leftUpTo : store.foldEnd);
    if (stretch === undefined) return;
    this.#running = new Fold(store, stretch, leaves, () => this.#isClosed).run().then(
      () => {
        this.#running = undefined;
        this.#failure = '';
        this.#failedReads = 0;
      },
      (error: Error) => {
        this.#running = undefined;
        if (this.#isClosed) return;
        if (error.message !== this.#failure) onFailed(error);
        this.#failure = error.message;
        if (this.#isToBeLeft(error)) {
          this.#failedReads = 0;
          this.#leftUpTo = stretch.end;
          this.check();
          return;
        }
        this.#isPaused = true;
        clock.after(retryMs, () => {
          this.#isPaused = false;
          this.check();
        });
      },
    );
  }

  #isToBeLeft(error: Error): boolean {
    if (!(error instanceof UnreadableStretch)) return false;
    return error.isDamaged || ++this.#failedReads >= readAttemptsMax;
  }

  /** Resolves when nothing is under way; a fold that was is given up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
  }
}

/** What is to be folded cannot be read. */
class UnreadableStretch extends Error {
  readonly isDamaged: boolean;

  constructor(cause: Error) {
    super(`${cause.message}; messages that lie there stay there`, { cause });
    this.isDamaged = cause instanceof BrokerError && cause.kind === 'corrupt';
  }
}

/** A log and what it has in the stretch. */
interface Share {
  readonly log: Log;
  readonly liveBytes: number;
}

class Fold {
  readonly #store: LogStore;
  readonly #stretch: LogStretch;
  /** Something before the stretch was left behind. */
  readonly #leaves: boolean;
  readonly #isCancelled: () => boolean;
  #bytes: Buffer = Buffer.alloc(0);
  #shared: SegmentOutput | undefined;
  readonly #outputs: SegmentOutput[] = [];
  #sliceBytesLeft = sliceBytes;

  constructor(store: LogStore, stretch: LogStretch, leaves: boolean, isCancelled: () => boolean) {
    this.#store = store;
    this.#stretch = stretch;
    this.#leaves = leaves;
    this.#isCancelled = isCancelled;
  }

  async run(): Promise<void> {
    const { shard } = this.#store;
    const shares = this.#shares();
    const neededBytes = shares.reduce((bytes, { liveBytes }) => bytes + liveBytes, 0);
    if ((await shard.log.freeBytes()) < neededBytes) {
      throw new BrokerError('storage-full', 'the disk is too full to move messages out of the write-ahead log');
    }
    this.#bytes = await shard.log.readStretch(this.#stretch).catch((error: Error) => {
      throw new UnreadableStretch(error);
    });
    const ids = await this.#writeSegments(shares).catch(async (error: unknown) => {
      await this.#abandon();
      throw error;
    });
    if (this.#isCancelled()) await this.#abandon();
    else this.#commit(ids);
  }

  /** The logs that have something in the stretch, in order, and about how much: what is settled later is left out. */
  #shares(): Share[] {
    const logs = [...this.#store.logs].filter((log) => this.#firstEntry(log) >= 0);
    return logs.sort((left, right) => left.id - right.id).map((log) => ({ log, liveBytes: this.#liveBytes(log) }));
  }

  /** Index of the log's first entry in the stretch, -1 if it has none there. */
  #firstEntry(log: Log): number {
    const entry = log.firstEntryFrom(this.#stretch.start);
    return entry < log.entryCount && log.entryPosition(entry) < this.#stretch.end ? entry : -1;
  }

  #liveBytes(log: Log): number {
    let bytes = 0;
    for (let entry = this.#firstEntry(log); entry < log.entryCount; entry++) {
      if (log.entryPosition(entry) >= this.#stretch.end) break;
      if (log.entryIsLive(entry)) bytes += log.entrySizeBytes(entry);
    }
    return bytes;
  }

  /** Ids of the segments, all durable. */
  async #writeSegments(shares: readonly Share[]): Promise<number[]> {
    for (const share of shares) {
      await this.#foldLog(share);
      if (this.#isCancelled()) return [];
    }
    const ids: number[] = [];
    for (const output of this.#outputs) ids.push(await output.finish());
    return ids;
  }

  #commit(ids: readonly number[]): void {
    const { shard } = this.#store;
    const at = shard.beginCommit(recordType.fold, 1, foldRecordBytes(ids.length));
    writeFoldRecord(shard.log.reservedBuffer, at, { stretch: this.#stretch, leaves: this.#leaves, ids });
    shard.endCommit();
  }

  async #abandon(): Promise<void> {
    for (const output of this.#outputs) await output.abandon();
  }

  async #foldLog({ log, liveBytes }: Share): Promise<void> {
    const isLeft = (): boolean => !log.deleted && this.#firstEntry(log) >= 0;
    if (!isLeft()) return;
    const isOwn = liveBytes > ownSegmentBytes;
    const output = isOwn ? await this.#newOutput() : (this.#shared ??= await this.#newOutput());
    // Others have had their turn meanwhile.
    if (!isLeft()) return;
    let offset = log.entryFirstOffset(this.#firstEntry(log));
    while (!log.deleted && !this.#isCancelled()) {
      const entry = log.findEntry(offset);
      if (entry < 0 || log.entryPosition(entry) >= this.#stretch.end) return;
      offset = log.entryEndOffset(entry);
      if (log.entryIsLive(entry)) this.#copyEntry(log, entry, output);
      if (this.#sliceBytesLeft <= 0) await this.#endSlice(output);
    }
  }

  async #newOutput(): Promise<SegmentOutput> {
    const output = new SegmentOutput(await this.#store.shard.log.createSegment());
    this.#outputs.push(output);
    return output;
  }

  async #endSlice(output: SegmentOutput): Promise<void> {
    this.#sliceBytesLeft = sliceBytes;
    if (output.pendingBytes >= sliceBytes) await output.flush();
    else await nextTurn();
  }

  #copyEntry(log: Log, entry: number, output: SegmentOutput): void {
    const at = log.entryPosition(entry) - this.#stretch.start;
    if (log.entryIsBatch(entry)) {
      output.batch(log.id, this.#bytes, at);
      this.#sliceBytesLeft -= batchBytes(this.#bytes, at) + messageCostBytes;
      return;
    }
    const end = log.entryEndOffset(entry);
    const acks = log.deletesOnAck ? log.subscriptions.get(builtInSubscription)! : undefined;
    let from = nextLive(acks, log.entryFirstOffset(entry));
    while (from < end) {
      const to = Math.min(end, acks?.nextSettled(from) ?? end);
      this.#copyMessages(log, at, from, to, output);
      from = nextLive(acks, to);
    }
  }

  /** Messages [from, to) of the run at `run`. */
  #copyMessages(log: Log, run: number, from: number, to: number, output: SegmentOutput): void {
    const buffer = this.#bytes;
    const pendingBytes = output.pendingBytes;
    output.messages({
      logId: log.id,
      epoch: log.epochAt(from),
      isTransient: (runFlags(buffer, run) & runTransient) !== 0,
      buffer,
      block: run - runDistance(runIndex(buffer, run)),
      firstMessage: runFirstMessage(buffer, run) + from - runFirstOffset(buffer, run),
      count: to - from,
      firstOffset: from,
    });
    this.#sliceBytesLeft -= output.pendingBytes - pendingBytes + (to - from) * messageCostBytes;
  }
}

const nextLive = (acks: AckSet | undefined, offset: number): number => acks?.nextOpen(offset) ?? offset;
