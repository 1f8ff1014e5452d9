/**
 * The part of the tar format (POSIX ustar) that a backup needs: plain files with short names. Also tars that others packed from an
 * unpacked backup are read: folders and the extended headers of times and owners are passed over.
 *
 * A header is a block of 512 bytes: name at 0 (100 bytes), mode 100, size 124 (octal, 12 bytes), time 136, checksum 148 (the sum of
 * all bytes, with itself as spaces), type 156, magic 257, prefix of the name 345 (155). The file follows, filled up to a block; two
 * blocks of zeros end the tar.
 */
import { BrokerError } from '../../core/errors.ts';

const blockBytes = 512;
const nameBytesMax = 100;
const sizeBytesMax = 8 ** 11 - 1;

const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')}\0`;

const checksum = (block: Buffer): number => {
  let sum = 8 * 0x20;
  for (let i = 0; i < blockBytes; i++) if (i < 148 || i >= 156) sum += block[i]!;
  return sum;
};

/** @throws RangeError when the name or the file is too large for the format */
export const tarHeader = (name: string, sizeBytes: number, timeMs: number): Buffer => {
  if (Buffer.byteLength(name) > nameBytesMax || sizeBytes > sizeBytesMax) throw new RangeError(`${name} fits no tar`);
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0);
  block.write(octal(0o640, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(sizeBytes, 11), 124);
  block.write(octal(Math.floor(timeMs / 1000), 11), 136);
  block.write('0', 156);
  block.write('ustar\u000000', 257);
  block.write(`${octal(checksum(block), 6)} `, 148);
  return block;
};

/** What follows a file of that size. */
export const tarPadding = (sizeBytes: number): Buffer => Buffer.alloc(-sizeBytes & (blockBytes - 1));

export const tarEnd = (): Buffer => Buffer.alloc(2 * blockBytes);

export interface TarEntry {
  readonly name: string;
  readonly sizeBytes: number;
  /** To be read to its end before the next entry. */
  readonly pieces: AsyncIterable<Buffer>;
}

const text = (block: Buffer, start: number, lengthBytes: number): string => {
  const end = block.indexOf(0, start);
  return block.toString('utf8', start, end < 0 ? start + lengthBytes : Math.min(end, start + lengthBytes));
};

/** Reads exact numbers of bytes from a stream of pieces. */
class PieceReader {
  readonly #pieces: AsyncIterator<Buffer>;
  #left: Buffer = Buffer.alloc(0);

  constructor(pieces: AsyncIterable<Buffer>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Up to lengthBytes, at least one. @throws BrokerError 'corrupt' at the end */
  async some(lengthBytes: number): Promise<Buffer> {
    while (this.#left.length === 0) {
      const { value, done } = await this.#pieces.next();
      if (done === true) throw new BrokerError('corrupt', 'the tar ends too early');
      this.#left = value;
    }
    const piece = this.#left.subarray(0, lengthBytes);
    this.#left = this.#left.subarray(piece.length);
    return piece;
  }

  async block(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let bytes = 0; bytes < blockBytes; bytes += parts.at(-1)!.length) {
      parts.push(Buffer.from(await this.some(blockBytes - bytes)));
    }
    return Buffer.concat(parts);
  }

  async *take(lengthBytes: number): AsyncGenerator<Buffer> {
    for (let bytes = 0; bytes < lengthBytes; ) {
      const piece = await this.some(lengthBytes - bytes);
      yield piece;
      bytes += piece.length;
    }
  }
}

/** The plain files in a tar. @throws BrokerError 'corrupt' when it is cut off or damaged, 'unsupported' */
export async function* readTar(pieces: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const reader = new PieceReader(pieces);
  while (true) {
    const block = await reader.block();
    if (block.every((byte) => byte === 0)) return;
    if (Number.parseInt(text(block, 148, 8), 8) !== checksum(block)) {
      throw new BrokerError('corrupt', 'it is no tar, or damaged');
    }
    const prefix = text(block, 257, 5) === 'ustar' ? text(block, 345, 155) : '';
    const name = `${prefix === '' ? '' : `${prefix}/`}${text(block, 0, nameBytesMax)}`.replace(/^\.\//, '');
    const sizeBytes = Number.parseInt(text(block, 124, 12), 8);
    const type = text(block, 156, 1);
    if (!/^[05xg]?$/.test(type))
      throw new BrokerError('unsupported', `the tar has an entry of type '${type}': ${name}`);
    const content = reader.take(sizeBytes);
    if (type === '' || type === '0') yield { name, sizeBytes, pieces: content };
    for await (const _ of content);
    for await (const _ of reader.take(tarPadding(sizeBytes).length));
  }
}
