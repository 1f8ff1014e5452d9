/**
 * Checkpoint files: the shard's fold of everything before a position, and the table of the log files that are still
 * wanted with it. The table is needed because files in the middle of the log are reclaimed while older ones stay: it
 * says where the chain of frames begins in each, and where it ends in all but the last. The larger part of the state is in
 * part files (checkpoint-part.ts), which it names.
 *
 * Written as `.tmp`, synced, renamed, directory synced; little-endian:
 *
 *      0  8 bytes  magic 'RMQCKP' + 2 bytes format version
 *      8  u32      crc32c of everything behind it
 *     12  u32      salt of the log
 *     16  u64      number of the checkpoint, as in its name
 *     24  u64      position
 *     32  u32      count of files
 *     36  u32      length of the data
 *     40  u32      count of parts
 *     44  u32      0
 *     48  per stretch of frames: u64 file sequence, u64 first frame sequence, u32 crc before it, u32 epoch before it,
 *         u32 end offset, u32 start offset
 *         per part, oldest first: u64 number, u32 count of sections, u32 count of those that are a part of the state, u64 offset
 *         where each ends
 *         data
 *
 * A file has one stretch of frames, or several if the damage between them was accepted.
 *
 * The checkpoint before the newest is kept: if the newest is damaged and no file was reclaimed for it, the older one and
 * a longer replay give the same state, unless the damage is in a part that both name.
 */
import type { Position } from '../../core/ids.ts';
import type { Storage } from '../../storage/storage.ts';
import { describeUnreadable, isUnreadable, UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import { crc32c } from '../../wire/crc32c.ts';
import type { Checkpoint, OpenProgress } from '../shard-log.ts';
import { type CheckpointPart, firstPartFault, partBytes, partName } from './checkpoint-part.ts';
import type { BackupFile } from './log-backup.ts';
import { writeAll } from './prepare-file.ts';
import { type ChainStart, type WalFile, walHeaderBytes } from './wal-file.ts';

const formatVersion = 4;
const magic = Buffer.from([0x52, 0x4d, 0x51, 0x43, 0x4b, 0x50, formatVersion, 0]);
const headerBytes = 48;
const entryBytes = 32;
const partHeadBytes = 16;
const namePattern = /^checkpoint-(\d{12})$/;

/** A stretch of frames of one file. */
export interface FileEntry {
  readonly sequence: number;
  /** Offset of the first frame. */
  readonly startOffset: number;
  readonly chainStart: ChainStart;
  /** Offset behind the last frame; 0 for the last file, which goes on. */
  readonly endOffset: number;
}

/** Where a log begins of which no checkpoint was made yet. */
export const firstEntry: FileEntry = {
  sequence: 1,
  startOffset: walHeaderBytes,
  chainStart: { frameSequence: 1, previousCrc: 0, epoch: 0 },
  endOffset: 0,
};

/** The entries of a file in the table; it goes on if it is the last one. */
const tableOf = (file: WalFile, goesOn: boolean): FileEntry[] => {
  const { sequence, stretches } = file;
  if (stretches.length > 0) return stretches.map((stretch) => ({ sequence, ...stretch }));
  const endOffset = goesOn ? 0 : file.endOffset;
  return [{ sequence, startOffset: walHeaderBytes, chainStart: file.chainStart!, endOffset }];
};
/** The table of the files in use, without those that are given back. The last of them is the one with `durableSequence`. */
export const fileTable = (
  files: Iterable<WalFile>,
  durableSequence: number,
  reclaimed: ReadonlySet<WalFile>,
): FileEntry[] =>
  [...files]
    .filter((file) => file.sequence <= durableSequence && !reclaimed.has(file))
    .flatMap((file) => tableOf(file, file.sequence === durableSequence));

export interface StoredCheckpoint extends Checkpoint {
  readonly number: number;
  readonly salt: number;
  /** In order of sequence and start offset. */
  readonly files: readonly FileEntry[];
  /** A base and the deltas after it, in order. */
  readonly parts: readonly CheckpointPart[];
}

/** What lies before its position need not be read again to know where messages lie, and how the files of the log are cut. */
export const knowsPlaces = ({ number, parts }: StoredCheckpoint): boolean => {
  const own = parts.at(-1);
  return own !== undefined && own.number === number && own.sectionEnds.length > own.stateSections;
};

export const checkpointName = (number: number): string => `checkpoint-${String(number).padStart(12, '0')}`;

export const checkpointNumber = (name: string): number | undefined => {
  const match = namePattern.exec(name);
  return match === null ? undefined : Number(match[1]);
};

const encode = (checkpoint: StoredCheckpoint): Buffer => {
  const partsStart = headerBytes + checkpoint.files.length * entryBytes;
  const headBytes = ({ sectionEnds }: CheckpointPart): number => partHeadBytes + 8 * sectionEnds.length;
  const dataStart = checkpoint.parts.reduce((end, part) => end + headBytes(part), partsStart);
  const bytes = Buffer.alloc(dataStart + checkpoint.data.length);
  magic.copy(bytes);
  bytes.writeUInt32LE(checkpoint.salt, 12);
  bytes.writeBigUInt64LE(BigInt(checkpoint.number), 16);
  bytes.writeBigUInt64LE(BigInt(checkpoint.position), 24);
  bytes.writeUInt32LE(checkpoint.files.length, 32);
  bytes.writeUInt32LE(checkpoint.data.length, 36);
  bytes.writeUInt32LE(checkpoint.parts.length, 40);
  let at = headerBytes;
  for (const { sequence, startOffset, chainStart, endOffset } of checkpoint.files) {
    bytes.writeBigUInt64LE(BigInt(sequence), at);
    bytes.writeBigUInt64LE(BigInt(chainStart.frameSequence), at + 8);
    bytes.writeUInt32LE(chainStart.previousCrc, at + 16);
    bytes.writeUInt32LE(chainStart.epoch, at + 20);
    bytes.writeUInt32LE(endOffset, at + 24);
    bytes.writeUInt32LE(startOffset, at + 28);
    at += entryBytes;
  }
  for (const { number, sectionEnds, stateSections } of checkpoint.parts) {
    bytes.writeBigUInt64LE(BigInt(number), at);
    bytes.writeUInt32LE(sectionEnds.length, at + 8);
    bytes.writeUInt32LE(stateSections, at + 12);
    at += partHeadBytes;
    for (const end of sectionEnds) at = bytes.writeBigUInt64LE(BigInt(end), at);
  }
  checkpoint.data.copy(bytes, dataStart);
  bytes.writeUInt32LE(crc32c(bytes, 12, bytes.length), 8);
  return bytes;
};

/** Why a file is no checkpoint that can be used: what is wrong, and from which byte on. */
export interface CheckpointFault {
  readonly kind: 'damaged' | 'unsupported';
  /** The checkpoint, or one of its parts. */
  readonly file: string;
  readonly offset: number;
  readonly what: string;
  /** What it says that its position is, which may be wrong; Infinity if it says nothing. */
  readonly position: number;
  /** The error of the system, if there is one. */
  readonly cause?: Error;
}

const faultOf = (bytes: Buffer, number: number): CheckpointFault | undefined => {
  const file = checkpointName(number);
  const position = bytes.length < headerBytes ? Number.POSITIVE_INFINITY : Number(bytes.readBigUInt64LE(24));
  const damaged = (offset: number, what: string): CheckpointFault => ({
    kind: 'damaged',
    file,
    offset,
    what,
    position,
  });
  if (bytes.length < headerBytes) return damaged(bytes.length, `it has ${bytes.length} bytes`);
  if (!bytes.subarray(0, 6).equals(magic.subarray(0, 6))) return damaged(0, 'it does not begin as a checkpoint');
  if (crc32c(bytes, 12, bytes.length) !== bytes.readUInt32LE(8)) return damaged(8, 'the checksum does not hold');
  const version = bytes.readUInt16LE(6);
  if (version !== formatVersion) {
    const what = `it has format ${version}; this version reads ${formatVersion}`;
    return { kind: 'unsupported', file, offset: 6, what, position };
  }
  const stored = Number(bytes.readBigUInt64LE(16));
  return stored === number ? undefined : damaged(16, `it is checkpoint ${stored}`);
};

const decode = (bytes: Buffer): StoredCheckpoint => {
  const fileCount = bytes.readUInt32LE(32);
  const partCount = bytes.readUInt32LE(40);
  const files: FileEntry[] = [];
  const parts: CheckpointPart[] = [];
  let at = headerBytes;
  for (; files.length < fileCount; at += entryBytes) {
    files.push({
      sequence: Number(bytes.readBigUInt64LE(at)),
      chainStart: {
        frameSequence: Number(bytes.readBigUInt64LE(at + 8)),
        previousCrc: bytes.readUInt32LE(at + 16),
        epoch: bytes.readUInt32LE(at + 20),
      },
      endOffset: bytes.readUInt32LE(at + 24),
      startOffset: bytes.readUInt32LE(at + 28),
    });
  }
  while (parts.length < partCount) {
    const number = Number(bytes.readBigUInt64LE(at));
    const sectionEnds: number[] = [];
    const sectionCount = bytes.readUInt32LE(at + 8);
    const stateSections = bytes.readUInt32LE(at + 12);
    at += partHeadBytes;
    for (; sectionEnds.length < sectionCount; at += 8) sectionEnds.push(Number(bytes.readBigUInt64LE(at)));
    parts.push({ number, sectionEnds, stateSections });
  }
  return {
    salt: bytes.readUInt32LE(12),
    number: Number(bytes.readBigUInt64LE(16)),
    position: Number(bytes.readBigUInt64LE(24)) as Position,
    files,
    parts,
    data: bytes.subarray(at),
  };
};

/**
 * Reads a checkpoint and checks its parts, or tells what is wrong with it. Rejects with the error of the system if that has
 * nothing to do with the files.
 */
export const inspectCheckpoint = async (
  storage: Storage,
  number: number,
  onProgress: (progress: OpenProgress) => void = () => {},
): Promise<StoredCheckpoint | CheckpointFault> => {
  try {
    return await readCheckpoint(storage, number, onProgress);
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    const cause = error as Error;
    const what = `it cannot be read (${cause.message})`;
    return {
      kind: 'damaged',
      file: checkpointName(number),
      offset: 0,
      what,
      position: Number.POSITIVE_INFINITY,
      cause,
    };
  }
};

const readCheckpoint = async (
  storage: Storage,
  number: number,
  onProgress: (progress: OpenProgress) => void,
): Promise<StoredCheckpoint | CheckpointFault> => {
  const file = await storage.open(checkpointName(number), { create: false, durable: false });
  const unreadable = new UnreadableBlocks();
  try {
    const bytes = Buffer.allocUnsafeSlow(await file.sizeBytes());
    const readBytes = await unreadable.read(file, bytes, 0);
    const found = bytes.subarray(0, readBytes);
    const fault = faultOf(found, number);
    const [block] = unreadable.of(file.name);
    if (fault !== undefined && block !== undefined) {
      const position = block.offset < headerBytes ? Number.POSITIVE_INFINITY : fault.position;
      return { ...fault, offset: block.offset, what: describeUnreadable(block), position, cause: block.error };
    }
    if (fault !== undefined) return fault;
    const checkpoint = decode(found);
    return (await partsFault(storage, checkpoint, onProgress)) ?? checkpoint;
  } finally {
    await file.close();
  }
};

const partsFault = async (
  storage: Storage,
  { parts, salt, position }: StoredCheckpoint,
  onProgress: (progress: OpenProgress) => void,
): Promise<CheckpointFault | undefined> => {
  const whole = parts.reduce((sum, part) => sum + partBytes(part), 0);
  let done = 0;
  for (const part of parts) {
    const fault = await firstPartFault(storage, part, salt, (bytes) => {
      done += bytes;
      onProgress({ what: 'verify', done, whole });
    });
    if (fault !== undefined) return { kind: 'damaged', file: partName(part.number), position, ...fault };
  }
  return undefined;
};

/** Stores a checkpoint; it counts when this resolves. After an error it may be there or not. */
export const storeCheckpoint = async (storage: Storage, checkpoint: StoredCheckpoint): Promise<void> => {
  const name = checkpointName(checkpoint.number);
  const bytes = encode(checkpoint);
  const file = await storage.open(`${name}.tmp`, { create: true, durable: false });
  try {
    await file.truncate(bytes.length);
    await writeAll(file, bytes, bytes.length, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await storage.rename(`${name}.tmp`, name);
  await storage.syncDirectory();
};

/** All files of a checkpoint, with their sizes in bytes. */
export const checkpointFiles = async (
  storage: Storage,
  { number, parts }: StoredCheckpoint,
): Promise<readonly BackupFile[]> => {
  const names = [...parts.map((part) => partName(part.number)), checkpointName(number)];
  const files: BackupFile[] = [];
  for (const name of names) {
    const file = await storage.open(name, { create: false, durable: false });
    try {
      files.push({ name, sizeBytes: await file.sizeBytes() });
    } finally {
      await file.close();
    }
  }
  return files;
};
