/** Reads all frames of a sealed file of the log back for a fold, and checks every one of them: what is damaged is not copied on. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { BrokerError } from '../../core/errors.ts';
import { UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
import { assertFrames } from './frame-cuts.ts';
import type { WalFile } from './wal-file.ts';
import { recoveryReadBytes } from './wal-limits.ts';

/** Frames are checked for about so long before others have their turn. */
const sliceBytes = 1024 * 1024;

/**
 * The file up to the end of its frames, in `memory`. Rejects with BrokerError 'corrupt' that names file and byte, or an error of the
 * system.
 */
export const readSealedFile = async (file: WalFile, salt: number, memory: ArrayBuffer): Promise<Buffer> => {
  const buffer = Buffer.from(memory, 0, file.endOffset);
  const unreadable = new UnreadableBlocks();
  for (let at = 0; at < buffer.length; ) {
    const bytes = await unreadable.read(file.handle!, buffer.subarray(at, at + recoveryReadBytes), at);
    if (bytes === 0) throw damaged(file, at);
    at += bytes;
  }
  await unreadable.explain(file.name, () => checkFrames(file, buffer, salt));
  return buffer;
};

const checkFrames = async (file: WalFile, buffer: Buffer, salt: number): Promise<void> => {
  let checkedBytes = 0;
  for (const piece of file.cuts.pieces(file.endOffset)) {
    const lengthBytes = piece.end - piece.start;
    assertFrames(file.name, piece, salt, buffer.subarray(piece.start, piece.end), lengthBytes);
    checkedBytes += lengthBytes;
    if (checkedBytes < sliceBytes) continue;
    checkedBytes = 0;
    await nextTurn();
  }
};

const damaged = (file: WalFile, offset: number): BrokerError =>
  new BrokerError('corrupt', `${file.name} is damaged at byte ${offset}`);
