/** What an inspection of a shard's directory finds, in the order in which it finds it. Offsets are bytes of the file, sizes bytes. */
import type { Position } from '../../core/ids.ts';

/** Something that was durable is not there as it was written, from this byte on. */
export interface DamageItem {
  readonly kind: 'damage';
  readonly file: string;
  readonly offset: number;
  readonly what: string;
}

/** Another version of the program wrote the file: nothing is known about it. */
export interface UnsupportedItem {
  readonly kind: 'unsupported';
  readonly file: string;
  readonly offset: number;
  readonly what: string;
}

export interface CheckpointItem {
  readonly kind: 'checkpoint';
  readonly file: string;
  readonly number: number;
  readonly position: Position;
  /** Sequences of the log files that belong to it. */
  readonly walFiles: readonly number[];
  /** Files of its parts, oldest first; all are whole. */
  readonly parts: readonly string[];
  readonly data: Buffer;
  /** The broker would continue from this one. */
  readonly isNewest: boolean;
}

/** Of another file: the header is whole and names another sequence or log, as after a crash while a file was made ready. */
export type HeaderState = 'ok' | 'damaged' | 'of another file';

export interface WalItem {
  readonly kind: 'wal';
  readonly file: string;
  readonly sequence: number;
  readonly sizeBytes: number;
  readonly header: HeaderState;
  readonly isPrepared: boolean;
}

export interface FrameItem {
  readonly kind: 'frame';
  readonly file: string;
  readonly offset: number;
  readonly sequence: number;
  readonly epoch: number;
  readonly lengthBytes: number;
  readonly durableThrough: number;
  readonly crc: 'ok' | 'damaged';
  /** Broken: it does not follow the frame before it. */
  readonly chain: 'ok' | 'broken';
  /** Commits in it. Their bytes are valid until the next item is asked for. None if the frame is damaged. */
  readonly commits: readonly CommitView[];
}

/** Bytes [start, start + lengthBytes) of buffer. */
export interface CommitView {
  readonly buffer: Buffer;
  readonly start: number;
  readonly lengthBytes: number;
  readonly offset: number;
  readonly position: Position;
}

export interface WalEndItem {
  readonly kind: 'wal-end';
  readonly file: string;
  /** Behind the last frame of the log in it. */
  readonly offset: number;
  readonly frames: number;
  /** Whole frames of an earlier use of the file; not counted in a file that is free. */
  readonly staleFrames: number;
  /** Free: it holds nothing that is wanted and is used again. Ready: made ready for frames that come. */
  readonly use: 'log' | 'free' | 'ready';
}

/** Damage that was accepted: a checkpoint says that nothing of it is wanted any more. */
export interface LostItem {
  readonly kind: 'lost';
  readonly file: string;
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface SegmentItem {
  readonly kind: 'segment';
  readonly file: string;
  readonly id: number;
  readonly sizeBytes: number;
  readonly dataBytes: number;
  readonly pages: number;
  /** Undefined if it is damaged. */
  readonly index: Buffer | undefined;
}

export interface SegmentEndItem {
  readonly kind: 'segment-end';
  readonly file: string;
  /** Pages whose checksum holds; undefined when the checksums themselves are damaged. */
  readonly goodPages: number | undefined;
}

export interface CheckpointPartItem {
  readonly kind: 'checkpoint-part';
  readonly file: string;
  /** A checkpoint that is whole names it; else the next checkpoint removes it. */
  readonly isNamed: boolean;
}

/** Where the log ended when it was closed. */
export interface ClosedItem {
  readonly kind: 'closed';
  readonly file: string;
  readonly position: number;
}

/** A file that the next start removes, or that is none of the shard's. */
export interface OtherItem {
  readonly kind: 'unfinished' | 'unknown';
  readonly file: string;
}

export type WalInspectionItem = WalItem | FrameItem | LostItem | WalEndItem | DamageItem | UnsupportedItem;
export type SegmentInspectionItem = SegmentItem | SegmentEndItem | DamageItem | UnsupportedItem;
export type InspectionItem =
  | CheckpointItem
  | CheckpointPartItem
  | ClosedItem
  | OtherItem
  | WalInspectionItem
  | SegmentInspectionItem;

export const damage = (file: string, offset: number, what: string): DamageItem => ({
  kind: 'damage',
  file,
  offset,
  what,
});

/** What an inspection of one file finds; an error of the system while it is read is damage, and the end of it. */
export async function* untilUnreadable<Item>(
  file: string,
  items: AsyncGenerator<Item>,
): AsyncGenerator<Item | DamageItem> {
  try {
    yield* items;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    yield damage(file, 0, `it cannot be read: ${(error as Error).message}`);
  }
}
