/**
 * The frame: what one group commit writes. Little-endian, aligned to 8 bytes in the file:
 *
 *      0  u32  magic
 *      4  u32  crc32c of everything behind it, seeded with the log's salt
 *      8  u32  body length in bytes
 *     12  u32  crc of the frame before: the chain
 *     16  u32  epoch
 *     20  u32  0
 *     24  u64  sequence, one more than that of the frame before
 *     32  u64  durableThrough: the last sequence known to be on disk when this frame was written
 *     40       body: commits, each as u32 length + bytes; empty in the frame that opens an epoch
 *
 * Files are recycled, so stale frames with a right checksum lie behind the last live one. A frame counts only if it
 * continues the chain: sequence, crc of the frame before, and an epoch that does not fall. The salt, random per log,
 * keeps message bodies that contain frames (of another broker, or forged) from being taken for ours.
 */
import { crc32c } from '../../wire/crc32c.ts';

export const frameHeaderBytes = 40;
export const frameAlignmentBytes = 8;
/** Each commit in a body is preceded by its length. */
export const commitPrefixBytes = 4;

const magic = 0x46514d52;
/** The magic as it lies in the file, to search for. */
export const frameMagicBytes = Buffer.from([0x52, 0x4d, 0x51, 0x46]);

export const alignFrame = (offset: number): number => offset + (-offset & (frameAlignmentBytes - 1));

/** The part of a frame's header that its writer decides. */
export interface FrameFields {
  readonly previousCrc: number;
  readonly epoch: number;
  readonly sequence: number;
  readonly durableThrough: number;
}

/** Where a log stands: what the next frame must continue. */
export interface Chain {
  epoch: number;
  nextSequence: number;
  previousCrc: number;
}

/** A header as read; one object is filled again and again during a scan. */
export class FrameHeader {
  crc = 0;
  bodyBytes = 0;
  previousCrc = 0;
  epoch = 0;
  sequence = 0;
  durableThrough = 0;

  /** Fills itself from buffer at start; false if no frame header lies there. */
  parse(buffer: Buffer, start: number): boolean {
    if (buffer.readUInt32LE(start) !== magic || buffer.readUInt32LE(start + 20) !== 0) return false;
    const sequenceHigh = buffer.readUInt32LE(start + 28);
    const durableHigh = buffer.readUInt32LE(start + 36);
    if (sequenceHigh >= 0x200000 || durableHigh >= 0x200000) return false;
    this.crc = buffer.readUInt32LE(start + 4);
    this.bodyBytes = buffer.readUInt32LE(start + 8);
    this.previousCrc = buffer.readUInt32LE(start + 12);
    this.epoch = buffer.readUInt32LE(start + 16);
    this.sequence = sequenceHigh * 0x1_0000_0000 + buffer.readUInt32LE(start + 24);
    this.durableThrough = durableHigh * 0x1_0000_0000 + buffer.readUInt32LE(start + 32);
    return true;
  }

  continues(chain: Chain): boolean {
    return this.sequence === chain.nextSequence && this.previousCrc === chain.previousCrc && this.epoch >= chain.epoch;
  }

  /**
   * True if this frame, found behind the end of the chain, says that the frame that is missing there had been on disk. Stale
   * frames do not: what they call durable lies before the chain's end, or their epoch does.
   */
  provesDurable(chain: Chain): boolean {
    return this.epoch >= chain.epoch && this.durableThrough >= chain.nextSequence;
  }

  /** True if the whole frame at buffer[start…] is as it was written. */
  matches(buffer: Buffer, start: number, salt: number): boolean {
    return crc32c(buffer, start + 8, start + frameHeaderBytes + this.bodyBytes, salt) === this.crc;
  }
}

/**
 * Visits the commits of a frame's body, buffer[start, end): where the bytes of each begin, and how many they are. Returns
 * `end`, or where a commit begins that overruns the body.
 */
export const visitCommits = (
  buffer: Buffer,
  start: number,
  end: number,
  visit: (start: number, lengthBytes: number) => void,
): number => {
  for (let at = start; at < end; ) {
    const commitStart = at + commitPrefixBytes;
    const lengthBytes = commitStart > end ? 0 : buffer.readUInt32LE(at);
    if (commitStart + lengthBytes > end) return at;
    visit(commitStart, lengthBytes);
    at = commitStart + lengthBytes;
  }
  return end;
};

/** Writes the header at buffer[start…] over a body that ends at `end`, and returns the crc of the frame. */
export const sealFrame = (buffer: Buffer, start: number, end: number, fields: FrameFields, salt: number): number => {
  buffer.writeUInt32LE(magic, start);
  buffer.writeUInt32LE(end - start - frameHeaderBytes, start + 8);
  buffer.writeUInt32LE(fields.previousCrc, start + 12);
  buffer.writeUInt32LE(fields.epoch, start + 16);
  buffer.writeUInt32LE(0, start + 20);
  writeUInt64(buffer, fields.sequence, start + 24);
  writeUInt64(buffer, fields.durableThrough, start + 32);
  const crc = crc32c(buffer, start + 8, end, salt);
  buffer.writeUInt32LE(crc, start + 4);
  return crc;
};

const writeUInt64 = (buffer: Buffer, value: number, start: number): void => {
  buffer.writeUInt32LE(value >>> 0, start);
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), start + 4);
};
