/**
 * What of a shard's log has moved into segments: which segments belong to the state, and the position below which nothing of the
 * log itself is wanted any more, but for stretches that were left behind because they could not be read. Changed by the
 * records of rewrites (rewrite-record.ts) and by that of a fold, whose payload is
 *
 *   f64 position where the fold begins, f64 where it ends, u32 count of segments, u32 1 if something before it was left
 *   behind since the last fold, else 0, f64 id of each segment
 */
import type { Position } from '../core/ids.ts';
import { recordType } from '../shard/shard.ts';
import type { AdoptedSegment, LogStretch, ShardLog } from '../shard/shard-log.ts';
import type { Log, SegmentRows } from './log.ts';
import { PositionRanges, rewriteNewIds, rewriteOldIds } from './rewrite-record.ts';
import { rowBytes, rowLogId } from './segment-index.ts';

/**
 * Where the last fold ended, the highest id of a segment ever, those in use in the order in which they were folded, and from and
 * to of each stretch that was left behind.
 */
export type SegmentsSnapshot = readonly [
  foldEnd: number,
  lastId: number,
  ids: readonly number[],
  leftBehind: readonly (readonly [from: number, to: number])[],
];

const headBytes = 24;

/** To move anything of a log takes as long as to move so many entries. */
const costOfLog = 20;

export const foldRecordBytes = (segmentCount: number): number => headBytes + 8 * segmentCount;

export interface FoldRecord {
  readonly stretch: LogStretch;
  /** Something before the stretch was left behind. */
  readonly leaves: boolean;
  /** Of segments. */
  readonly ids: readonly number[];
}

export const writeFoldRecord = (buffer: Buffer, start: number, { stretch, leaves, ids }: FoldRecord): void => {
  buffer.writeDoubleLE(stretch.start, start);
  buffer.writeDoubleLE(stretch.end, start + 8);
  buffer.writeUInt32LE(ids.length, start + 16);
  buffer.writeUInt32LE(leaves ? 1 : 0, start + 20);
  for (const [i, id] of ids.entries()) buffer.writeDoubleLE(id, start + headBytes + 8 * i);
};

export const readFoldRecord = (buffer: Buffer, start: number): FoldRecord => ({
  stretch: { start: buffer.readDoubleLE(start) as Position, end: buffer.readDoubleLE(start + 8) as Position },
  leaves: buffer.readUInt32LE(start + 20) === 1,
  ids: Array.from({ length: buffer.readUInt32LE(start + 16) }, (_, i) =>
    buffer.readDoubleLE(start + headBytes + 8 * i),
  ),
});

export class FoldedSegments {
  readonly #shardLog: ShardLog;
  /** Where the last fold ended: entries of the log itself lie at or above it, or in what was left behind. */
  foldEnd = 0 as Position;
  #lastId = 0;
  /** In order, below foldEnd. */
  #leftBehind: (readonly [from: number, to: number])[] = [];
  /** What the last fold or rewrite moved whose entries do not say so yet. */
  #moving: Generator<number> | undefined;
  /** Ids of segments from which a rewrite is moving everything: no part of the state any more. */
  #rewritten: ReadonlySet<number> = new Set();
  /** Rows of the segments of the checkpoint by log id, for logs that the catalog has not told of yet. Empty once recovery is over. */
  readonly #restored = new Map<number, SegmentRows[]>();

  constructor(shardLog: ShardLog) {
    this.#shardLog = shardLog;
  }

  /** True if what lay there has moved into a segment, or was not wanted any more. */
  isFolded(position: number): boolean {
    return position < this.foldEnd && !this.#leftBehind.some(([from, to]) => position >= from && position < to);
  }

  snapshot(): SegmentsSnapshot {
    const ids = this.#shardLog.liveSegments.filter((id) => !this.#rewritten.has(id));
    return [this.foldEnd, this.#lastId, ids, this.#leftBehind];
  }

  restore([foldEnd, lastId, ids, leftBehind]: SegmentsSnapshot): void {
    this.foldEnd = foldEnd as Position;
    this.#shardLog.skipSegmentIds(lastId);
    this.#lastId = lastId;
    this.#leftBehind = [...leftBehind];
    for (const id of ids) {
      for (const [logId, rows] of rowsByLog(this.#shardLog.adoptSegment(id))) {
        const others = this.#restored.get(logId);
        if (others === undefined) this.#restored.set(logId, [rows]);
        else others.push(rows);
      }
    }
  }

  /** Gives the log its entries in the segments of the checkpoint. What is settled must be known by now. */
  restoreLog(log: Log): void {
    log.restoreRows(this.#restored.get(log.id) ?? []);
  }

  endRecovery(): void {
    this.#restored.clear();
  }

  /**
   * After a fold or rewrite that was made just now moves() is to follow.
   * @param isReplay messages that the protocol called transient are dropped
   */
  apply(type: number, buffer: Buffer, start: number, logs: ReadonlyMap<number, Log>, isReplay: boolean): void {
    this.#moving =
      type === recordType.rewrite
        ? this.#applyRewrite(buffer, start, logs, isReplay)
        : this.#applyFold(readFoldRecord(buffer, start), logs, isReplay);
    this.#moving.next();
    if (isReplay) for (const _ of this.moves());
  }

  /**
   * Moves the entries of the last fold or rewrite, bit by bit; each time about how many. Until one is moved it is read from where it was,
   * and held there. What a checkpoint says is the same meanwhile.
   */
  *moves(): Generator<number> {
    if (this.#moving !== undefined) yield* this.#moving;
    this.#moving = undefined;
  }

  /** The first step is the fold itself. */
  *#applyFold(
    { stretch, leaves, ids }: FoldRecord,
    logs: ReadonlyMap<number, Log>,
    isReplay: boolean,
  ): Generator<number> {
    // The record of a fold before this one may be lost: what that one moved is still in the log.
    if (leaves || this.#shardLog.acceptsDamage) this.#leave(this.foldEnd, stretch.start);
    this.foldEnd = stretch.end;
    const segments = this.#adopt(ids);
    // With a lost segment all that the fold moved is still in the log.
    if (segments === undefined) this.#leave(stretch.start, stretch.end);
    yield* this.#move(segments ?? [], logs, (log, rows) => log.applyFold(stretch, rows, isReplay));
  }

  /** The first step is the rewrite itself. */
  *#applyRewrite(buffer: Buffer, start: number, logs: ReadonlyMap<number, Log>, isReplay: boolean): Generator<number> {
    const oldIds = rewriteOldIds(buffer, start);
    // One of which nothing was wanted any more when the commit was made may be gone.
    const old = new PositionRanges(oldIds.map((id) => this.#shardLog.segments.rangeOf(id)));
    const segments = this.#adopt(rewriteNewIds(buffer, start));
    // With a lost segment all that the rewrite moved is still in the old ones.
    if (segments === undefined) return;
    this.#rewritten = new Set(oldIds);
    yield* this.#move(segments, logs, (log, rows) => log.applyRewrite(old, rows, isReplay));
    this.#rewritten = new Set();
  }

  /** The first step holds the segments until the entries of the logs do. */
  *#move(
    segments: readonly AdoptedSegment[],
    logs: ReadonlyMap<number, Log>,
    apply: (log: Log, rows: SegmentRows) => Generator<number>,
  ): Generator<number> {
    for (const { basePosition } of segments) this.#shardLog.hold(basePosition);
    yield 0;
    for (const segment of segments) {
      for (const [logId, rows] of rowsByLog(segment)) {
        const log = logs.get(logId);
        yield costOfLog;
        if (log !== undefined) yield* apply(log, rows);
      }
    }
    for (const { basePosition } of segments) this.#shardLog.release(basePosition);
  }

  /** Undefined if one of them is lost, and that is accepted. */
  #adopt(ids: readonly number[]): AdoptedSegment[] | undefined {
    this.#lastId = Math.max(this.#lastId, ...ids);
    const segments = ids.map((id) => this.#shardLog.adoptSegment(id)).filter((segment) => segment !== undefined);
    return segments.length === ids.length ? segments : undefined;
  }

  #leave(from: number, to: number): void {
    if (from < to) this.#leftBehind.push([from, to]);
  }
}

/** The rows of a segment, log by log; none of one that is lost. */
function* rowsByLog(segment: AdoptedSegment | undefined): Generator<[logId: number, rows: SegmentRows]> {
  if (segment === undefined) return;
  const rows = segment.index.length / rowBytes;
  let to = 0;
  for (let from = 0; from < rows; from = to) {
    const id = rowLogId(segment.index, from);
    to = from + 1;
    while (to < rows && rowLogId(segment.index, to) === id) to++;
    yield [id, { segment, from, to }];
  }
}
