/**
 * One file of the write-ahead log: its name, its header and what is known about it while it is in use.
 *
 * Position = sequence * walFileBytes + offset in the file, so a position names its file by a division. The file begins
 * with a block of 512 bytes; little-endian:
 *
 *      0  8 bytes  magic 'RMQWAL' + 2 bytes format version
 *      8  u64      file sequence
 *     16  u32      walFileBytes
 *     20  u32      salt of the log
 *     24  u32      crc32c of the 24 bytes before
 *    256  8 bytes  marker 'PREPARED': every byte of the file has been written and synced once
 *
 * The header is written when the file is prepared, before any frame; never again while the file holds frames. The marker
 * lies outside its checksum because it comes later, and a torn header would cost the file.
 */
import type { StorageFile } from '../../storage/storage.ts';
import { crc32c } from '../../wire/crc32c.ts';
import type { Chain } from './frame.ts';
import { FrameCuts } from './frame-cuts.ts';

export const walHeaderBytes = 512;
export const walMarkerOffset = 256;
const headerFieldsBytes = 28;
export const walFormatVersion = 1;
const magic = Buffer.from([0x52, 0x4d, 0x51, 0x57, 0x41, 0x4c, walFormatVersion, 0]);
export const walMarker = Buffer.from('PREPARED');

const namePattern = /^wal-(\d{12})$/;

export const walFileName = (sequence: number): string => `wal-${String(sequence).padStart(12, '0')}`;

export const walFileSequence = (name: string): number | undefined => {
  const match = namePattern.exec(name);
  return match === null ? undefined : Number(match[1]);
};

/** Of a copy that ends with its frames: not all bytes of the file are there. */
export const unmarkPrepared = (block: Buffer): void => {
  block.fill(0, walMarkerOffset, walMarkerOffset + walMarker.length);
};

export interface WalHeader {
  readonly sequence: number;
  readonly walFileBytes: number;
  readonly salt: number;
}

export const encodeWalHeader = (header: WalHeader): Buffer => {
  const block = Buffer.alloc(walMarkerOffset);
  magic.copy(block);
  block.writeUInt32LE(header.sequence >>> 0, 8);
  block.writeUInt32LE(Math.floor(header.sequence / 0x1_0000_0000), 12);
  block.writeUInt32LE(header.walFileBytes, 16);
  block.writeUInt32LE(header.salt, 20);
  block.writeUInt32LE(crc32c(block, 0, 24), 24);
  return block;
};

/** The version of another format that wrote this header; undefined if it is of this one, or no header at all. */
export const otherWalFormat = (block: Buffer): number | undefined => {
  if (!block.subarray(0, 6).equals(magic.subarray(0, 6)) || crc32c(block, 0, 24) !== block.readUInt32LE(24))
    return undefined;
  const version = block.readUInt16LE(6);
  return version === walFormatVersion ? undefined : version;
};

export const decodeWalHeader = (block: Buffer): WalHeader | undefined => {
  if (block.length < headerFieldsBytes || !block.subarray(0, magic.length).equals(magic)) return undefined;
  if (crc32c(block, 0, 24) !== block.readUInt32LE(24)) return undefined;
  return {
    sequence: block.readUInt32LE(12) * 0x1_0000_0000 + block.readUInt32LE(8),
    walFileBytes: block.readUInt32LE(16),
    salt: block.readUInt32LE(20),
  };
};

/** Salt in a header, be it right or not. */
export const storedWalSalt = (block: Buffer): number => block.readUInt32LE(20);

export const isMarkedPrepared = (block: Buffer): boolean =>
  block.subarray(walMarkerOffset, walMarkerOffset + walMarker.length).equals(walMarker);

/** What a chain needs to be followed from the start of a file, whatever became of the files before it. */
export interface ChainStart {
  /** Sequence of the first frame in the file. */
  readonly frameSequence: number;
  /** Crc of the frame before it. */
  readonly previousCrc: number;
  /** Epoch of the frame before it. */
  readonly epoch: number;
}

/** Frames that follow one another, [startOffset, endOffset) of a file. */
export interface FrameStretch {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly chainStart: ChainStart;
}

/** Where the frames of a file end so far, and what the next one must continue. */
export interface FramesEnd {
  readonly endOffset: number;
  readonly chain: Chain;
}

export class WalFile {
  readonly sequence: number;
  /** Open for frames and reads; undefined until the header is on disk. */
  handle: StorageFile | undefined;
  /** Not durable, for zeroing; undefined while none is going on. */
  zeroHandle: StorageFile | undefined;
  /** Name of the reclaimed file that becomes this one. */
  recycledFrom: string | undefined;
  /** Frames may be written to [walHeaderBytes, readyBytes): zeroing goes on beyond it, never before it. */
  readyBytes = 0;
  /** How far readyBytes is to be brought in the background. */
  wantedBytes = 0;
  /** Zeroed since the last sync. */
  unsyncedBytes = 0;
  /** Offset behind the last frame, once no more frames will come; 0 while they may. */
  endOffset = 0;
  /** Known from the first frame's write on. */
  chainStart: ChainStart | undefined;
  /** Its stretches of whole frames, as a checkpoint told them; empty if none did. Damage between them was accepted. */
  stretches: readonly FrameStretch[] = [];
  /** Of all frames written to it so far. */
  cuts = new FrameCuts();
  /** Those that a checkpoint tells, which spare reading the file at open. */
  restoredCuts: FrameCuts | undefined;
  /** Of a file that was active when they were told: they cover it up to here. */
  restoredEnd: FramesEnd | undefined;
  /** How often something in it is wanted beyond a checkpoint. */
  holdCount = 0;
  /** End of the log when holdCount last fell to 0: a fold from beyond it no longer refers to the file. */
  releasedAt = 0;
  /** Reads under way: the file is not recycled under them. */
  readCount = 0;
  /** Mode 'os': all frames in it are known to be on disk. */
  isSynced = false;

  constructor(sequence: number) {
    this.sequence = sequence;
  }

  get name(): string {
    return walFileName(this.sequence);
  }
}
