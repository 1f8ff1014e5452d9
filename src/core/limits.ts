/**
 * Every bound of the process, with its unit, in one place. Values that users may set have their default here.
 * `assertLimits` checks the relations between them at start.
 */
export const limits = {
  /** One file of the write-ahead log. The largest commit must fit into one file. */
  walFileBytes: 64 * 1024 * 1024,
  /** All files of one shard's write-ahead log together; publishing is refused near it. */
  walBytesMax: 2 * 1024 * 1024 * 1024,
  /** Part of `walBytesMax` that only acks, deletes, offset commits and checkpoints may use. */
  walReserveBytes: 192 * 1024 * 1024,
  /** Index entries of all logs of one shard. */
  walEntriesMax: 4_000_000,
  /** One frame of the write-ahead log closes at this size, unless one commit alone is larger. */
  walGroupBytes: 1024 * 1024,
  /** One piece of the arena; a larger commit gets a piece of its own. */
  arenaChunkBytes: 4 * 1024 * 1024,
  /** What the arena keeps as a cache for tail reads. */
  arenaBytes: 64 * 1024 * 1024,
  /** Committed but not durable yet; beyond it connections that publish are not read from. */
  undurableBytesMax: 32 * 1024 * 1024,
  /** One read of the write-ahead log for readers behind the arena. */
  readAheadBytes: 1024 * 1024,
  /** One message or batch, whatever the protocol. */
  messageBytesMax: 32 * 1024 * 1024,
  /** Decompressed size of one Kafka batch that another protocol reads. */
  batchDecompressedBytesMax: 128 * 1024 * 1024,
} as const;

/** A commit carries framing beside its payload. */
const commitOverheadBytes = 1024 * 1024;

export const assertLimits = (): void => {
  if (limits.messageBytesMax + commitOverheadBytes > limits.walFileBytes) {
    throw new Error('walFileBytes must hold the largest message and its framing');
  }
  if (limits.walReserveBytes < 2 * limits.walFileBytes) throw new Error('walReserveBytes must be two files at least');
  if (limits.walBytesMax < limits.walReserveBytes + 2 * limits.walFileBytes) {
    throw new Error('walBytesMax must hold the reserve and two files');
  }
};
