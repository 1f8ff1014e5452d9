/** What an inspection finds as lines for people and programs: plain objects, and the text of one. */
import { describeRecord, describeRow, rowsOf } from '../../log/describe-record.ts';
import type { CommitView, InspectionItem } from '../../shard/local/inspect-items.ts';
import {
  recordHeaderBytes,
  recordType,
  storedPayloadBytes,
  storedRecordType,
  storedRecordVersion,
} from '../../shard/shard.ts';

/** One line. `file` is relative to the data directory, offsets and sizes are in bytes. */
export interface DumpLine {
  readonly kind: string;
  readonly file?: string;
  readonly offset?: number;
  readonly [field: string]: unknown;
}

const typeNames = new Map<number, string>(
  Object.entries(recordType).map(([name, type]) => [
    type,
    name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  ]),
);

/** The line of an item itself; what is in it (commits, rows) has lines of its own. */
export const itemLine = (item: InspectionItem, folder: string): DumpLine => {
  const file = `${folder}/${item.file}`;
  switch (item.kind) {
    case 'checkpoint': {
      const { data, ...rest } = item;
      return { ...rest, file, dataBytes: data.length, checksum: 'ok' };
    }
    case 'frame': {
      const { commits, ...rest } = item;
      return { ...rest, file, commits: commits.length };
    }
    case 'segment': {
      const { index, ...rest } = item;
      return { ...rest, file, ...(index === undefined ? {} : { rows: rowsOf(index) }) };
    }
    default:
      return { ...item, file };
  }
};

/** A line for each row of a segment's index. */
export function* rowLines(index: Buffer, file: string): Generator<DumpLine> {
  for (let row = 0; row < rowsOf(index); row++) yield { kind: 'row', file, row, ...describeRow(index, row) };
}

/** A record in a commit: the payload is buffer[start, end). */
export interface RecordView {
  readonly type: number;
  readonly version: number;
  readonly start: number;
  readonly end: number;
  /** Of the record's header, in the file. */
  readonly offset: number;
}

/** The records of a commit. @throws RangeError when one overruns it */
export function* recordsOf({ buffer, start, lengthBytes, offset }: CommitView): Generator<RecordView> {
  const commitEnd = start + lengthBytes;
  for (let at = start; at < commitEnd; ) {
    const payloadStart = at + recordHeaderBytes;
    const end = payloadStart > commitEnd ? payloadStart : payloadStart + storedPayloadBytes(buffer, at);
    if (end > commitEnd) throw new RangeError('a record overruns its commit');
    const type = storedRecordType(buffer, at);
    yield { type, version: storedRecordVersion(buffer, at), start: payloadStart, end, offset: offset + at - start };
    at = end;
  }
}

/** @throws RangeError or SyntaxError when the payload is not what its type says */
export const recordLine = ({ buffer }: CommitView, record: RecordView, file: string): DumpLine => {
  const { type, version, start, end, offset } = record;
  const head = { kind: 'record', file, offset, type: typeNames.get(type) ?? type, version, lengthBytes: end - start };
  if (!typeNames.has(type) || version !== 1) return { ...head, unknown: true };
  // Those that are not the log's are JSON.
  const content = describeRecord(type, buffer, start, end);
  return { ...head, ...(content ?? { json: JSON.parse(buffer.toString('utf8', start, end)) }) };
};

const indents: Readonly<Record<string, number>> = {
  frame: 1,
  lost: 1,
  row: 1,
  'wal-end': 1,
  'segment-end': 1,
  commit: 2,
  record: 3,
};

const valueText = (name: string, value: unknown): string => {
  if (name.endsWith('Ms') && typeof value === 'number' && value > 0 && value < 8.64e15)
    return new Date(value).toISOString();
  if (typeof value === 'string') return /^[^\s"]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
};

/** For people: kind, file, offset, then the other fields by name. */
export const lineText = ({ kind, file, offset, ...fields }: DumpLine): string => {
  const parts = ['  '.repeat(indents[kind] ?? 0) + (kind === 'damage' ? 'DAMAGE' : kind)];
  if (file !== undefined) parts.push(file);
  if (offset !== undefined) parts.push(`@${offset}`);
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    parts.push(name === 'what' ? `: ${value}` : `${name}=${valueText(name, value)}`);
  }
  return parts.join(' ').replace(' : ', ': ');
};
