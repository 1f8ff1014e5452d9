/** Looks at one segment file, all of its pages included, and goes on behind what is damaged. */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { damage, type SegmentInspectionItem } from './inspect-items.ts';
import { pageHolds, readSegmentParts, segmentFileName, segmentFooterBytes, segmentPageBytes } from './segment-file.ts';

/** Whole pages. */
const readBytes = 32 * segmentPageBytes;

/** Rejects with the error of the system if the file cannot be read. */
export async function* inspectSegment(storage: Storage, id: number): AsyncGenerator<SegmentInspectionItem> {
  const name = segmentFileName(id);
  const file = await storage.open(name, { create: false, durable: false });
  try {
    const parts = await readSegmentParts(file, id).catch((error: unknown) => {
      if (error instanceof BrokerError) return error;
      throw error;
    });
    if (parts instanceof BrokerError) {
      const offset = Math.max(0, (await file.sizeBytes()) - segmentFooterBytes);
      const { kind, message } = parts;
      yield kind === 'unsupported' ? { kind, file: name, offset, what: message } : damage(name, offset, message);
      return;
    }
    const { dataBytes, sizeBytes, index, pageTableOffset, pageTable } = parts;
    yield {
      kind: 'segment',
      file: name,
      id,
      sizeBytes,
      dataBytes,
      pages: Math.ceil(dataBytes / segmentPageBytes),
      index,
    };
    if (index === undefined) yield damage(name, dataBytes, 'the checksum of the index does not hold');
    if (pageTable === undefined) yield damage(name, pageTableOffset, 'the checksum of the page table does not hold');
    const goodPages = pageTable === undefined ? undefined : yield* inspectPages(file, dataBytes, pageTable);
    yield { kind: 'segment-end', file: name, goodPages };
  } finally {
    await file.close();
  }
}

/** Returns the count of pages that are as they were written. */
async function* inspectPages(
  file: StorageFile,
  dataBytes: number,
  pageTable: Buffer,
): AsyncGenerator<SegmentInspectionItem, number> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(readBytes, dataBytes));
  let goodPages = 0;
  for (let offset = 0; offset < dataBytes; offset += readBytes) {
    const lengthBytes = await file.read(buffer, 0, Math.min(readBytes, dataBytes - offset), offset);
    for (let start = 0; start < lengthBytes; start += segmentPageBytes) {
      const end = Math.min(start + segmentPageBytes, lengthBytes);
      if (pageHolds(pageTable, buffer, start, end, offset + start)) goodPages++;
      else
        yield damage(
          file.name,
          offset + start,
          `the checksum of page ${(offset + start) / segmentPageBytes} does not hold`,
        );
    }
  }
  return goodPages;
}
