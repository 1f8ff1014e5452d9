/** Files as streams of pieces, with their checksums. A piece is valid until the next one is asked for. */
import { type FileHandle, open } from 'node:fs/promises';
import { BrokerError } from '../../core/errors.ts';
import { crc32c } from '../../wire/crc32c.ts';

const pieceBytes = 1024 * 1024;

export type Pieces = AsyncIterable<Buffer> | Iterable<Buffer>;

/** The first `sizeBytes` of a file. @throws BrokerError 'corrupt' when it is shorter, or the error of the system */
export async function* readPieces(path: string, sizeBytes: number): AsyncGenerator<Buffer> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, sizeBytes));
    for (let at = 0; at < sizeBytes; ) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, sizeBytes - at), at);
      if (bytesRead === 0) throw new BrokerError('corrupt', `${path} ends at byte ${at}, not at ${sizeBytes}`);
      yield buffer.subarray(0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
}

/** Passes pieces on, and knows their checksum when all have passed. */
export class Checksum {
  value = 0;

  async *of(pieces: Pieces): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      this.value = crc32c(piece, 0, piece.length, this.value);
      yield piece;
    }
  }
}

/** All bytes of something small. */
export const allOf = async (pieces: Pieces): Promise<Buffer> => {
  const copies: Buffer[] = [];
  for await (const piece of pieces) copies.push(Buffer.from(piece));
  return Buffer.concat(copies);
};

export const writeFully = async (file: FileHandle, bytes: Buffer): Promise<void> => {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
};
