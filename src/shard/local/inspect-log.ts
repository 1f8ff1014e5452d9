/**
 * Looks at all that one shard keeps, as it lies in its directory, and changes nothing: for a directory that no broker has open.
 * Goes on behind damage as far as possible. Memory: a checkpoint, the index of a segment or the largest frame, one at a time.
 */
import type { Storage } from '../../storage/storage.ts';
import { checkpointName, checkpointNumber, inspectCheckpoint, type StoredCheckpoint } from './checkpoint-file.ts';
import { partName, partNumber } from './checkpoint-part.ts';
import { closedMarkPosition } from './closed-mark.ts';
import { type CheckpointItem, damage, type InspectionItem, untilUnreadable } from './inspect-items.ts';
import { inspectSegment } from './inspect-segment.ts';
import { WalInspection } from './inspect-wal.ts';
import { parseSegmentFileName } from './segment-file.ts';
import { walFileSequence } from './wal-file.ts';

/**
 * Checkpoints from the newest on, then log files, segments and other files, each with what is in it.
 * @param file only what concerns this one; nothing if there is no such file
 */
export async function* inspectLog(storage: Storage, file?: string): AsyncGenerator<InspectionItem> {
  const names = (await storage.list()).sort();
  const isWanted = (name: string): boolean => file === undefined || file === name;
  let newest: StoredCheckpoint | undefined;
  const namedParts = new Set<string>();
  const told = new Set<string>();
  for (const number of names.map(checkpointNumber).reverse()) {
    if (number === undefined) continue;
    const found = await inspectCheckpoint(storage, number);
    const isNewest = newest === undefined && !('what' in found);
    if (!('what' in found)) newest ??= found;
    if (!('what' in found)) {
      for (const part of found.parts) namedParts.add(partName(part.number));
      if (isWanted(checkpointName(number))) yield checkpointItem(found, isNewest);
      continue;
    }
    // Two checkpoints may name the same part.
    const { kind, file: name, offset, what } = found;
    if (told.has(name) || !(isWanted(name) || isWanted(checkpointName(number)))) continue;
    told.add(name);
    if (kind === 'damaged') yield damage(name, offset, what);
    else yield { kind, file: name, offset, what };
  }
  if (file === undefined || walFileSequence(file) !== undefined) {
    for await (const item of new WalInspection(storage, names, newest).run()) if (isWanted(item.file)) yield item;
  }
  for (const name of names.filter(isWanted)) {
    const segment = parseSegmentFileName(name);
    if (segment?.isFinished) yield* untilUnreadable(name, inspectSegment(storage, segment.id));
    else if (partNumber(name) !== undefined)
      yield { kind: 'checkpoint-part', file: name, isNamed: namedParts.has(name) };
    else if (closedMarkPosition(name) !== undefined)
      yield { kind: 'closed', file: name, position: closedMarkPosition(name)! };
    else if (name.endsWith('.tmp')) yield { kind: 'unfinished', file: name };
    else if (checkpointNumber(name) === undefined && walFileSequence(name) === undefined)
      yield { kind: 'unknown', file: name };
  }
}

const checkpointItem = (
  { number, position, files, parts, data }: StoredCheckpoint,
  isNewest: boolean,
): CheckpointItem => ({
  kind: 'checkpoint',
  file: checkpointName(number),
  number,
  position,
  walFiles: [...new Set(files.map(({ sequence }) => sequence))],
  parts: parts.map((part) => partName(part.number)),
  data,
  isNewest,
});
