/**
 * Looks at the files of the write-ahead log, in order of sequence, and changes nothing. The chain of frames is followed as by
 * recovery, and what recovery takes for damage is named as such; but it is then taken up again behind the damage, with the
 * first frame that proves it. Without any readable checkpoint or first file it is unknown where the chain begins, and it is
 * taken up at the first whole frame.
 */
import type { Position } from '../../core/ids.ts';
import type { Storage, StorageFile } from '../../storage/storage.ts';
import { describeUnreadable, UnreadableBlocks, unreadableBlockBytes } from '../../storage/unreadable-blocks.ts';
import { type FileEntry, firstEntry, type StoredCheckpoint } from './checkpoint-file.ts';
import { alignFrame, type Chain, frameHeaderBytes, visitCommits } from './frame.ts';
import { FrameScanner } from './frame-scanner.ts';
import {
  type CommitView,
  damage,
  type FrameItem,
  type HeaderState,
  untilUnreadable,
  type WalInspectionItem,
} from './inspect-items.ts';
import {
  decodeWalHeader,
  isMarkedPrepared,
  otherWalFormat,
  type WalHeader,
  walFileName,
  walFileSequence,
  walHeaderBytes,
} from './wal-file.ts';

/** A file of the log that is being looked at. */
interface Visited {
  readonly name: string;
  readonly sequence: number;
  readonly scanner: FrameScanner;
  readonly header: HeaderState;
  frames: number;
  staleFrames: number;
}

export class WalInspection {
  readonly #storage: Storage;
  readonly #names: readonly string[];
  readonly #checkpoint: StoredCheckpoint | undefined;
  /** The stretches of each file that the checkpoint names, in order. */
  readonly #table = new Map<number, readonly FileEntry[]>();
  readonly #unreadable = new UnreadableBlocks();
  #walFileBytes = 0;
  #salt: number | undefined;
  /** What the next frame must continue. Undefined until the first frame when it is unknown where the log begins. */
  #chain: Chain | undefined;
  /** False when it is unknown which frames there must be. */
  #isAnchored = true;
  /** Where the next frame of the chain is expected: what is named when it turns out to be damaged. */
  #endFile = '';
  #endOffset = walHeaderBytes;
  #endPosition = 0;

  /** @param names of all files in the storage @param checkpoint the newest that is whole */
  constructor(storage: Storage, names: readonly string[], checkpoint: StoredCheckpoint | undefined) {
    this.#storage = storage;
    this.#names = names;
    this.#checkpoint = checkpoint;
  }

  /** Rejects with the error of the system if a file cannot be read. */
  async *run(): AsyncGenerator<WalInspectionItem> {
    const found = this.#names.map(walFileSequence).filter((sequence) => sequence !== undefined);
    yield* this.#begin(found);
    const sequences = [...new Set([...found, ...this.#table.keys()])].sort((left, right) => left - right);
    for (const sequence of sequences) {
      if (found.includes(sequence)) yield* untilUnreadable(walFileName(sequence), this.#inspectFile(sequence));
      else yield damage(walFileName(sequence), 0, 'the file is missing, and the checkpoint needs it');
    }
    const { position = 0, number } = this.#checkpoint ?? {};
    if (position <= this.#endPosition || this.#endFile === '' || !this.#isAnchored) return;
    yield damage(this.#endFile, this.#endOffset, `the log ends before checkpoint ${number}, which was made later`);
  }

  /** Finds out where the chain begins, and the salt and the size of the files, from those that have a header. */
  async *#begin(sequences: readonly number[]): AsyncGenerator<WalInspectionItem> {
    this.#salt = this.#checkpoint?.salt;
    for (const sequence of sequences.toSorted((left, right) => left - right)) {
      const header = await this.#readHeader(sequence);
      if (header === undefined || (this.#salt !== undefined && header.salt !== this.#salt)) continue;
      this.#salt = header.salt;
      this.#walFileBytes = header.walFileBytes;
      break;
    }
    const isLost = !sequences.includes(firstEntry.sequence) && this.#salt !== undefined;
    if (this.#checkpoint !== undefined) {
      for (const entry of this.#checkpoint.files) {
        this.#table.set(entry.sequence, [...(this.#table.get(entry.sequence) ?? []), entry]);
      }
    } else if (isLost) {
      this.#isAnchored = false;
      yield damage(walFileName(firstEntry.sequence), 0, 'the file is missing, and no checkpoint is readable');
    } else if (this.#salt !== undefined) {
      this.#table.set(firstEntry.sequence, [firstEntry]);
    }
  }

  async #readHeader(sequence: number): Promise<WalHeader | undefined> {
    const file = await this.#storage.open(walFileName(sequence), { create: false, durable: false });
    try {
      return decodeWalHeader(await this.#readBlock(file));
    } finally {
      await file.close();
    }
  }

  async #readBlock(file: StorageFile): Promise<Buffer> {
    const block = Buffer.alloc(walHeaderBytes);
    await this.#unreadable.read(file, block, 0);
    return block;
  }

  async *#inspectFile(sequence: number): AsyncGenerator<WalInspectionItem> {
    const name = walFileName(sequence);
    const file = await this.#storage.open(name, { create: false, durable: false });
    try {
      const block = await this.#readBlock(file);
      const sizeBytes = await file.sizeBytes();
      const format = otherWalFormat(block);
      if (format !== undefined) {
        this.#isAnchored = false;
        yield { kind: 'unsupported', file: name, offset: 6, what: `it has format ${format}` };
        return;
      }
      if (this.#walFileBytes === 0) this.#walFileBytes = sizeBytes;
      const header = this.#headerState(block, sequence);
      yield { kind: 'wal', file: name, sequence, sizeBytes, header, isPrepared: isMarkedPrepared(block) };
      const scanner = new FrameScanner(sizeBytes, this.#unreadable);
      scanner.openAt(file);
      yield* this.#inspectFrames({ name, sequence, scanner, header, frames: 0, staleFrames: 0 });
    } finally {
      await file.close();
    }
  }

  #headerState(block: Buffer, sequence: number): HeaderState {
    const header = decodeWalHeader(block);
    if (header === undefined) return 'damaged';
    return header.sequence === sequence && header.salt === this.#salt ? 'ok' : 'of another file';
  }

  async *#inspectFrames(file: Visited): AsyncGenerator<WalInspectionItem> {
    const { name, sequence } = file;
    const entries = this.#table.get(sequence);
    if (entries !== undefined) {
      if (file.header !== 'ok') yield damage(name, 0, 'the header of a file of the log does not hold');
    } else if (sequence < Math.max(0, ...this.#table.keys())) {
      yield { kind: 'wal-end', file: name, offset: walHeaderBytes, frames: 0, staleFrames: 0, use: 'free' };
      return;
    }
    for (const entry of entries ?? []) yield* this.#inspectStretch(file, entry);
    if (entries === undefined && this.#salt !== undefined) yield* this.#followFrames(file, this.#salt, walHeaderBytes);
    else if (this.#salt === undefined && (await hasFrames(file)))
      yield damage(name, 0, 'the header does not hold, and frames follow it');
    const wantedFrom = this.#wantedFrom(file, entries);
    for (const block of this.#unreadable.of(name)) {
      if (block.offset + unreadableBlockBytes > wantedFrom) yield damage(name, block.offset, describeUnreadable(block));
    }
    const isLog = entries !== undefined || file.frames > 0;
    const { frames, staleFrames } = file;
    const offset = isLog ? this.#endOffset : walHeaderBytes;
    yield { kind: 'wal-end', file: name, offset, frames, staleFrames, use: isLog ? 'log' : 'ready' };
  }

  /**
   * From this byte on all blocks of the file are wanted: of what lies before it the stretches that a checkpoint names are, and
   * those are told of by themselves.
   */
  #wantedFrom({ header }: Visited, entries: readonly FileEntry[] | undefined): number {
    if (entries === undefined || header !== 'ok') return 0;
    const last = entries.at(-1)!;
    return last.endOffset > 0 ? Number.POSITIVE_INFINITY : last.startOffset;
  }

  /** The frames that the checkpoint's table names. */
  async *#inspectStretch(file: Visited, entry: FileEntry): AsyncGenerator<WalInspectionItem> {
    const { startOffset, endOffset } = entry;
    const { frameSequence, previousCrc, epoch } = entry.chainStart;
    const goneFrom = file.frames === 0 ? walHeaderBytes : this.#endOffset;
    if (startOffset > goneFrom) {
      yield { kind: 'lost', file: file.name, offset: goneFrom, lengthBytes: startOffset - goneFrom };
    }
    this.#chain = { nextSequence: frameSequence, previousCrc, epoch };
    this.#setEnd(file, startOffset);
    yield* this.#followFrames(file, this.#salt!, startOffset, endOffset > 0 ? endOffset : undefined);
    if (endOffset === 0 || this.#endOffset === alignFrame(endOffset)) return;
    yield damage(
      file.name,
      this.#endOffset,
      `the frames up to ${endOffset} are damaged: a checkpoint was made behind them${this.#reason(file.name, endOffset)}`,
    );
    this.#setEnd(file, alignFrame(endOffset));
  }

  async *#followFrames(file: Visited, salt: number, start: number, limit?: number): AsyncGenerator<WalInspectionItem> {
    const { scanner } = file;
    const { header } = scanner;
    let at: number | undefined = start;
    while (at !== undefined && at < (limit ?? Number.POSITIVE_INFINITY)) {
      if (await scanner.readFrame(at, salt)) {
        yield* this.#judge(file, at);
        at = alignFrame(at + frameHeaderBytes + header.bodyBytes);
        continue;
      }
      if (scanner.hasHeader && this.#chain !== undefined && header.continues(this.#chain)) {
        this.#setEnd(file, at);
        yield frameItem(file, at, { crc: 'damaged', chain: 'ok', commits: [] });
      }
      at = await scanner.findMagic(at + 8, limit);
    }
  }

  /** A whole frame: does it continue the chain, prove that something before it is damaged, or is it left over? */
  async *#judge(file: Visited, at: number): AsyncGenerator<WalInspectionItem> {
    const { header } = file.scanner;
    const chain = (this.#chain ??= {
      nextSequence: header.sequence,
      previousCrc: header.previousCrc,
      epoch: header.epoch,
    });
    const continues = header.continues(chain);
    const isLater = header.epoch >= chain.epoch && header.sequence >= chain.nextSequence;
    if (!continues && !isLater) {
      file.staleFrames++;
      return;
    }
    const isTaken = continues || !this.#isAnchored || header.provesDurable(chain);
    if (isTaken && file.frames++ === 0 && file.header !== 'ok' && !this.#table.has(file.sequence)) {
      yield damage(file.name, 0, 'the header does not hold, and frames of the log follow it');
    }
    if (!continues && isTaken && this.#isAnchored) {
      const alternative = this.#endFile === file.name ? '' : `, or ${file.name} at ${walHeaderBytes}`;
      const what = `frame ${chain.nextSequence} is damaged or missing${alternative}: it was on disk, says frame ${header.sequence}`;
      const reason = this.#reason(this.#endFile, this.#endFile === file.name ? at : undefined);
      yield damage(this.#endFile, this.#endOffset, `${what} (${file.name} at ${at})${reason}`);
    }
    const { commits, end } = isTaken ? this.#commitsOf(file, at) : { commits: [], end: 0 };
    if (isTaken) {
      this.#chain = { nextSequence: header.sequence + 1, previousCrc: header.crc, epoch: header.epoch };
      this.#setEnd(file, alignFrame(at + frameHeaderBytes + header.bodyBytes));
    }
    yield frameItem(file, at, { crc: 'ok', chain: continues ? 'ok' : 'broken', commits });
    if (isTaken && end < header.bodyBytes) {
      yield damage(file.name, at + frameHeaderBytes + end, 'a commit overruns its frame');
    }
  }

  /** The commits of the frame just read, and where in its body they end. */
  #commitsOf({ scanner, sequence }: Visited, at: number): { commits: CommitView[]; end: number } {
    const { buffer, frameStart, header } = scanner;
    const bodyStart = frameStart + frameHeaderBytes;
    const commits: CommitView[] = [];
    const end = visitCommits(buffer, bodyStart, bodyStart + header.bodyBytes, (start, lengthBytes) => {
      const offset = at + start - frameStart;
      const position = (sequence * this.#walFileBytes + offset) as Position;
      commits.push({ buffer, start, lengthBytes, offset, position });
    });
    return { commits, end: end - bodyStart };
  }

  /** Why the frames from where the log ends so far are damaged, if nothing can be read there. */
  #reason(name: string, end?: number): string {
    const block = this.#unreadable.firstIn(name, this.#endOffset, end);
    return block === undefined ? '' : `; ${describeUnreadable(block)}`;
  }

  #setEnd({ name, sequence }: Visited, offset: number): void {
    this.#endFile = name;
    this.#endOffset = offset;
    this.#endPosition = sequence * this.#walFileBytes + offset;
  }
}

/** True if something like a frame lies where the first one would; without a salt more cannot be told. */
const hasFrames = async ({ scanner }: Visited): Promise<boolean> => {
  await scanner.readFrame(walHeaderBytes, 0);
  return scanner.hasHeader;
};

const frameItem = (
  { name, scanner: { header } }: Visited,
  offset: number,
  rest: Pick<FrameItem, 'crc' | 'chain' | 'commits'>,
): FrameItem => ({
  kind: 'frame',
  file: name,
  offset,
  sequence: header.sequence,
  epoch: header.epoch,
  lengthBytes: frameHeaderBytes + header.bodyBytes,
  durableThrough: header.durableThrough,
  ...rest,
});
