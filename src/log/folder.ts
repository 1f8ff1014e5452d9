/**
 * What goes on in the background with a shard's storage, one thing at a time: folds (fold.ts), when the log is full enough, and
 * rewrites (rewrite.ts), for which the segments are looked at in intervals.
 *
 * A stretch of the log that is damaged stays where it is, with all that is in it and can still be read, and the next one is folded.
 */
import type { Clock } from '../core/clock.ts';
import { isDamage } from '../core/errors.ts';
import type { Position } from '../core/ids.ts';
import { limits } from '../core/limits.ts';
import { ReusedMemory } from '../core/reused-memory.ts';
import type { SegmentUse } from '../shard/shard-log.ts';
import { Fold, UnreadableStretch } from './fold.ts';
import type { LogStore } from './log-store.ts';
import { Rewrite } from './rewrite.ts';

const retryMs = 1_000;
/** A stretch or segment that cannot be read so often, by errors of the system, is left behind like a damaged one. */
const readAttemptsMax = 3;

export interface FolderOptions {
  readonly store: LogStore;
  readonly clock: Clock;
  /** A fold could not be made; it is tried again, and told again only when it fails in another way. */
  readonly onFoldFailed: (error: Error) => void;
  /** The same for rewrites, but what could not be read is left alone. */
  readonly onRewriteFailed: (error: Error) => void;
}

export class Folder {
  readonly #options: FolderOptions;
  #running: Promise<void> | undefined;
  /** After a failed fold, until it is tried again. */
  #isPaused = false;
  /** Why the last fold and the last rewrite could not be made: told once, however often they are tried. */
  #foldFailure = '';
  #rewriteFailure = '';
  /** What lies before it is not folded by this process, if it is not yet: stretches that were left behind. */
  #leftUpTo = 0 as Position;
  /** Of the stretch to be folded next, in a row. */
  #failedReads = 0;
  /** Ids of segments that could not be read: left alone for as long as this process lives. */
  readonly #unreadable = new Set<number>();
  /** How often segments could not be read. */
  readonly #failedSegmentReads = new Map<number, number>();
  /** Of folds. */
  readonly #memory = new ReusedMemory();
  #timer: { cancel(): void } | undefined;
  /** Of the failed fold. */
  #retryTimer: { cancel(): void } | undefined;
  #isClosed = false;

  constructor(options: FolderOptions) {
    this.#options = options;
  }

  /** Once, when the shard is open. */
  start(): void {
    this.check();
    this.#checkSegmentsLater();
  }

  /** Begins a fold if the log is full enough and nothing is under way. */
  check(): void {
    const { store, clock, onFoldFailed } = this.#options;
    if (this.#running !== undefined || this.#isPaused || this.#isClosed) return;
    const leaves = this.#leftUpTo > store.foldEnd;
    const stretch = store.shard.log.foldable(leaves ? this.#leftUpTo : store.foldEnd, store.wantsFold);
    if (stretch === undefined) return;
    const fold = new Fold({ store, stretch, leaves, isCancelled: () => this.#isClosed, memory: this.#memory });
    this.#running = fold.run().then(
      () => {
        this.#running = undefined;
        this.#foldFailure = '';
        this.#failedReads = 0;
      },
      (error: Error) => {
        this.#running = undefined;
        if (this.#isClosed) return;
        if (error.message !== this.#foldFailure) onFoldFailed(error);
        this.#foldFailure = error.message;
        if (this.#isToBeLeft(error)) {
          this.#failedReads = 0;
          this.#leftUpTo = stretch.end;
          this.check();
          return;
        }
        this.#isPaused = true;
        this.#retryTimer = clock.after(retryMs, () => {
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

  #checkSegmentsLater(): void {
    this.#timer = this.#options.clock.after(limits.segmentCheckMs, () => {
      this.#checkSegments();
      this.#checkSegmentsLater();
    });
  }

  #checkSegments(): void {
    const { store, onRewriteFailed } = this.#options;
    const sources = withinLimit(store.shard.log.segments.findSparse(this.#unreadable));
    if (sources.length === 0 || this.#running !== undefined) return;
    const rewrite = new Rewrite(store, sources, () => this.#isClosed);
    this.#running = rewrite.run().then(
      () => {
        this.#running = undefined;
        this.#rewriteFailure = '';
        this.check();
      },
      (error: Error) => {
        this.#running = undefined;
        if (this.#isClosed) return;
        if (rewrite.unreadable !== undefined) this.#noteUnreadable(rewrite.unreadable.id, error);
        if (error.message !== this.#rewriteFailure) onRewriteFailed(error);
        this.#rewriteFailure = error.message;
        this.check();
      },
    );
  }

  #noteUnreadable(id: number, error: Error): void {
    const failedReads = (this.#failedSegmentReads.get(id) ?? 0) + 1;
    this.#failedSegmentReads.set(id, failedReads);
    if (isDamage(error) || failedReads >= readAttemptsMax) this.#unreadable.add(id);
  }

  /** Resolves when nothing is under way; what was is given up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#retryTimer?.cancel();
    await this.#running;
  }
}

/** As many of them, one at least, as one rewrite may copy. */
const withinLimit = (segments: readonly SegmentUse[]): SegmentUse[] => {
  const taken: SegmentUse[] = [];
  let bytes = 0;
  for (const segment of segments) {
    bytes += segment.liveBytes;
    if (taken.length > 0 && bytes > limits.rewriteBytesMax) break;
    taken.push(segment);
  }
  return taken;
};
