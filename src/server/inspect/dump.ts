/** `rosettamq dump`: all that is in a data directory that no broker has open. Nothing in it is changed. */
import { readdir, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from '../../core/errors.ts';
import { readFoldRecord } from '../../log/folded-segments.ts';
import { segmentsOfHead } from '../../log/log-store.ts';
import { rewriteNewIds } from '../../log/rewrite-record.ts';
import type { CheckpointItem, FrameItem } from '../../shard/local/inspect-items.ts';
import { inspectLog } from '../../shard/local/inspect-log.ts';
import { parseSegmentFileName, segmentFileName } from '../../shard/local/segment-file.ts';
import { recordType, storedHeads } from '../../shard/shard.ts';
import { DiskStorage } from '../../storage/disk-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { type Description, descriptionName, readDescription, requireFormat } from '../data-directory.ts';
import { ConfigError } from '../setting.ts';
import { type DumpLine, itemLine, recordLine, recordsOf, rowLines } from './dump-lines.ts';
import { holdDirectory } from './held-directory.ts';

export interface DumpOptions {
  /** The data directory. */
  readonly path: string;
  /** Only this shard. */
  readonly shard?: number | undefined;
  /** Only the file of this name, in each shard. */
  readonly file?: string | undefined;
  /** Commits and records as well. */
  readonly records: boolean;
}

/**
 * Everything in the data directory, a line at a time; the last one is a summary. The directory is locked meanwhile.
 * @throws ConfigError when it is no data directory of this version, or has no such shard or file; BrokerError 'locked'
 */
export async function* dumpDirectory(options: DumpOptions): AsyncGenerator<DumpLine> {
  const path = await realpath(options.path).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`data directory ${options.path}: ${error.message}`);
  });
  const found = await shardsThere(path);
  const description = await readDescription(path).catch((error: unknown) => {
    if (error instanceof BrokerError && found.length > 0) return undefined;
    throw error;
  });
  if (description !== undefined) requireFormat(path, description);
  else if (found.length === 0) throw new ConfigError(`${path} is no data directory: there is no ${descriptionName}`);
  const lock = await holdDirectory(path, 'dump');
  try {
    const totals = new Totals();
    for await (const line of allLines(path, { options, found, description })) {
      totals.add(line);
      yield line;
    }
    yield totals.line();
  } finally {
    await lock.release();
  }
}

/** Numbers of the shards that have a folder. */
const shardsThere = async (path: string): Promise<number[]> =>
  (await readdir(path))
    .map((name) => /^shard-(\d+)$/.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .sort((left, right) => left - right);

interface Directory {
  readonly options: DumpOptions;
  readonly found: readonly number[];
  readonly description: Description | undefined;
}

async function* allLines(path: string, { options, found, description }: Directory): AsyncGenerator<DumpLine> {
  if (description === undefined) {
    yield { kind: 'damage', file: descriptionName, offset: 0, what: 'it is missing or damaged' };
  } else {
    yield { kind: 'directory', path, format: description.format, shards: description.shards };
  }
  const count = description?.shards ?? Math.max(...found) + 1;
  if (options.shard !== undefined && options.shard >= count) {
    throw new ConfigError(`there is no shard ${options.shard}; data directory ${path} has ${count}`);
  }
  let hasFile = false;
  for (let shard = 0; shard < count; shard++) {
    if (options.shard !== undefined && options.shard !== shard) continue;
    if (!found.includes(shard)) {
      // A directory that was made and never served has none.
      if (found.length > 0) yield { kind: 'damage', file: `shard-${shard}`, offset: 0, what: 'the folder is missing' };
      continue;
    }
    const storage = DiskStorage.readOnly(join(path, `shard-${shard}`));
    for await (const line of dumpShard(storage, { ...options, shard })) {
      hasFile = true;
      yield line;
    }
  }
  if (options.file !== undefined && !hasFile) throw new ConfigError(`there is no file ${options.file}`);
}

export interface ShardDumpOptions extends Pick<DumpOptions, 'file' | 'records'> {
  readonly shard: number;
}

/** What is in the storage of one shard. */
export async function* dumpShard(storage: Storage, options: ShardDumpOptions): AsyncGenerator<DumpLine> {
  const folder = `shard-${options.shard}`;
  const segments = new NamedSegments();
  for await (const item of inspectLog(storage, options.file)) {
    const line = itemLine(item, folder);
    if (item.kind === 'checkpoint') {
      yield* checkpointLines(item, line, segments);
    } else if (item.kind === 'frame') {
      yield line;
      yield* commitLines(item, folder, options.records, segments);
    } else if (item.kind === 'segment') {
      yield options.file === undefined ? { ...line, isNamed: segments.ids.has(item.id) } : line;
      if (item.index !== undefined) yield* rowLines(item.index, `${folder}/${item.file}`);
    } else {
      yield line;
    }
  }
  if (options.file !== undefined) return;
  const there = new Set((await storage.list()).map((name) => parseSegmentFileName(name)?.id));
  for (const id of segments.ids) {
    if (there.has(id)) continue;
    yield { kind: 'damage', file: `${folder}/${segmentFileName(id)}`, offset: 0, what: 'the file is missing' };
  }
}

function* checkpointLines(item: CheckpointItem, line: DumpLine, segments: NamedSegments): Generator<DumpLine> {
  if (!item.isNewest) {
    yield line;
    return;
  }
  try {
    yield { ...line, segments: segments.ofCheckpoint(item) };
  } catch (error) {
    yield line;
    yield {
      kind: 'damage',
      file: line.file!,
      offset: 0,
      what: `the state cannot be read: ${(error as Error).message}`,
    };
  }
}

/** The segments that the state needs: those that the newest checkpoint names, and those of the folds and rewrites after it. */
class NamedSegments {
  readonly ids = new Set<number>();
  #checkpointPosition = 0;

  ofCheckpoint({ data, position }: CheckpointItem): readonly number[] {
    this.#checkpointPosition = position;
    // The logs are the first state of a shard.
    const ids = segmentsOfHead(storedHeads(data)[0]!);
    for (const id of ids) this.ids.add(id);
    return ids;
  }

  ofRecord(type: number, buffer: Buffer, start: number, position: number): void {
    if (position < this.#checkpointPosition) return;
    if (type === recordType.fold) for (const id of readFoldRecord(buffer, start).ids) this.ids.add(id);
    if (type === recordType.rewrite) for (const id of rewriteNewIds(buffer, start)) this.ids.add(id);
  }
}

function* commitLines(
  { commits, ...frame }: FrameItem,
  folder: string,
  isWanted: boolean,
  segments: NamedSegments,
): Generator<DumpLine> {
  const file = `${folder}/${frame.file}`;
  for (const commit of commits) {
    const { offset, position, lengthBytes } = commit;
    if (isWanted) yield { kind: 'commit', file, offset, position, lengthBytes };
    try {
      for (const record of recordsOf(commit)) {
        segments.ofRecord(record.type, commit.buffer, record.start, position);
        if (isWanted) yield recordLine(commit, record, file);
      }
    } catch (error) {
      // A whole frame that says what no version has written.
      yield { kind: 'damage', file, offset, what: `the commit cannot be read: ${(error as Error).message}` };
    }
  }
}

/** Counts for the last line. */
class Totals {
  readonly #counts: Record<string, number> = { checkpoint: 0, wal: 0, frame: 0, segment: 0, damage: 0, unsupported: 0 };

  add({ kind }: DumpLine): void {
    if (kind in this.#counts) this.#counts[kind]!++;
  }

  line(): DumpLine {
    const { checkpoint, wal, frame, segment, damage, unsupported } = this.#counts;
    return {
      kind: 'summary',
      checkpoints: checkpoint,
      walFiles: wal,
      frames: frame,
      segments: segment,
      damage,
      unsupported,
    };
  }
}
