/**
 * Part files of checkpoints: pieces of state, written as they come and synced once. A part counts when a checkpoint names it;
 * what is in it before is nobody's. Little-endian:
 *
 *      0  8 bytes  magic 'RMQCKD' + 2 bytes format version
 *      8  u32      salt of the log
 *     12  u32      0
 *     16  u64      number of the part, as in its name
 *     24  per piece: u32 crc32c of the rest of it, u32 length, bytes
 *
 * Pieces of one section follow one another; the checkpoint says where each section ends.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import {
  describeUnreadable,
  isUnreadable,
  type UnreadableBlock,
  UnreadableBlocks,
} from '../../storage/unreadable-blocks.ts';
import { crc32c } from '../../wire/crc32c.ts';
import { isMissing, writeAll } from './prepare-file.ts';

const magic = Buffer.from([0x52, 0x4d, 0x51, 0x43, 0x4b, 0x44, 1, 0]);
const partHeaderBytes = 24;
const pieceHeaderBytes = 8;
/** One read. */
const partReadBytes = 1024 * 1024;
const namePattern = /^checkpoint-part-(\d{12})$/;

/** A part as a checkpoint names it. */
export interface CheckpointPart {
  readonly number: number;
  /** Offset in the file where each section ends; the last one is the size of the file. */
  readonly sectionEnds: readonly number[];
  /** The first so many sections are a part of the state; those behind them are for the checkpoint that was stored with the part only. */
  readonly stateSections: number;
}

export const partName = (number: number): string => `checkpoint-part-${String(number).padStart(12, '0')}`;

export const partNumber = (name: string): number | undefined => {
  const match = namePattern.exec(name);
  return match === null ? undefined : Number(match[1]);
};

export const partBytes = ({ sectionEnds }: CheckpointPart): number => sectionEnds.at(-1)!;

/** Without what is for one checkpoint only. */
export const stateBytes = ({ sectionEnds, stateSections }: CheckpointPart): number =>
  sectionEnds.slice(0, stateSections).at(-1) ?? partHeaderBytes;

const encodeHeader = (salt: number, number: number): Buffer => {
  const header = Buffer.alloc(partHeaderBytes);
  magic.copy(header);
  header.writeUInt32LE(salt, 8);
  header.writeBigUInt64LE(BigInt(number), 16);
  return header;
};

/** Writes one part. One call at a time; close() in any case. */
export class PartWriter {
  readonly #file: StorageFile;
  readonly #sectionEnds: number[] = [];
  #sizeBytes = 0;
  #buffer = Buffer.alloc(0);

  /** Use createPart(). */
  constructor(file: StorageFile) {
    this.#file = file;
  }

  /** After an error the same piece may be tried again. */
  async append(section: number, piece: Buffer): Promise<void> {
    const lengthBytes = pieceHeaderBytes + piece.length;
    if (this.#buffer.length < lengthBytes) this.#buffer = Buffer.allocUnsafeSlow(lengthBytes);
    this.#buffer.writeUInt32LE(piece.length, 4);
    piece.copy(this.#buffer, pieceHeaderBytes);
    this.#buffer.writeUInt32LE(crc32c(this.#buffer, 4, lengthBytes), 0);
    await this.write(this.#buffer, lengthBytes);
    this.#sectionEnds[section] = this.#sizeBytes;
  }

  /** @internal Also for the header. */
  async write(bytes: Buffer, lengthBytes: number): Promise<void> {
    await writeAll(this.#file, bytes, lengthBytes, this.#sizeBytes);
    this.#sizeBytes += lengthBytes;
  }

  /** Makes it durable; its name becomes so with that of the checkpoint. */
  async sync(number: number, placeSection = Number.POSITIVE_INFINITY): Promise<CheckpointPart> {
    await this.#file.sync();
    let end = partHeaderBytes;
    const sectionEnds = Array.from(this.#sectionEnds, (sectionEnd: number | undefined) => {
      end = sectionEnd ?? end;
      return end;
    });
    return { number, sectionEnds, stateSections: Math.min(sectionEnds.length, placeSection) };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

export const createPart = async (storage: Storage, number: number, salt: number): Promise<PartWriter> => {
  const file = await storage.open(partName(number), { create: true, durable: false });
  try {
    await file.truncate(0);
    const writer = new PartWriter(file);
    await writer.write(encodeHeader(salt, number), partHeaderBytes);
    return writer;
  } catch (error) {
    await file.close();
    throw error;
  }
};

interface PartFault {
  readonly offset: number;
  readonly what: string;
  /** The error of the system, if there is one. */
  readonly cause?: Error;
}

const unreadablePart = (error: Error): PartFault => ({
  offset: 0,
  what: `it cannot be read (${error.message})`,
  cause: error,
});

const unreadableAt = (offset: number, block: UnreadableBlock): PartFault => ({
  offset,
  what: describeUnreadable(block),
  cause: block.error,
});

type Piece = { readonly bytes: Buffer; readonly offset: number } | { readonly fault: PartFault };

/** The pieces between two offsets, in order, up to the first that is damaged. Their memory is not used again. */
async function* piecesOf(file: StorageFile, start: number, end: number): AsyncGenerator<Piece> {
  let buffer = Buffer.alloc(0);
  let bufferOffset = start;
  const unreadable = new UnreadableBlocks();
  /** Where [offset, offset + lengthBytes) lies in the buffer; -1 if not all of it is there. */
  const find = async (offset: number, lengthBytes: number): Promise<number> => {
    if (offset + lengthBytes > bufferOffset + buffer.length && offset + lengthBytes <= end) {
      const memory = Buffer.allocUnsafeSlow(Math.min(end - offset, Math.max(partReadBytes, lengthBytes)));
      buffer = memory.subarray(0, await unreadable.read(file, memory, offset));
      bufferOffset = offset;
    }
    return offset + lengthBytes <= bufferOffset + buffer.length ? offset - bufferOffset : -1;
  };
  for (let offset = start; offset < end; ) {
    const header = await find(offset, pieceHeaderBytes);
    const lengthBytes = header < 0 ? 0 : pieceHeaderBytes + buffer.readUInt32LE(header + 4);
    const at = header < 0 ? -1 : await find(offset, lengthBytes);
    if (at < 0 || crc32c(buffer, at + 4, at + lengthBytes) !== buffer.readUInt32LE(at)) {
      const block = unreadable.firstIn(file.name, offset, header < 0 ? undefined : offset + lengthBytes);
      const damage = { offset, what: 'a piece of the state is damaged' };
      yield { fault: block === undefined ? damage : unreadableAt(offset, block) };
      return;
    }
    yield { bytes: buffer.subarray(at + pieceHeaderBytes, at + lengthBytes), offset };
    offset += lengthBytes;
  }
}

/**
 * The first thing in a part that is not as it was written; undefined if all is well.
 * @param onRead called with the bytes of each piece
 */
export const firstPartFault = async (
  storage: Storage,
  part: CheckpointPart,
  salt: number,
  onRead: (bytes: number) => void,
): Promise<PartFault | undefined> => {
  let file: StorageFile;
  try {
    file = await storage.open(partName(part.number), { create: false, durable: false });
  } catch (error) {
    if (isMissing(error)) return { offset: 0, what: 'the file is missing' };
    if (isUnreadable(error)) return unreadablePart(error as Error);
    throw error;
  }
  try {
    const header = Buffer.alloc(partHeaderBytes);
    const unreadable = new UnreadableBlocks();
    await unreadable.read(file, header, 0);
    const [block] = unreadable.of(file.name);
    if (block !== undefined) return unreadableAt(0, block);
    if (!header.equals(encodeHeader(salt, part.number))) return { offset: 0, what: 'it does not begin as this part' };
    for await (const piece of piecesOf(file, partHeaderBytes, partBytes(part))) {
      if ('fault' in piece) return piece.fault;
      onRead(piece.bytes.length);
    }
    return undefined;
  } finally {
    await file.close();
  }
};

/**
 * Hands over the pieces of one section of a part that was checked before; resolves with their bytes.
 * @throws BrokerError 'corrupt'
 */
export const readSection = async (
  storage: Storage,
  part: CheckpointPart,
  section: number,
  onPiece: (bytes: Buffer) => void,
): Promise<number> => {
  const end = part.sectionEnds[section];
  if (end === undefined) return 0;
  const start = part.sectionEnds[section - 1] ?? partHeaderBytes;
  if (start === end) return 0;
  const name = partName(part.number);
  const file = await storage.open(name, { create: false, durable: false });
  try {
    for await (const piece of piecesOf(file, start, end)) {
      if ('fault' in piece) {
        const { offset, what, cause } = piece.fault;
        throw new BrokerError('corrupt', `${name} at ${offset}: ${what}`, cause && { cause });
      }
      onPiece(piece.bytes);
    }
    return end - start;
  } finally {
    await file.close();
  }
};
