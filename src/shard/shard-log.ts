/**
 * ShardLog: the seam to durability. A shard appends commits, learns when they are durable and reads them back by
 * position. Two kinds of implementation are foreseen, the local write-ahead log (`local/`) and a chain of immutable
 * objects; both must pass `shard-log-contract.ts`. Nothing above this seam may assume a local file.
 *
 * A commit is opaque bytes, atomic: after a crash it is there whole or not at all, and none is there without all earlier
 * ones. A position counts bytes over the whole life of the shard; commits are contiguous within themselves, gaps may lie
 * between them.
 */
import type { Epoch, Position } from '../core/ids.ts';

/** A piece of memory that holds a stretch of the log. Byte p of the log is `buffer[p - basePosition]`. */
export interface Chunk {
  readonly buffer: Buffer;
  readonly basePosition: Position;
  /**
   * While pinned, the memory is not reused; otherwise a view is good for this turn only. Whoever hands one to a socket pins, and
   * unpins when it is flushed.
   */
  pin(): void;
  unpin(): void;
}

/** Stands where no chunk is held. */
export const noChunk: Chunk = { buffer: Buffer.alloc(0), basePosition: 0 as Position, pin: () => {}, unpin: () => {} };

export type Durability = 'sync' | 'os';

export interface Checkpoint {
  /** Everything before it is contained in `data` and in the pieces. */
  readonly position: Position;
  /** What is small, and stored with every checkpoint. */
  readonly data: Buffer;
  /**
   * Given by open(): its pieces say where messages lie, in the log and in segments. Commits before its position need not be replayed
   * for that.
   */
  readonly knowsPlaces?: boolean;
}

/** The larger part of a checkpoint, which is stored bit by bit. */
export interface CheckpointPieces {
  /** True: they are all of the state. False: what has changed since the last checkpoint, and is read after that one's pieces. */
  readonly isBase: boolean;
  /**
   * Pieces of this section are no part of the state but say where messages lie that come before the position, or in segments; no
   * section is higher.
   * Undefined if there are none. They are good for this checkpoint only.
   */
  readonly placeSection?: number | undefined;
  /**
   * The next piece, undefined after the last one. Called once in a while, never twice in one turn of the event loop. An empty one
   * is not stored: there was work to do, and there is more.
   */
  next(): CheckpointPiece | undefined;
}

export interface CheckpointPiece {
  /** Counted from 0; never falls from one piece to the next. */
  readonly section: number;
  /** Must not change until the next call. */
  readonly bytes: Buffer;
}

/**
 * Called for each piece of a checkpoint: those of one section after the other, within it in the order in which they were stored; of
 * the section of places only if the checkpoint knows them.
 */
export type RestorePiece = (section: number, bytes: Buffer) => void;

/**
 * How far open() has come with what it is at: in bytes, or files if it opens segments. The whole is a guess that may grow.
 *
 * verify: the files of a checkpoint are checked. salvage: the log is searched for what is left, as damage is accepted. segments: their
 * ends are read. checkpoint: the state is restored from it. log: what is behind it is replayed.
 */
export interface OpenProgress {
  readonly what: 'verify' | 'salvage' | 'segments' | 'checkpoint' | 'log';
  readonly done: number;
  readonly whole: number;
}

/** Called for each commit found at open, in order of position. The bytes are valid only during the call. */
export type ReplayCommit = (
  buffer: Buffer,
  start: number,
  lengthBytes: number,
  position: Position,
  epoch: Epoch,
) => void;

export interface ShardLogOpened {
  readonly epoch: Epoch;
  readonly checkpoint: Checkpoint | undefined;
  /** Something that had been durable is gone, as whoever opens has accepted: a checkpoint is to be written now. */
  readonly loss: LogLoss | undefined;
}

/** What is missing in the state that was replayed. */
export interface LogLoss {
  /** At most so many bytes of commits behind the checkpoint are lost; 0 if only what the checkpoint knows of is. */
  readonly bytes: number;
  /** They lay before this position. */
  readonly before: Position;
}

/** Positions in segments begin here, those of the log itself are lower. */
export const segmentPositionsFrom = 2 ** 51;

/** True for a position in a segment, false for one in the log itself. */
export const isSegmentPosition = (position: number): boolean => position >= segmentPositionsFrom;

/** Positions [start, end) of the log. */
export interface LogStretch {
  readonly start: Position;
  readonly end: Position;
}

/** Whole commits of a stretch, in memory: byte p of the log is `buffer[p - start]`. */
export interface StretchPiece {
  readonly buffer: Buffer;
  readonly start: Position;
  readonly end: Position;
}

/** Reads a stretch that is being folded, anywhere and as often as it takes; it is not given back meanwhile. */
export interface StretchReader {
  /**
   * The commit at this position and some of what lies around it, checked against its checksums. In memory that the next call
   * uses again. Rejects as load() does.
   */
  read(position: Position): Promise<StretchPiece>;
  close(): Promise<void>;
}

/** Writes one segment: immutable bytes beside the log, into which a fold moves what is wanted for longer. */
export interface SegmentWriter {
  /** Bytes appended so far. */
  readonly sizeBytes: number;
  /** What is read together should have no more bytes than this, so that a read brings several such pieces. */
  readonly entryBytes: number;
  /** Appends buffer[start, end), which must not change before this resolves. One call at a time. */
  append(buffer: Buffer, start: number, end: number): Promise<void>;
  /**
   * Stores the index along with it and makes everything durable. Resolves with the id of the segment, which nobody had before;
   * it is an orphan, and forgotten by the next open, until a commit that names it is applied and adopts it.
   * @param wantedBytes of what was appended, as SegmentUses counts it: so many at least
   */
  finish(index: Buffer, wantedBytes: number): Promise<number>;
  /** Gives up; nothing remains. Also after an error of append() or finish(). */
  abandon(): Promise<void>;
}

/** A segment that belongs to the state. */
export interface AdoptedSegment {
  /**
   * Position of its first byte, above every position of the log; chunkAt(), load(), hold() and release() take such positions as
   * well. Not the same after another open, unless its checkpoint knows places.
   */
  readonly basePosition: Position;
  /** As it was given to finish(); empty if the checkpoint of open() knows the places of what is in the segment. */
  readonly index: Buffer;
}

/** What of a segment is wanted. */
export interface SegmentUse {
  readonly id: number;
  /** Bytes of the messages in it that are wanted. */
  readonly liveBytes: number;
}

/** What is wanted of the adopted segments. */
export interface SegmentUses {
  /** Of what is held in the segment at this position so many bytes more are wanted; fewer if negative. One in the log is passed over. */
  addLiveBytes(position: Position, bytes: number): void;
  /**
   * Segments that are worth being written anew. Called at intervals: those in which so little is wanted at this call and was
   * at the one before (what is being consumed is soon gone altogether), and all small ones when there are many. None of `except`.
   */
  findSparse(except: ReadonlySet<number>): readonly SegmentUse[];
  /** The positions of an adopted segment; undefined if there is none with this id. */
  rangeOf(id: number): LogStretch | undefined;
  /** The index of an adopted segment, as it was given to finish(). Rejects as load() does, or with the error of the system. */
  readIndex(id: number): Promise<Buffer>;
}

export interface ShardLog {
  /**
   * Fences earlier owners, makes what was found durable, then replays: the checkpoint is handed over first, with its pieces,
   * then every commit still held, also those before the checkpoint's position (their messages are still wanted; the shard
   * tells them apart by position). All callbacks may call hold() and release(). Rejects with BrokerError 'corrupt' if durable
   * data is damaged; whatever was replayed before a rejection is to be forgotten.
   */
  open(
    onCheckpoint: (checkpoint: Checkpoint | undefined) => void,
    replay: ReplayCommit,
    onPiece?: RestorePiece,
  ): Promise<ShardLogOpened>;
  /** Called now and then while open() is under way. */
  onProgress: (progress: OpenProgress) => void;

  /** All commits that end at or below it are durable. */
  readonly durablePosition: Position;
  /** End of the last commit. */
  readonly endPosition: Position;

  /**
   * Room for one commit of exactly `lengthBytes`, to be filled at reservedBuffer[reservedStart…] and followed by commit() or
   * abandon() in the same turn of the event loop. Returns the position of its first byte. The room lies in the arena: the
   * bytes are written and served from there.
   */
  reserve(lengthBytes: number): Position;
  readonly reservedBuffer: Buffer;
  readonly reservedStart: number;
  /** Appends the reserved commit and returns the position of its end. The write is issued at the end of the turn. */
  commit(): Position;
  abandon(): void;

  /**
   * The piece of memory that holds the commit at this position, if it is cached. With lengthBytes also pieces that load()
   * brought in are searched, for one that holds all of [position, position + lengthBytes). Pin it across reserve().
   */
  chunkAt(position: Position, lengthBytes?: number): Chunk | undefined;
  /**
   * Reads [position, position + lengthBytes) from storage, and as much behind it as is good for a sequential reader. Only for
   * durable positions. The piece comes pinned: unpin it when it is not wanted any more. A reader that keeps it until it needs
   * something else says how many bytes it would like (`aheadBytes`), and gets fewer when such readers hold much already.
   */
  load(position: Position, lengthBytes: number, aheadBytes?: number): Promise<Chunk>;

  /** Called once per group with the new durablePosition. */
  onDurable: (durablePosition: Position) => void;
  /** Called once: the log has failed and takes no more commits; nothing beyond durablePosition may be told to anyone. */
  onFailed: (error: Error) => void;
  /** Called when hasRoom changes. */
  onRoomChanged: (hasRoom: boolean) => void;

  /**
   * Data at this position is wanted after a checkpoint has passed it (counted). The last release of a stretch frees it at
   * the next checkpoint beyond the commit that caused the release, so no checkpoint refers to what is gone. Several holds may be
   * released at once if stretchOf() is the same for all.
   */
  hold(position: Position): void;
  release(position: Position, count?: number): void;
  /** The file of the log, or the segment, that the position lies in. */
  stretchOf(position: Position): LogStretch;

  /** What commits name may be lost: whoever opened the log has accepted that. */
  readonly acceptsDamage: boolean;

  /**
   * The first stretch of the log at or behind `from` that is to be folded into segments, durable and written to its end; undefined
   * while there is none, or while the log is not full enough to need it and it is not `wanted`. Nothing is held between `from` and it.
   */
  foldable(from: Position, wanted?: boolean): LogStretch | undefined;
  /** Of such a stretch; one reader at a time. */
  openStretch(stretch: LogStretch): StretchReader;
  createSegment(): Promise<SegmentWriter>;
  /** What segments may still take of the disk, in bytes; Infinity if unknown. */
  freeBytes(): Promise<number>;
  /**
   * Makes the segment a part of the state: called when the commit that names it is applied, live or at open, and for the segments
   * of the checkpoint. Hold its positions in the same turn. One that is live but not adopted when open() ends is removed.
   * Undefined when it is missing or damaged, and whoever opened the log has accepted that.
   * @throws BrokerError 'corrupt' when it is missing or damaged
   */
  adoptSegment(id: number): AdoptedSegment | undefined;
  /** No segment is given this id or a lower one: commits may still name one that is gone. Only before open() has ended. */
  skipSegmentIds(id: number): void;
  /** Ids of the adopted segments in which something is held, ascending; a checkpoint must name them. */
  readonly liveSegments: readonly number[];
  /** How much of them is wanted, and what it takes to write anew those of which little is. */
  readonly segments: SegmentUses;

  /** False while only draining (acks, deletes, offset commits, checkpoints) may append; the rest is a reserve. */
  readonly hasRoom: boolean;
  /** Bytes of log files in use, and the most that may be. */
  readonly usedBytes: number;
  readonly limitBytes: number;
  /**
   * True when a checkpoint behind one more commit would free space or shorten recovery; the shard then calls writeCheckpoint.
   * It may change with each commit, and with onCheckpointDue.
   */
  readonly wantsCheckpoint: boolean;
  /** True: the pieces of the next checkpoint must be a base. */
  readonly needsBase: boolean;
  /** True when a checkpoint before close() would make the next open() faster. */
  readonly wantsClosingCheckpoint: boolean;
  /** True when it would be made so by the places of messages in that checkpoint. */
  readonly wantsPlaces: boolean;
  /** Called when a checkpoint that could not be stored may be tried again. */
  onCheckpointDue: () => void;
  /**
   * Stores a fold of all state before `checkpoint.position`, once that position is durable; then space that nobody holds
   * before it comes back. Without pieces there are none.
   */
  writeCheckpoint(checkpoint: Checkpoint, pieces?: CheckpointPieces): Promise<void>;

  /** close() will follow: from now on the log fails if what was committed has to wait for space. */
  beginClose(): void;
  /**
   * Resolves when all that was committed is durable, or cannot become so, and files are closed. A failed log is closed
   * before another is opened in its place: its background work may still be writing.
   */
  close(): Promise<void>;
}
