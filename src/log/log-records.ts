/**
 * The stored form of the small records of a log; message blocks, batches and folds have files of their own. Each is a list of
 * entries of one size that begin with the u32 id of the log. Little endian.
 */

/** Before a batch in its record: u32 log id, u32 zero, f64 time of the append. */
export const batchPrefixBytes = 16;
/** An ack: u32 log id, u32 subscription id, f64 from, f64 to. */
export const ackBytes = 24;
/** A delivered mark: u32 log id, u32 subscription id, f64 mark. */
export const markBytes = 16;
/** A new start, one per record: u32 log id, u32 zero, f64 offset. */
export const startBytes = 16;

export const entryLogId = (buffer: Buffer, entry: number): number => buffer.readUInt32LE(entry);
/** Of an ack or a mark. */
export const entrySubscriptionId = (buffer: Buffer, entry: number): number => buffer.readUInt32LE(entry + 4);
/** When a batch was appended, in milliseconds since 1970. */
export const batchAppendedMs = (buffer: Buffer, entry: number): number => buffer.readDoubleLE(entry + 8);
export const ackFrom = (buffer: Buffer, entry: number): number => buffer.readDoubleLE(entry + 8);
export const ackTo = (buffer: Buffer, entry: number): number => buffer.readDoubleLE(entry + 16);
export const markOffset = (buffer: Buffer, entry: number): number => buffer.readDoubleLE(entry + 8);
export const startOffset = (buffer: Buffer, entry: number): number => buffer.readDoubleLE(entry + 8);
