/** Looks at one segment file, all of its pages included, and goes on behind what is damaged. */
import { BrokerError } from '../../core/errors.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { describeUnreadable, UnreadableBlocks } from '../../storage/unreadable-blocks.ts';
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
    const { dataBytes, sizeBytes, index, pageTable } = parts;
    yield {
      kind: 'segment',
      file: name,
      id,
      sizeBytes,
      dataBytes,
      pages: Math.ceil(dataBytes / segmentPageBytes),
      index: 'what' in index ? undefined : index,
    };
    for (const part of [index, pageTable]) if ('what' in part) yield damage(name, part.offset, `damaged: ${part.what}`);
    const goodPages = 'what' in pageTable ? undefined : yield* inspectPages(file, dataBytes, pageTable);
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
  const unreadable = new UnreadableBlocks();
  let goodPages = 0;
  for (let offset = 0; offset < dataBytes; offset += readBytes) {
    const wanted = buffer.subarray(0, Math.min(readBytes, dataBytes - offset));
    const lengthBytes = await unreadable.read(file, wanted, offset);
    for (let start = 0; start < lengthBytes; start += segmentPageBytes) {
      const end = Math.min(start + segmentPageBytes, lengthBytes);
      if (pageHolds(pageTable, buffer, start, end, offset + start)) {
        goodPages++;
        continue;
      }
      const page = (offset + start) / segmentPageBytes;
      const block = unreadable.firstIn(file.name, offset + start, offset + end);
      const what = block === undefined ? 'its checksum does not hold' : describeUnreadable(block);
      yield damage(file.name, offset + start, `page ${page}: ${what}`);
    }
  }
  return goodPages;
}
