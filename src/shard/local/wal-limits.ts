/** The bounds of one local log. Those of core/limits.ts can be overridden, which tests do; the rest are properties of the mechanism. */
import { limits } from '../../core/limits.ts';

export interface WalLimits {
  readonly walFileBytes: number;
  readonly walBytesMax: number;
  readonly walReserveBytes: number;
  readonly walGroupBytes: number;
  readonly arenaChunkBytes: number;
  readonly arenaBytes: number;
  readonly readAheadBytes: number;
}

/** Zeroing of new files goes in steps of this size, so that a live write never waits long for one. */
export const zeroStepBytes = 1024 * 1024;
/** After so many zeroed bytes the file is synced: one large sync at the end would stall the live writes behind it. */
export const zeroSyncBytes = 8 * 1024 * 1024;
/** Memory of former read-ahead windows that is kept for the next ones, of the log and of its segments each. */
export const freeReadBytesMax = 4 * 1024 * 1024;
/** Prepared files kept in stock at least; of further reclaimed files those of one checkpoint, if the disk has room for a full log. */
export const spareFilesMin = 2;
/** Bytes of read-ahead windows kept for readers behind the arena, of the log and of its segments each. */
export const loadedBytesMax = 16 * 1024 * 1024;
/** A checkpoint is wanted after so many files' worth of commits, even if it frees nothing. */
export const checkpointEveryFiles = 4;
/** As many files as one checkpoint gives back are used before the next one: none of them needs to be written with zeros again. */
export const spareFilesMax = checkpointEveryFiles + 2;
/** Checkpoints with only what changed that may follow one with everything: as many parts are read at open. */
export const checkpointDeltasMax = 8;
/** A checkpoint before close is made for so much to replay: the part of a file. */
export const closingCheckpointShare = 1 / 32;
/** About what the smallest file takes of a disk. */
export const diskBlockBytes = 4096;
/** After a failed checkpoint. */
export const checkpointRetryMs = 1_000;
/** Of the disk, what is left to checkpoints when nothing else may grow: files of the log and segments are not begun in it. */
export const checkpointReserveBytes = ({ walFileBytes }: WalLimits): number => walFileBytes / 8;
/**
 * Of each file, what only commits without content may take: an open and a checkpoint need a few dozen bytes. So a log without a
 * next file can be opened again some hundred times, and give back space.
 */
export const openingReserveBytes = ({ walFileBytes }: WalLimits): number => Math.max(512, walFileBytes / 1024);
/** Retry of a failed file preparation. */
export const prepareRetryMsMin = 100;
export const prepareRetryMsMax = 5_000;
/** Buffer of the recovery's sequential read; grows if one frame is larger. */
export const recoveryReadBytes = 4 * 1024 * 1024;

/** Bytes of data in one segment: offsets in it are 31-bit numbers, and the range of positions of each is as wide. */
export const segmentDataBytesMax = 2 ** 31 - 1;
/** Places in as much of the log as one read where a smaller read may begin. */
export const cutsPerRead = 16;
/** What is read together in a segment has no more than this part of a read. */
export const entriesPerRead = 16;
/** Segments in use at once. */
export const segmentsMax = 2 ** 20;
/** Files of segments looked at at once when a log is opened: the thread pool has less to wait for. */
export const segmentsOpenedAtOnce = 8;
/** Files of segments kept open for reads; more are only while more are read at the same time. */
export const segmentHandlesMax = 64;
/** Page tables of segments kept in memory, in bytes: those of 32 GiB of data. */
export const pageTableBytesMax = 4 * 1024 * 1024;
/** After so many bytes a segment being written is synced, for the reason that zeroed files are. */
export const segmentSyncBytes = 8 * 1024 * 1024;

/** A segment is sparse when less than one part in so many of what was wanted of it at first still is. */
export const sparseLiveParts = 4;
/** So many small segments are worth being merged. */
export const smallSegmentsMax = 8;
/** Segments with less data are small. */
export const smallSegmentBytes = ({ walFileBytes }: WalLimits): number => walFileBytes / 16;

/** In a file whose first frame cannot be read, frames that prove it to have been durable are looked for so far. */
export const frameSearchBytes = 4 * 1024 * 1024;

export const walLimits = (overrides: Partial<WalLimits> = {}): WalLimits => {
  const {
    walFileBytes,
    walBytesMax,
    walReserveBytes,
    walGroupBytes,
    arenaChunkBytes,
    arenaBytes,
    readAheadBytes,
  }: WalLimits = { ...limits, ...overrides };
  if (walFileBytes % 4096 !== 0) throw new RangeError('walFileBytes must be a multiple of 4096');
  if (walFileBytes >= 2 ** 31)
    throw new RangeError('walFileBytes must be below 2 GiB: a frame carries its length in 32 bits');
  if (walBytesMax < walReserveBytes + walFileBytes)
    throw new RangeError('walBytesMax must hold the reserve and one file');
  return { walFileBytes, walBytesMax, walReserveBytes, walGroupBytes, arenaChunkBytes, arenaBytes, readAheadBytes };
};
