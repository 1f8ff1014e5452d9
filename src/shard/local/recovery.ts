/**
 * Recovery: finds what is durable, hands it to the shard, and makes the rest of what it found durable.
 *
 * The chain of frames is followed from the starts that the checkpoint's table gives, file by file; it ends at the first
 * frame that does not continue it. That is ordinary (a torn group, pages the disk never got) unless something proves that
 * the damaged frame had been durable: the checkpoint lies behind it, or a later frame's durableThrough covers it. Then it
 * is corruption, and the log refuses to open.
 *
 * What lies beyond the last durableThrough may be in the page cache only, so it is not evidence. It is read, written
 * again to the same place and synced, before a new frame says that it is durable. In place, because positions stay as
 * they are, and because it cannot lose anything: the bytes on disk are either already the same, or were never
 * acknowledged. A crash in the middle leaves a mixture of equal bytes and of unacknowledged ones, which the next recovery
 * judges by their checksums again. A copy to a fresh file would survive a bad sector under the tail, which here fails
 * the open instead; it would cost every start up to a file of writing.
 *
 * If damage is accepted, what is left of the log is found first (salvage.ts). If something is lost, the log goes on in a file of
 * its own, so that nothing that lies behind the damage is ever taken for a part of it, and a checkpoint must follow: its
 * table says which stretches of frames there are. Until it is stored, the next open refuses the same damage again.
 *
 * What cannot be read (EIO) is damaged. At the end of the log, and in files behind it, that alone is corruption: there may have
 * been frames, and nothing can tell.
 *
 * Commits are replayed while the chain is followed, in one pass over the files. If open() rejects, the caller has seen
 * commits that it must forget, together with all state built from them.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Epoch, Position } from '../../core/ids.ts';
import type { Random } from '../../core/random.ts';
import type { Storage } from '../../storage/storage.ts';
import { describeUnreadable, UnreadableBlocks, unreadableBlockBytes } from '../../storage/unreadable-blocks.ts';
import type { OpenProgress, ReplayCommit } from '../shard-log.ts';
import {
  type CheckpointFault,
  checkpointNumber,
  type FileEntry,
  firstEntry,
  inspectCheckpoint,
  type StoredCheckpoint,
} from './checkpoint-file.ts';
import { partNumber } from './checkpoint-part.ts';
import { closedMarkPosition } from './closed-mark.ts';
import { alignFrame, type Chain, frameHeaderBytes, visitCommits } from './frame.ts';
import { FrameScanner } from './frame-scanner.ts';
import { LogEnd } from './log-end.ts';
import { writeAll } from './prepare-file.ts';
import { corrupt, RecoveryFiles } from './recovery-files.ts';
import { type Salvaged, salvage } from './salvage.ts';
import { type FramesEnd, WalFile, walFileName, walFileSequence, walHeaderBytes } from './wal-file.ts';
import { cutsPerRead } from './wal-limits.ts';

export interface RecoveryOptions {
  readonly storage: Storage;
  readonly walFileBytes: number;
  /** Size of the pieces in which files are read back later. */
  readonly readAheadBytes: number;
  readonly durable: boolean;
  readonly random: Random;
  /** Go on over damage, and tell in one line each what is lost. */
  readonly onLoss: ((what: string) => void) | undefined;
  readonly onProgress: (progress: OpenProgress) => void;
  /** A file that is in use, before anything in it is replayed; in order of sequence. */
  readonly onFile: (file: WalFile) => void;
  readonly onCheckpoint: (checkpoint: StoredCheckpoint | undefined) => Promise<void>;
  readonly replay: ReplayCommit;
}

export interface Recovered {
  readonly salt: number;
  readonly chain: Chain;
  /** Offset in the active file (the last one reported by onFile) behind the last frame. */
  readonly endOffset: number;
  readonly upcoming: readonly WalFile[];
  /** Names of files that hold nothing wanted. */
  readonly reclaimed: readonly string[];
  readonly checkpoint: StoredCheckpoint | undefined;
  /** No checkpoint file or part has a higher number, damaged or not. */
  readonly lastCheckpointNumber: number;
  /** Numbers of parts that were written for checkpoints of which there is none. */
  readonly givenUpCheckpoints: readonly number[];
  /** Something is lost: a checkpoint must follow. */
  readonly hasLoss: boolean;
  /** At most so many bytes of commits behind the checkpoint are lost, all of them before a position. */
  readonly lostBytes: number;
  readonly lostBefore: number;
}

/** What Recovered says of checkpoints. */
type Found = Pick<Recovered, 'checkpoint' | 'lastCheckpointNumber' | 'givenUpCheckpoints'>;

/** A stretch of frames that may be in the page cache only. */
interface TailPiece {
  readonly file: WalFile;
  start: number;
  end: number;
}

const describeFault = ({ file, offset, what }: CheckpointFault): string => `${file} at ${offset}: ${what}`;

/** Nothing is lost. */
const noLoss = { hasLoss: false, lostBytes: 0, lostBefore: 0 };

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #unreadable = new UnreadableBlocks();
  readonly #scanner: FrameScanner;
  readonly #files: RecoveryFiles;
  #chain: Chain = { epoch: 0, nextSequence: 1, previousCrc: 0 };
  /** Where the log ended when it was closed; undefined after a crash. */
  #closedAt: number | undefined;
  /** Where checkpoints that are damaged say that they stand; 0 without any. */
  #unreadPosition = 0;
  /** What is wrong with the newest checkpoint; undefined if it is used. */
  #unreadCheckpoint: CheckpointFault | undefined;
  /** The highest durableThrough seen. */
  #durableThrough = 0;
  /** Frames beyond #durableThrough, by sequence: all that is needed to find the tail again. */
  #unproven: Array<{
    readonly sequence: number;
    readonly file: WalFile;
    readonly start: number;
    readonly end: number;
  }> = [];

  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#scanner = new FrameScanner(options.walFileBytes, this.#unreadable);
    const acceptsDamage = options.onLoss !== undefined;
    this.#files = new RecoveryFiles({ ...options, unreadable: this.#unreadable, acceptsDamage });
  }

  async run(): Promise<Recovered> {
    try {
      return await this.#run();
    } catch (error) {
      await this.#files.close();
      throw this.#withCheckpoint(error);
    }
  }

  /** What is missing or ends too early may be so because an older checkpoint had to be used. */
  #withCheckpoint(error: unknown): unknown {
    const fault = this.#unreadCheckpoint;
    if (fault === undefined || !(error instanceof BrokerError) || error.kind !== 'corrupt') return error;
    const cause = error.cause ?? fault.cause;
    const message = `${error.message}; the newest checkpoint cannot be used: ${describeFault(fault)}`;
    return new BrokerError('corrupt', message, cause === undefined ? undefined : { cause });
  }

  async #run(): Promise<Recovered> {
    const { storage } = this.#options;
    const names = await storage.list();
    this.#closedAt = names.map(closedMarkPosition).find((position) => position !== undefined);
    // What a crashed process renamed may not be on disk yet, and what follows builds on it.
    await storage.syncDirectory();
    for (const name of names) if (name.endsWith('.tmp')) await storage.remove(name);
    const found = await this.#loadCheckpoint(names);
    const { checkpoint } = found;
    this.#files.salt = checkpoint?.salt;
    await this.#files.open(names);
    if (this.#acceptsDamage) await this.#files.guessSalt();
    const isFresh = checkpoint === undefined && (await this.#isFresh());
    if (isFresh) return this.#fresh(found);

    const salvaged = this.#acceptsDamage ? await this.#salvage(checkpoint) : undefined;
    if (salvaged !== undefined && salvaged.losses.length > 0) {
      return { ...(await this.#goOnBehind(salvaged, checkpoint, names)), ...found };
    }
    const entries = checkpoint?.files ?? [firstEntry];
    const files = this.#files.takeAll(entries);
    for (const file of files.values()) this.#options.onFile(file);
    await this.#options.onCheckpoint(checkpoint);
    let active = files.get(entries.at(-1)!.sequence)!;
    let endOffset = 0;
    for (const entry of entries) {
      const file = files.get(entry.sequence)!;
      if (this.#canPassOver(file, entry, checkpoint)) this.#passOver(file, entry);
      else if (file.restoredEnd !== undefined) endOffset = await this.#followBehind(file, entry, file.restoredEnd);
      else endOffset = await this.#followTable(file, entry);
    }
    for (;;) {
      const next = await this.#next(active, endOffset);
      if (next === undefined) break;
      active.endOffset = endOffset;
      active = next;
      this.#options.onFile(active);
      endOffset = await this.#follow(active);
    }
    await this.#assertEnd(active, endOffset, checkpoint);
    await this.#makeDurable();
    await active.handle!.sync();
    active.readyBytes = Math.max(active.readyBytes, alignFrame(endOffset));
    return {
      salt: this.#salt,
      chain: this.#chain,
      endOffset,
      ...(await this.#files.sortRest(active)),
      ...found,
      ...noLoss,
    };
  }

  get #acceptsDamage(): boolean {
    return this.#options.onLoss !== undefined;
  }

  /** What can be used of the log, wherever it is damaged. */
  async #salvage(checkpoint: StoredCheckpoint | undefined): Promise<Salvaged> {
    const { walFileBytes, onLoss, onProgress } = this.#options;
    const salvaged = await salvage({
      onProgress,
      files: this.#files.handles(),
      unopened: this.#files.unopened,
      salt: this.#salt,
      walFileBytes,
      checkpoint,
      unreadPosition: Math.max(this.#unreadPosition, this.#closedAt ?? 0),
      unreadable: this.#unreadable,
    });
    if (salvaged.losses.length > 0) this.#tellUnreadable();
    for (const { sequence } of salvaged.entries) {
      if (await this.#files.repairHeader(sequence))
        onLoss?.(`${walFileName(sequence)}: only the header, which is written again`);
    }
    for (const { what } of salvaged.losses) onLoss?.(what);
    return salvaged;
  }

  #tellUnreadable(): void {
    for (const { message } of this.#files.unopened.values()) this.#options.onLoss?.(message);
    for (const name of this.#unreadable.names) {
      for (const block of this.#unreadable.of(name)) {
        this.#options.onLoss?.(`${name}: ${describeUnreadable(block)}, up to ${unreadableBlockBytes} bytes`);
      }
    }
  }

  /** Replays what was salvaged; the log goes on in a new file. */
  async #goOnBehind(
    { entries, chain, nextPosition, lostBytes, lostBefore }: Salvaged,
    checkpoint: StoredCheckpoint | undefined,
    names: readonly string[],
  ): Promise<Omit<Recovered, keyof Found>> {
    const { walFileBytes, onFile, onCheckpoint } = this.#options;
    const files = this.#files.takeAll(entries);
    for (const file of files.values()) onFile(file);
    const sequences = names.map((name) => walFileSequence(name) ?? 0);
    const active = new WalFile(Math.max(Math.floor(nextPosition / walFileBytes), ...sequences) + 1);
    onFile(active);
    await onCheckpoint(checkpoint);
    for (const entry of entries) await this.#followStretch(files.get(entry.sequence)!, entry);
    await this.#makeDurable();
    const rest = await this.#files.sortRest(active);
    return { salt: this.#salt, chain, endOffset: walHeaderBytes, ...rest, hasLoss: true, lostBytes, lostBefore };
  }

  /** The newest checkpoint that is whole. */
  async #loadCheckpoint(names: string[]): Promise<Found> {
    const numbers = names.map(checkpointNumber).filter((number) => number !== undefined);
    numbers.sort((a, b) => b - a);
    const lastNumber = numbers[0] ?? 0;
    const partNumbers = names.map(partNumber).filter((number) => number !== undefined);
    const rest = {
      lastCheckpointNumber: partNumbers.reduce((last, number) => Math.max(last, number), lastNumber),
      givenUpCheckpoints: partNumbers.filter((number) => number > lastNumber),
    };
    for (const number of numbers) {
      const found = await inspectCheckpoint(this.#options.storage, number, this.#options.onProgress);
      if (!('what' in found)) return { checkpoint: found, ...rest };
      const message = describeFault(found);
      if (found.kind === 'unsupported') throw new BrokerError('unsupported', message);
      this.#unreadCheckpoint ??= found;
      this.#unreadPosition = Math.max(this.#unreadPosition, found.position);
      this.#options.onLoss?.(`${message}; an older one or none is used`);
    }
    const isStartLost = numbers.length > 0 && !names.includes(walFileName(firstEntry.sequence));
    if (isStartLost && !this.#acceptsDamage) {
      throw corrupt("no checkpoint can be used, and the log's first file is gone");
    }
    return { checkpoint: undefined, ...rest };
  }

  /** True if no frame was ever written: the log is new, or its first start did not get so far. */
  async #isFresh(): Promise<boolean> {
    const { candidates, salt, unopened } = this.#files;
    const [unopenedError] = unopened.values();
    if (salt === undefined && unopenedError !== undefined) throw unopenedError;
    if (candidates.has(firstEntry.sequence) || (salt !== undefined && this.#acceptsDamage)) return false;
    if (candidates.size > 0) throw corrupt(`the first file, ${walFileName(firstEntry.sequence)}, is missing`);
    const sequence = await this.#files.findHeadlessFrames();
    if (sequence !== undefined) throw this.#files.damagedHeader(walFileName(sequence));
    return true;
  }

  /** Of the log, known once a file with a right header is. */
  get #salt(): number {
    return this.#files.salt!;
  }

  async #fresh(found: Found): Promise<Recovered> {
    this.#options.onFile(new WalFile(firstEntry.sequence));
    await this.#options.onCheckpoint(undefined);
    await this.#files.discardHeadless();
    return {
      salt: Number.parseInt(this.#options.random.hex(4), 16),
      chain: this.#chain,
      endOffset: walHeaderBytes,
      upcoming: [],
      reclaimed: [],
      ...found,
      ...noLoss,
    };
  }

  /** The checkpoint has all that the stretch would be read for. */
  #canPassOver(file: WalFile, { endOffset }: FileEntry, checkpoint: StoredCheckpoint | undefined): boolean {
    if (file.restoredCuts === undefined || endOffset === 0) return false;
    return file.sequence * this.#options.walFileBytes + endOffset <= checkpoint!.position;
  }

  #passOver(file: WalFile, entry: FileEntry): void {
    file.cuts = file.restoredCuts!;
    file.chainStart ??= entry.chainStart;
    this.#sealAt(file, entry);
  }

  /** Follows the chain in the last file from where it stood at the checkpoint, which has all that the frames before would be read for. */
  #followBehind(file: WalFile, { chainStart }: FileEntry, { endOffset, chain }: FramesEnd): Promise<number> {
    file.cuts = file.restoredCuts!;
    file.chainStart = chainStart;
    this.#chain = { ...chain };
    this.#durableThrough = chain.nextSequence - 1;
    return this.#follow(file, endOffset);
  }

  /** Follows the chain through a stretch of the checkpoint's table. */
  async #followTable(file: WalFile, entry: FileEntry): Promise<number> {
    const endOffset = await this.#followStretch(file, entry);
    if (entry.endOffset === 0) return endOffset;
    this.#durableThrough = Math.max(this.#durableThrough, this.#chain.nextSequence - 1);
    this.#unproven = [];
    return endOffset;
  }

  /** Follows the chain through a stretch, whose end must be where it is said to be. */
  async #followStretch(file: WalFile, entry: FileEntry): Promise<number> {
    const { frameSequence, previousCrc, epoch } = entry.chainStart;
    this.#chain = { nextSequence: frameSequence, previousCrc, epoch };
    const endOffset = await this.#follow(file, entry.startOffset);
    if (entry.endOffset === 0) return endOffset;
    if (endOffset !== entry.endOffset) {
      const start = alignFrame(endOffset);
      const message = `${file.name} is damaged at offset ${start}, before a checkpoint`;
      throw this.#files.damaged(message, file.name, start, entry.endOffset);
    }
    file.cuts.end(endOffset);
    this.#sealAt(file, entry);
    return endOffset;
  }

  #sealAt(file: WalFile, entry: FileEntry): void {
    file.endOffset = entry.endOffset;
    file.stretches = [...file.stretches, entry];
  }

  /** Follows the chain through one file, replays its commits and returns the offset behind its last frame. */
  async #follow(file: WalFile, startOffset: number = walHeaderBytes): Promise<number> {
    const { nextSequence, previousCrc, epoch } = this.#chain;
    const scanner = this.#scanner;
    const { header } = scanner;
    const basePosition = file.sequence * this.#options.walFileBytes;
    let endOffset = startOffset;
    scanner.openAt(file.handle!);
    while (true) {
      const start = alignFrame(endOffset);
      if (!(await scanner.readFrame(start, this.#salt)) || !header.continues(this.#chain)) break;
      file.chainStart ??= { frameSequence: nextSequence, previousCrc, epoch };
      file.cuts.note(start, header.crc, this.#options.readAheadBytes / cutsPerRead);
      this.#chain.nextSequence++;
      this.#chain.previousCrc = header.crc;
      this.#chain.epoch = header.epoch;
      endOffset = start + frameHeaderBytes + header.bodyBytes;
      this.#noteUnproven(file, start, endOffset);
      this.#replay(basePosition + start + frameHeaderBytes);
    }
    return endOffset;
  }

  #noteUnproven(file: WalFile, start: number, end: number): void {
    const { sequence, durableThrough } = this.#scanner.header;
    this.#unproven.push({ sequence, file, start, end });
    if (durableThrough <= this.#durableThrough) return;
    this.#durableThrough = durableThrough;
    this.#unproven = this.#unproven.filter((frame) => frame.sequence > durableThrough);
  }

  /** Hands over the commits of the frame just read, whose body begins at this position. */
  #replay(bodyPosition: number): void {
    const { buffer, frameStart, header } = this.#scanner;
    const bodyStart = frameStart + frameHeaderBytes;
    const bodyEnd = bodyStart + header.bodyBytes;
    const end = visitCommits(buffer, bodyStart, bodyEnd, (at, lengthBytes) => {
      const position = (bodyPosition + at - bodyStart) as Position;
      this.#options.replay(buffer, at, lengthBytes, position, header.epoch as Epoch);
    });
    if (end !== bodyEnd) throw corrupt(`commit at position ${bodyPosition + end - bodyStart} overruns its frame`);
  }

  /** Nothing was written behind this end. */
  #wasClosedAt(file: WalFile, endOffset: number): boolean {
    return file.sequence * this.#options.walFileBytes + endOffset === this.#closedAt;
  }

  /** The next file, if its first frame continues the chain, which ends at `endOffset` of this one. */
  async #next(file: WalFile, endOffset: number): Promise<WalFile | undefined> {
    if (this.#wasClosedAt(file, endOffset)) return undefined;
    const candidate = this.#files.candidates.get(file.sequence + 1);
    if (candidate === undefined) return undefined;
    this.#scanner.openAt(candidate.handle);
    const continues =
      (await this.#scanner.readFrame(walHeaderBytes, this.#salt)) && this.#scanner.header.continues(this.#chain);
    return continues ? this.#files.take(candidate.sequence) : undefined;
  }

  /** Throws if what the chain ended at had been durable, or may have been. */
  #assertEnd(file: WalFile, endOffset: number, checkpoint: StoredCheckpoint | undefined): Promise<void> {
    const end = new LogEnd({
      files: this.#files,
      scanner: this.#scanner,
      salt: this.#salt,
      walFileBytes: this.#options.walFileBytes,
      chain: this.#chain,
      checkpoint,
      unreadPosition: this.#unreadPosition,
      closedAt: this.#closedAt,
    });
    return end.assertIsWhole(file, endOffset);
  }

  /** Writes again what may be in the page cache only. */
  async #makeDurable(): Promise<void> {
    const pieces: TailPiece[] = [];
    for (const { file, start, end } of this.#unproven) {
      const last = pieces.at(-1);
      if (last?.file === file) last.end = end;
      else pieces.push({ file, start, end });
    }
    for (const { file, start, end } of pieces) {
      const handle = file.handle!;
      const buffer = Buffer.allocUnsafeSlow(Math.min(end - start, 1024 * 1024));
      for (let at = start; at < end; at += buffer.length) {
        const readBytes = await this.#unreadable.read(
          handle,
          buffer.subarray(0, Math.min(buffer.length, end - at)),
          at,
        );
        this.#files.assertReadable(file.name, at, at + readBytes);
        await writeAll(handle, buffer, readBytes, at);
      }
      await handle.sync();
    }
  }
}
