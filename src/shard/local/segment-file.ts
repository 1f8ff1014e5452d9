/**
 * One segment file: immutable bytes that outlive the log files they were copied from. Little-endian:
 *
 *     data        any bytes: an offset in the data is the offset in the file
 *     index       any bytes: whoever folds writes it and understands it
 *     page table  u32 crc32c per page of 32 KiB of data; the last page may be shorter
 *     footer      64 bytes
 *
 *      0  8 bytes  magic 'RMQSEG' + u16 format version
 *      8  u32      crc32c of the other 60 bytes of the footer
 *     12  u32      page size
 *     16  u64      id, as in the name
 *     24  u64      size of the data
 *     32  u32      size of the index
 *     36  u32      crc32c of the index
 *     40  u32      crc32c of the page table
 *     44           zeros
 *
 * The footer comes last so that the data is written as it comes. A later format keeps the place and the checksum of
 * the footer, so that it is told from a damaged one. Checksums per page, not per record: what is in the data is not
 * known here, and a read verifies all that it hands out without reading more than whole pages.
 *
 * Written as `.tmp`, synced, renamed, directory synced: under its own name a file is whole.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { describeUnreadable, isUnreadable, UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import { crc32c } from '../../wire/crc32c.ts';
import type { SegmentWriter } from '../shard-log.ts';
import { writeAll } from './prepare-file.ts';
import { segmentDataBytesMax, segmentSyncBytes } from './wal-limits.ts';

/** Another one is another one of checkpoints as well: after a clean shutdown they are all that is looked at. */
const formatVersion = 1;
const magic = Buffer.from('RMQSEG');
/** Unit of checksums, and so of reads. */
export const segmentPageBytes = 32 * 1024;
export const segmentFooterBytes = 64;
const crcBytes = 4;
const indexBytesMax = 0xffff_ffff;
/** Read at once from the end of a file: mostly all but its data. */
const tailBytesMax = 32 * 1024;

const namePattern = /^segment-(\d{12})(\.tmp)?$/;

export const segmentFileName = (id: number): string => `segment-${String(id).padStart(12, '0')}`;

/** The id in the name of a segment file, and whether it was finished; undefined for other names. */
export const parseSegmentFileName = (name: string): { id: number; isFinished: boolean } | undefined => {
  const match = namePattern.exec(name);
  return match === null ? undefined : { id: Number(match[1]), isFinished: match[2] === undefined };
};

/** A segment file that is whole, its pages not yet looked at. */
export interface SegmentFile {
  readonly id: number;
  readonly dataBytes: number;
  /** Size of the file. */
  readonly sizeBytes: number;
  readonly index: Buffer;
  /** The crc32c of each page of data, four bytes each. */
  readonly pageTable: Buffer;
}

/** What is not as it was written, from this byte of the file on. */
export interface SegmentFault {
  readonly offset: number;
  /** Names the offset as well. */
  readonly what: string;
  /** The error of the system, if there is one. */
  readonly cause?: Error;
}

const damaged = (name: string, what: string, cause?: Error): BrokerError =>
  new BrokerError('corrupt', `${name} is damaged: ${what}`, cause && { cause });

const pageTableBytes = (dataBytes: number): number => Math.ceil(dataBytes / segmentPageBytes) * crcBytes;

const footerCrc = (footer: Buffer): number => crc32c(footer, 12, segmentFooterBytes, crc32c(footer, 0, 8));

const encodeFooter = ({ id, dataBytes, index, pageTable }: Omit<SegmentFile, 'sizeBytes'>): Buffer => {
  const footer = Buffer.alloc(segmentFooterBytes);
  magic.copy(footer);
  footer.writeUInt16LE(formatVersion, 6);
  footer.writeUInt32LE(segmentPageBytes, 12);
  footer.writeBigUInt64LE(BigInt(id), 16);
  footer.writeBigUInt64LE(BigInt(dataBytes), 24);
  footer.writeUInt32LE(index.length, 32);
  footer.writeUInt32LE(crc32c(index, 0, index.length), 36);
  footer.writeUInt32LE(crc32c(pageTable, 0, pageTable.length), 40);
  footer.writeUInt32LE(footerCrc(footer), 8);
  return footer;
};

interface Footer {
  readonly id: number;
  readonly dataBytes: number;
  readonly indexBytes: number;
  readonly indexCrc: number;
  readonly pageTableCrc: number;
}

/** Undefined when it is no footer, or damaged. */
const decodeFooter = (footer: Buffer, name: string): Footer | undefined => {
  if (!footer.subarray(0, magic.length).equals(magic) || footer.readUInt32LE(8) !== footerCrc(footer)) return undefined;
  const version = footer.readUInt16LE(6);
  if (version !== formatVersion) {
    throw new BrokerError('unsupported', `${name} has format ${version}; this version reads ${formatVersion}`);
  }
  const pageBytes = footer.readUInt32LE(12);
  if (pageBytes !== segmentPageBytes) {
    throw new BrokerError('unsupported', `${name} has pages of ${pageBytes} B; this version reads ${segmentPageBytes}`);
  }
  return {
    id: Number(footer.readBigUInt64LE(16)),
    dataBytes: Number(footer.readBigUInt64LE(24)),
    indexBytes: footer.readUInt32LE(32),
    indexCrc: footer.readUInt32LE(36),
    pageTableCrc: footer.readUInt32LE(40),
  };
};

/**
 * Reads and checks all of a segment but its data. Rejects with BrokerError 'corrupt' if it is damaged or cannot be read,
 * 'unsupported' if another version wrote it, and with the error of the system if that has nothing to do with the file.
 */
export const readSegmentFile = async (storage: Storage, id: number): Promise<SegmentFile> => {
  const name = segmentFileName(id);
  try {
    const file = await storage.open(name, { create: false, durable: false });
    try {
      const { index, pageTable, dataBytes, sizeBytes } = await readSegmentParts(file, id);
      return { id, dataBytes, sizeBytes, index: wholePart(name, index), pageTable: wholePart(name, pageTable) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isUnreadable(error)) throw damaged(name, `it cannot be read (${(error as Error).message})`, error as Error);
    throw error;
  }
};

/** @throws BrokerError 'corrupt' if it is damaged */
export const wholePart = (name: string, part: Buffer | SegmentFault): Buffer => {
  if ('what' in part) throw damaged(name, part.what, part.cause);
  return part;
};

/** What surrounds the data of a segment. */
export interface SegmentParts {
  readonly dataBytes: number;
  readonly sizeBytes: number;
  readonly index: Buffer | SegmentFault;
  readonly pageTable: Buffer | SegmentFault;
}

/** As readSegmentFile(), but only a damaged footer rejects. */
export const readSegmentParts = async (file: StorageFile, id: number): Promise<SegmentParts> => {
  const { name } = file;
  const sizeBytes = await file.sizeBytes();
  if (sizeBytes < segmentFooterBytes) throw damaged(name, `it has ${sizeBytes} bytes`);
  const unreadable = new UnreadableBlocks();
  const tailOffset = Math.max(0, sizeBytes - tailBytesMax);
  const tail = await readPart(file, unreadable, tailOffset, sizeBytes - tailOffset);
  const part = async (start: number, end: number): Promise<Buffer> =>
    start < tailOffset
      ? await readPart(file, unreadable, start, end - start)
      : Buffer.from(tail.subarray(start - tailOffset, end - tailOffset));
  const footerOffset = sizeBytes - segmentFooterBytes;
  const fault = (part: string, start: number, end: number): SegmentFault => {
    const block = unreadable.firstIn(name, start, end);
    const what = `${part} at offset ${start}`;
    return block === undefined
      ? { offset: start, what }
      : { offset: start, what: `${what}: ${describeUnreadable(block)}`, cause: block.error };
  };
  const footer =
    decodeFooter(await part(footerOffset, sizeBytes), name) ?? fault('the footer', footerOffset, sizeBytes);
  if ('what' in footer) throw damaged(name, footer.what, footer.cause);
  const { dataBytes, indexBytes, indexCrc, pageTableCrc } = footer;
  const tableBytes = pageTableBytes(dataBytes);
  if (footer.id !== id || dataBytes + indexBytes + tableBytes + segmentFooterBytes !== sizeBytes) {
    throw damaged(name, `the footer is that of another file, at offset ${footerOffset}`);
  }
  const tableOffset = dataBytes + indexBytes;
  const index = await part(dataBytes, tableOffset);
  const pageTable = await part(tableOffset, footerOffset);
  const indexHolds = crc32c(index, 0, indexBytes) === indexCrc;
  const tableHolds = crc32c(pageTable, 0, tableBytes) === pageTableCrc;
  return {
    dataBytes,
    sizeBytes,
    index: indexHolds ? index : fault('the index', dataBytes, tableOffset),
    pageTable: tableHolds ? pageTable : fault('the page table', tableOffset, footerOffset),
  };
};

const readPart = async (
  file: StorageFile,
  unreadable: UnreadableBlocks,
  position: number,
  lengthBytes: number,
): Promise<Buffer> => {
  const bytes = Buffer.allocUnsafeSlow(lengthBytes);
  const readBytes = await unreadable.read(file, bytes, position);
  if (readBytes !== lengthBytes) throw damaged(file.name, `it ends at ${position + readBytes}`);
  return bytes;
};

/**
 * Checks whole pages of data, which were read from `offset` on and of which readBytes are there.
 * @throws BrokerError 'corrupt' with the offset of the first page that is not what was written
 */
export const assertPages = (
  { id, pageTable }: Pick<SegmentFile, 'id' | 'pageTable'>,
  buffer: Buffer,
  readBytes: number,
  offset: number,
): void => {
  for (let start = 0; start < buffer.length; start += segmentPageBytes) {
    const end = Math.min(start + segmentPageBytes, buffer.length);
    if (end > readBytes || !pageHolds(pageTable, buffer, start, end, offset + start)) {
      throw damaged(segmentFileName(id), `the page at offset ${offset + start}`);
    }
  }
};

/** True if buffer[start, end) is the page that was written at this offset of the data. */
export const pageHolds = (pageTable: Buffer, buffer: Buffer, start: number, end: number, offset: number): boolean =>
  crc32c(buffer, start, end) === pageTable.readUInt32LE((offset / segmentPageBytes) * crcBytes);

export interface SegmentFileWriterOptions {
  readonly storage: Storage;
  readonly id: number;
  readonly entryBytes: number;
  /** Called when the file is durable under its name, just before finish() resolves. */
  readonly onFinished: (file: SegmentFile, wantedBytes: number) => void;
  /** Called when it is given up, before it is removed. Throws if that is no longer possible. */
  readonly onAbandoned: () => void;
}

/**
 * Writes one segment file. A call that fails leaves nothing but abandon() to be called; errors are those of the system.
 * The index is kept by reference until the segment is adopted.
 */
export class SegmentFileWriter implements SegmentWriter {
  readonly #options: SegmentFileWriterOptions;
  readonly #name: string;
  /** Open until it is written or given up. */
  #file: StorageFile | undefined;
  #sizeBytes = 0;
  #unsyncedBytes = 0;
  /** Crc of each full page. */
  readonly #pageCrcs: number[] = [];
  /** Crc of the bytes behind the last full page. */
  #openPageCrc = 0;
  /** The call under way. */
  #running: Promise<unknown> | undefined;
  #hasFailed = false;

  constructor(options: SegmentFileWriterOptions) {
    this.#options = options;
    this.#name = segmentFileName(options.id);
  }

  /** Creates the file; called once, before anything else. */
  async open(): Promise<void> {
    const opening = this.#options.storage.open(this.#unfinishedName, { create: true, durable: false });
    this.#running = opening;
    try {
      this.#file = await opening;
    } finally {
      this.#running = undefined;
    }
  }

  get #unfinishedName(): string {
    return `${this.#name}.tmp`;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get entryBytes(): number {
    return this.#options.entryBytes;
  }

  append(buffer: Buffer, start: number, end: number): Promise<void> {
    return this.#run(async (file) => {
      const lengthBytes = end - start;
      if (this.#sizeBytes + lengthBytes > segmentDataBytesMax) throw new RangeError(`${this.#name} is full`);
      await write(file, buffer.subarray(start, end), this.#sizeBytes);
      this.#addChecksums(buffer, start, end);
      this.#sizeBytes += lengthBytes;
      this.#unsyncedBytes += lengthBytes;
      if (this.#unsyncedBytes < segmentSyncBytes) return;
      await file.sync();
      this.#unsyncedBytes = 0;
    });
  }

  #addChecksums(buffer: Buffer, start: number, end: number): void {
    let filledBytes = this.#sizeBytes % segmentPageBytes;
    for (let at = start; at < end; ) {
      const partEnd = Math.min(end, at + segmentPageBytes - filledBytes);
      this.#openPageCrc = crc32c(buffer, at, partEnd, this.#openPageCrc);
      filledBytes += partEnd - at;
      at = partEnd;
      if (filledBytes < segmentPageBytes) return;
      this.#closePage();
      filledBytes = 0;
    }
  }

  #closePage(): void {
    this.#pageCrcs.push(this.#openPageCrc);
    this.#openPageCrc = 0;
  }

  finish(index: Buffer, wantedBytes: number): Promise<number> {
    const { storage, id, onFinished } = this.#options;
    return this.#run(async (file) => {
      if (index.length > indexBytesMax) throw new RangeError(`the index of ${this.#name} is too large`);
      const dataBytes = this.#sizeBytes;
      if (dataBytes % segmentPageBytes > 0) this.#closePage();
      const pageTable = Buffer.alloc(pageTableBytes(dataBytes));
      for (const [page, crc] of this.#pageCrcs.entries()) pageTable.writeUInt32LE(crc, page * crcBytes);
      const tail = Buffer.concat([pageTable, encodeFooter({ id, dataBytes, index, pageTable })]);
      await write(file, index, dataBytes);
      await write(file, tail, dataBytes + index.length);
      await file.sync();
      this.#file = undefined;
      await file.close();
      await storage.rename(this.#unfinishedName, this.#name);
      await storage.syncDirectory();
      onFinished({ id, dataBytes, sizeBytes: dataBytes + index.length + tail.length, index, pageTable }, wantedBytes);
      return id;
    });
  }

  async #run<Result>(step: (file: StorageFile) => Promise<Result>): Promise<Result> {
    if (this.#running !== undefined) throw new Error(`${this.#name}: one call at a time`);
    if (this.#file === undefined || this.#hasFailed) throw new Error(`${this.#name} is no longer written`);
    const running = step(this.#file);
    this.#running = running;
    try {
      return await running;
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    } finally {
      this.#running = undefined;
    }
  }

  /** Resolves when the call under way has ended. */
  async whenIdle(): Promise<void> {
    await this.#running?.catch(() => {});
  }

  /**
   * Waits for the call under way, then removes the file, also one that is finished and not yet adopted. What cannot be
   * removed does no harm: the next open does it.
   */
  async abandon(): Promise<void> {
    await this.whenIdle();
    const { storage, onAbandoned } = this.#options;
    onAbandoned();
    const file = this.#file;
    this.#file = undefined;
    await file?.close().catch(() => {});
    await storage.remove(this.#unfinishedName).catch(() => {});
    await storage.remove(this.#name).catch(() => {});
  }
}

const write = (file: StorageFile, bytes: Buffer, position: number): Promise<void> =>
  bytes.length === 0 ? Promise.resolve() : writeAll(file, bytes, bytes.length, position);
