/**
 * What can still be used of a damaged log, for whoever has accepted that the rest is lost: an open that is told to go on over
 * damage looks at all frames before it replays any.
 *
 * Whole frames that follow one another are a run. Files are recycled, so runs of an earlier use lie about. What tells them apart:
 * - in a stretch that the checkpoint's table names, only frames of its numbers count;
 * - behind it, numbers rise with the place in the log, and epochs do not fall: of two runs that contradict each other the one
 *   with the lower epoch is left over;
 * - a run that does not continue the one before it counts only if something proves that the frames between them had been on
 *   disk: the checkpoint lies behind them, or a durableThrough in a later run covers them. Else the log ended before it.
 *
 * Where nothing can be read there may have been frames: if that is at the end of the log or behind it, its end is lost.
 */
import type { StorageFile } from '../../storage/storage.ts';
import { type UnreadableBlocks, unreadableBlockBytes } from '../../storage/unreadable-blocks.ts';
import type { OpenProgress } from '../shard-log.ts';
import { type FileEntry, firstEntry, type StoredCheckpoint } from './checkpoint-file.ts';
import { alignFrame, type Chain, frameAlignmentBytes, frameHeaderBytes } from './frame.ts';
import { FrameScanner } from './frame-scanner.ts';
import { walFileName, walFileSequence, walHeaderBytes } from './wal-file.ts';

/** Something that had been durable and is gone. */
interface Loss {
  /** One line: which file, which bytes, and about what was in them. */
  readonly what: string;
}

export interface SalvageOptions {
  /** All files of the log that can be opened, by sequence, whatever their headers say. */
  readonly files: ReadonlyMap<number, StorageFile>;
  /** Those that cannot. */
  readonly unopened: { has(sequence: number): boolean; keys(): Iterable<number> };
  readonly salt: number;
  readonly walFileBytes: number;
  readonly checkpoint: StoredCheckpoint | undefined;
  /** Where newer checkpoints that are damaged say that they stand: the log went as far. 0 without any. */
  readonly unreadPosition: number;
  /** Blocks of the files that cannot be read are taken for damaged, and remembered there. */
  readonly unreadable: UnreadableBlocks;
  readonly onProgress: (progress: OpenProgress) => void;
}

export interface Salvaged {
  /** Runs that count, in order, all with an end. */
  readonly entries: readonly FileEntry[];
  readonly losses: readonly Loss[];
  /** At most so many bytes of commits behind the checkpoint are lost. */
  readonly lostBytes: number;
  /** They lie before this position. */
  readonly lostBefore: number;
  /** What the next frame must continue: its number and epoch are higher than those of every frame that was ever written. */
  readonly chain: Chain;
  /** The log must go on at this position or behind it. */
  readonly nextPosition: number;
}

interface Run {
  readonly file: number;
  readonly start: number;
  readonly firstSequence: number;
  readonly previousCrc: number;
  readonly firstEpoch: number;
  end: number;
  lastSequence: number;
  lastCrc: number;
  lastEpoch: number;
  durableThrough: number;
}

/** Frames and epochs that may have been in a lost end of the log: their numbers are not given again. */
const lostFramesMax = 2 ** 32;
const lostEpochsMax = 1_000;

export const salvage = (options: SalvageOptions): Promise<Salvaged> => new Salvage(options).run();

class Salvage {
  readonly #options: SalvageOptions;
  readonly #scanner: FrameScanner;
  readonly #checkpointPosition: number;
  readonly #entries: FileEntry[] = [];
  readonly #losses: Loss[] = [];
  #lostBytes = 0;
  #lostBefore = 0;
  #chain: Chain = { ...firstChain };
  /** Where the run taken last ends. */
  #endFile = firstEntry.sequence;
  #endOffset = walHeaderBytes;
  /** Looked through. */
  #doneBytes = 0;
  /** Of all whole frames seen, left over or not. */
  #highestSequence = 0;
  #highestEpoch = 0;

  constructor(options: SalvageOptions) {
    this.#options = options;
    this.#scanner = new FrameScanner(options.walFileBytes, options.unreadable);
    this.#checkpointPosition = options.checkpoint?.position ?? 0;
  }

  async run(): Promise<Salvaged> {
    const { files, checkpoint } = this.#options;
    const table = checkpoint?.files ?? (files.has(firstEntry.sequence) ? [firstEntry] : []);
    for (const [index, entry] of table.entries()) {
      if (entry.endOffset > 0) await this.#takeStretch(entry, table[index + 1]);
    }
    const last = table.at(-1);
    if (last !== undefined) this.#expect(last);
    await this.#takeTail(last);
    const isEndLost = this.#noteLostEnd();
    const chain = isEndLost
      ? {
          nextSequence: Math.max(this.#highestSequence, this.#chain.nextSequence) + lostFramesMax,
          previousCrc: 0,
          epoch: Math.max(this.#highestEpoch, this.#chain.epoch) + lostEpochsMax,
        }
      : { ...this.#chain, epoch: Math.max(this.#highestEpoch, this.#chain.epoch) };
    return {
      entries: this.#entries,
      losses: this.#losses,
      lostBytes: this.#lostBytes,
      lostBefore: isEndLost ? Number.MAX_SAFE_INTEGER : this.#lostBefore,
      chain,
      nextPosition: Math.max(this.#endPosition, this.#checkpointPosition),
    };
  }

  get #endPosition(): number {
    return this.#position(this.#endFile, this.#endOffset);
  }

  #position(file: number, offset: number): number {
    return file * this.#options.walFileBytes + offset;
  }

  #expect({ sequence, startOffset, chainStart: { frameSequence, previousCrc, epoch } }: FileEntry): void {
    this.#chain = { nextSequence: frameSequence, previousCrc, epoch };
    this.#endFile = sequence;
    this.#endOffset = startOffset;
  }

  /** What is left of a stretch that the checkpoint says is whole. */
  async #takeStretch(entry: FileEntry, next: FileEntry | undefined): Promise<void> {
    const { sequence, startOffset, endOffset, chainStart } = entry;
    this.#expect(entry);
    const limit = next?.chainStart.frameSequence ?? Number.POSITIVE_INFINITY;
    const runs = (await this.#runsIn(sequence, startOffset, endOffset)).filter(
      ({ firstSequence, lastSequence, firstEpoch }) =>
        firstSequence >= chainStart.frameSequence && lastSequence < limit && firstEpoch >= chainStart.epoch,
    );
    for (const run of withoutLeftovers(runs)) this.#take(run);
    if (this.#endOffset < endOffset) {
      const isNext = next?.sequence === sequence + 1;
      this.#lose(sequence, endOffset, isNext ? limit - this.#chain.nextSequence : undefined);
    }
  }

  /** What is left of the end of the log, which no checkpoint describes. */
  async #takeTail(last: FileEntry | undefined): Promise<void> {
    const { files } = this.#options;
    const runs: Run[] = [];
    for (const sequence of [...files.keys()].sort((a, b) => a - b)) {
      if (sequence < (last?.sequence ?? 0)) continue;
      const start = sequence === last?.sequence ? last.startOffset : walHeaderBytes;
      runs.push(...(await this.#runsIn(sequence, start, this.#options.walFileBytes)));
    }
    const { nextSequence, epoch } = this.#chain;
    const plausible = runs.filter((run) => run.firstSequence >= nextSequence && run.firstEpoch >= epoch);
    const kept = withoutLeftovers(plausible);
    for (const [index, run] of kept.entries()) {
      if (!this.#continues(run) && !this.#isGapProven(kept.slice(index))) return;
      this.#take(run);
    }
  }

  #continues(run: Run): boolean {
    const { nextSequence, previousCrc, epoch } = this.#chain;
    return run.firstSequence === nextSequence && run.previousCrc === previousCrc && run.firstEpoch >= epoch;
  }

  /** True if the frame that should come next had been on disk. */
  #isGapProven(later: readonly Run[]): boolean {
    const { nextSequence } = this.#chain;
    return (
      this.#checkpointPosition > alignFrame(this.#endPosition) ||
      later.some(({ durableThrough }) => durableThrough >= nextSequence)
    );
  }

  #take(run: Run): void {
    if (!this.#continues(run)) this.#lose(run.file, run.start, run.firstSequence - this.#chain.nextSequence);
    const chainStart = { frameSequence: run.firstSequence, previousCrc: run.previousCrc, epoch: run.firstEpoch };
    this.#entries.push({ sequence: run.file, startOffset: run.start, endOffset: run.end, chainStart });
    this.#chain = { nextSequence: run.lastSequence + 1, previousCrc: run.lastCrc, epoch: run.lastEpoch };
    this.#endFile = run.file;
    this.#endOffset = run.end;
  }

  /** Everything from the end of the last run up to here is gone; frames: how many, if that is known. */
  #lose(file: number, offset: number, frames: number | undefined): void {
    const from = `${walFileName(this.#endFile)} from byte ${alignFrame(this.#endOffset)}`;
    const to = file === this.#endFile ? `byte ${offset}` : `byte ${offset} of ${walFileName(file)}`;
    const state = this.#stateOfEnd();
    const count = frames === undefined || frames >= lostFramesMax ? 'an unknown number of' : String(frames);
    this.#losses.push({ what: `${from} to ${to}${state}: ${count} groups of commits` });
    const end = this.#position(file, offset);
    if (end > this.#checkpointPosition) {
      this.#lostBytes += end - Math.max(this.#endPosition, this.#checkpointPosition);
      this.#lostBefore = end;
    }
    this.#endFile = file;
    this.#endOffset = offset;
  }

  /**
   * True if the log ends too early: before the checkpoint or a newer one that is damaged, with a file that is gone, or where it
   * cannot be read.
   */
  #noteLostEnd(): boolean {
    const { files, unreadPosition } = this.#options;
    const isFileGone = !files.has(this.#endFile);
    const isUnreadWrong = unreadPosition > 0 && unreadPosition < this.#checkpointPosition;
    const endMin = isUnreadWrong ? Number.POSITIVE_INFINITY : Math.max(this.#checkpointPosition, unreadPosition);
    if (alignFrame(this.#endPosition) >= endMin && !isFileGone && !this.#isEndUnreadable()) return false;
    const what = `${walFileName(this.#endFile)} from byte ${alignFrame(this.#endOffset)} on${this.#stateOfEnd()}`;
    this.#losses.push({ what: `${what}: the end of the log, an unknown number of groups of commits` });
    this.#lostBytes += this.#options.walFileBytes;
    return true;
  }

  /** Of the file in which the run taken last ends. */
  #stateOfEnd(): string {
    const { files, unopened } = this.#options;
    if (files.has(this.#endFile)) return '';
    return unopened.has(this.#endFile) ? ', a file that cannot be opened' : ', a file that is missing';
  }

  #isEndUnreadable(): boolean {
    const { unreadable, unopened } = this.#options;
    const end = alignFrame(this.#endPosition);
    if ([...unopened.keys()].some((sequence) => sequence >= this.#endFile)) return true;
    return unreadable.names.some((name) => {
      const sequence = walFileSequence(name);
      if (sequence === undefined) return false;
      return unreadable.of(name).some(({ offset }) => this.#position(sequence, offset + unreadableBlockBytes) > end);
    });
  }

  /** All runs of whole frames in [start, limit) of a file. */
  async #runsIn(sequence: number, start: number, limit: number): Promise<Run[]> {
    const file = this.#options.files.get(sequence);
    if (file === undefined) return [];
    const scanner = this.#scanner;
    const { header } = scanner;
    const runs: Run[] = [];
    let run: Run | undefined;
    scanner.openAt(file);
    let doneOffset = start;
    for (let at: number | undefined = start; at !== undefined && at < limit; ) {
      this.#noteDone(at - doneOffset);
      doneOffset = at;
      if (!(await scanner.readFrame(at, this.#options.salt))) {
        at = await scanner.findMagic(at + frameAlignmentBytes, limit);
        continue;
      }
      const isNext =
        run !== undefined &&
        at === alignFrame(run.end) &&
        header.continues({ nextSequence: run.lastSequence + 1, previousCrc: run.lastCrc, epoch: run.lastEpoch });
      if (!isNext) {
        run = {
          file: sequence,
          start: at,
          firstSequence: header.sequence,
          previousCrc: header.previousCrc,
          firstEpoch: header.epoch,
          end: 0,
          lastSequence: 0,
          lastCrc: 0,
          lastEpoch: 0,
          durableThrough: 0,
        };
        runs.push(run);
      }
      run!.end = at + frameHeaderBytes + header.bodyBytes;
      run!.lastSequence = header.sequence;
      run!.lastCrc = header.crc;
      run!.lastEpoch = header.epoch;
      run!.durableThrough = Math.max(run!.durableThrough, header.durableThrough);
      this.#highestSequence = Math.max(this.#highestSequence, header.sequence);
      this.#highestEpoch = Math.max(this.#highestEpoch, header.epoch);
      at = alignFrame(run!.end);
    }
    this.#noteDone(limit - doneOffset);
    return runs;
  }

  #noteDone(bytes: number): void {
    const { files, walFileBytes, onProgress } = this.#options;
    this.#doneBytes += bytes;
    onProgress({ what: 'salvage', done: this.#doneBytes, whole: files.size * walFileBytes });
  }
}

const firstChain: Chain = { nextSequence: 1, previousCrc: 0, epoch: 0 };

/** Of runs in order of place, those whose numbers rise. */
const withoutLeftovers = (runs: readonly Run[]): Run[] => {
  const kept: Run[] = [];
  for (const run of runs) {
    let last = kept.at(-1);
    while (last !== undefined && last.lastSequence >= run.firstSequence && last.lastEpoch < run.firstEpoch) {
      kept.pop();
      last = kept.at(-1);
    }
    const follows = last === undefined || (last.lastSequence < run.firstSequence && last.lastEpoch <= run.firstEpoch);
    if (follows) kept.push(run);
  }
  return kept;
};
