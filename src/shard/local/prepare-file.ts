/**
 * Makes files ready for frames: header, full size on disk, zeros. A live write into blocks that already exist costs no
 * metadata; and what is allocated ahead cannot run out of space under an acknowledged write.
 *
 * Steps are small and restartable: after an error the same step is tried again and finds what was done before.
 */
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { isFull } from './operating-error.ts';
import type { WalFile } from './wal-file.ts';
import { encodeWalHeader, isMarkedPrepared, walHeaderBytes, walMarker, walMarkerOffset } from './wal-file.ts';
import { zeroStepBytes, zeroSyncBytes } from './wal-limits.ts';

export interface PrepareContext {
  readonly storage: Storage;
  readonly walFileBytes: number;
  readonly salt: number;
  /** Frames are written with O_DSYNC. */
  readonly durable: boolean;
}

export const writeAll = (file: StorageFile, bytes: Buffer, lengthBytes: number, position: number): Promise<void> =>
  new Promise((resolve, reject) => {
    file.write(bytes, 0, lengthBytes, position, (error) => (error === null ? resolve() : reject(error)));
  });

/** True for an error that says that the file is not there. */
export const isMissing = (error: unknown): boolean => (error as { code?: string }).code === 'ENOENT';

/** Rejects with the error of the system, unless the file is gone. */
export const removeIfThere = (storage: Storage, name: string): Promise<void> =>
  storage.remove(name).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });

/** Creates the file or makes it from a reclaimed one; afterwards header and name are on disk and it has a handle. */
export const prepareHeader = async (file: WalFile, context: PrepareContext): Promise<void> => {
  const { storage, walFileBytes, salt, durable } = context;
  if (file.recycledFrom !== undefined) {
    await storage.rename(file.recycledFrom, file.name).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    file.recycledFrom = undefined;
  }
  const plain = await storage.open(file.name, { create: true, durable: false });
  try {
    const block = Buffer.alloc(walHeaderBytes);
    const sizeBytes = await plain.sizeBytes();
    await plain.read(block, 0, walHeaderBytes, 0);
    const isPrepared = sizeBytes === walFileBytes && isMarkedPrepared(block);
    if (sizeBytes !== walFileBytes) await plain.truncate(walFileBytes);
    const header = encodeWalHeader({ sequence: file.sequence, walFileBytes, salt });
    await writeAll(plain, header, header.length, 0);
    await plain.sync();
    await storage.syncDirectory();
    file.readyBytes = isPrepared ? walFileBytes : walHeaderBytes;
    file.handle = await storage.open(file.name, { create: false, durable });
  } finally {
    await plain.close();
  }
};

/** Shared by all logs; never written to, so the system backs it with its zero page. */
const zeros = Buffer.alloc(zeroStepBytes);

/** On a full disk no more than up to `neededOffset`: that may be there already. Returns how many bytes were written. */
const writeZeros = async (file: WalFile, stepBytes: number, neededOffset: number): Promise<number> => {
  try {
    await writeAll(file.zeroHandle!, zeros, stepBytes, file.readyBytes);
    return stepBytes;
  } catch (error) {
    const neededBytes = neededOffset - file.readyBytes;
    if (!isFull(error) || neededBytes <= 0 || neededBytes >= stepBytes) throw error;
    await writeAll(file.zeroHandle!, zeros, neededBytes, file.readyBytes);
    return neededBytes;
  }
};

/**
 * Zeroes the next step beyond readyBytes; at the end of the file syncs and marks it as prepared. That a sync failed does
 * not make zeroed bytes less ready: the live write that comes there answers for itself.
 * @param neededOffset frames wait for the file to be ready up to here; 0 if none do
 */
export const zeroStep = async (file: WalFile, context: PrepareContext, neededOffset: number): Promise<void> => {
  file.zeroHandle ??= await context.storage.open(file.name, { create: false, durable: false });
  const stepBytes = Math.min(zeroStepBytes, file.wantedBytes - file.readyBytes);
  if (stepBytes > 0) {
    const zeroedBytes = await writeZeros(file, stepBytes, neededOffset);
    file.readyBytes += zeroedBytes;
    file.unsyncedBytes += zeroedBytes;
  }
  const isComplete = file.readyBytes === context.walFileBytes;
  if (isComplete || file.unsyncedBytes >= zeroSyncBytes) {
    await file.zeroHandle.sync();
    file.unsyncedBytes = 0;
  }
  if (isComplete) {
    await writeAll(file.zeroHandle, walMarker, walMarker.length, walMarkerOffset);
    await closeZeroHandle(file);
  }
};

export const closeZeroHandle = async (file: WalFile): Promise<void> => {
  const handle = file.zeroHandle;
  file.zeroHandle = undefined;
  await handle?.close();
};
