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
  /** Index entries of all logs of one shard that lie in its write-ahead log, at 40 bytes; folded from the half of it on. */
  walEntriesMax: 4_000_000,
  /** Those and the ones in segments together. */
  indexEntriesMax: 16_000_000,
  /** Segments are looked at in this interval: those of which little is wanted are written anew. */
  segmentCheckMs: 10_000,
  /** Index entries, or logs without any, that a fold or rewrite looks at or moves in one turn: some milliseconds. */
  entriesPerTurn: 2_500,
  /**
   * Of a log file that is folded, so much is gathered in memory at a time for logs that have less than that in it: the file is read
   * again for the next ones. What a log has more is copied as it lies.
   */
  foldGatherBytes: 12 * 1024 * 1024,
  /** Copied by one rewrite of segments. */
  rewriteBytesMax: 64 * 1024 * 1024,
  /** One frame of the write-ahead log closes at this size, unless one commit alone is larger. */
  walGroupBytes: 1024 * 1024,
  /** One piece of the arena; a larger commit gets a piece of its own. */
  arenaChunkBytes: 4 * 1024 * 1024,
  /** What the arena keeps as a cache for tail reads. */
  arenaBytes: 32 * 1024 * 1024,
  /** One read of the write-ahead log for readers behind the arena. */
  readAheadBytes: 1024 * 1024,
  /** The least of it, for a reader that jumps. */
  readAheadMinBytes: 32 * 1024,
  /** What readers hold of what was read back, of one shard's log and of its segments each; beyond that consumers get the least. */
  readAheadBudgetBytes: 32 * 1024 * 1024,
  /** What cannot be read because the process has too many files open or too little memory is tried again after this time. */
  readRetryMs: 100,
  /** Pieces of `readAheadBytes` of one shard that are read for the next Fetch before it comes, at a time. */
  prefetchesMax: 4,
  /** One message or batch, whatever the protocol. */
  messageBytesMax: 32 * 1024 * 1024,
  /** Decompressed size of one Kafka batch that another protocol reads. */
  batchDecompressedBytesMax: 128 * 1024 * 1024,
  /** Records of one Kafka batch that another protocol reads: they are taken apart in one turn. */
  batchRecordsOpenedMax: 1_000_000,
  /** The smallest record in a batch: length, attributes, two deltas, no key, no value, no headers. A batch of a size has no more. */
  recordBytesMin: 7,
  /** Messages of one entry in the index of a log. */
  entryMessagesMax: 2 ** 25,
  /** What the members of one consumer group say about themselves, and also their assignments. One commit holds both. */
  groupBytesMax: 8 * 1024 * 1024,
  /** Characters of a group id or client id: encoded in three bytes each they still fit a 16-bit length with a suffix. */
  groupNameLengthMax: 8192,
  /** Characters of the instance id of a static member; as of Kafka's clients. */
  groupInstanceIdLengthMax: 249,
  /** Settlements of messages wait this long for a commit to go along with. */
  settleDelayMs: 2,
  /** Offsets of one commit; those of a larger request are several commits. */
  offsetsPerCommitMax: 1000,
} as const;

/** A commit carries framing beside its payload. */
const commitOverheadBytes = 1024 * 1024;

export const assertLimits = (): void => {
  if (limits.messageBytesMax + commitOverheadBytes > limits.walFileBytes) {
    throw new Error('walFileBytes must hold the largest message and its framing');
  }
  if (limits.batchDecompressedBytesMax / limits.recordBytesMin > limits.entryMessagesMax) {
    throw new Error('entryMessagesMax must hold the records of the largest batch');
  }
  // Base64 takes a third more; characters of names may be escaped as six bytes, and count as two.
  if ((3 + 4 / 3) * limits.groupBytesMax + commitOverheadBytes > limits.walFileBytes) {
    throw new Error('walFileBytes must hold the membership of the largest group');
  }
  if (limits.walReserveBytes < 2 * limits.walFileBytes) throw new Error('walReserveBytes must be two files at least');
  if (limits.walBytesMax < limits.walReserveBytes + 2 * limits.walFileBytes) {
    throw new Error('walBytesMax must hold the reserve and two files');
  }
};
