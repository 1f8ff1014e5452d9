/**
 * The checkpoints of one log: writes them, each with a part of its own if there is something to put into it, and removes those
 * that are not needed any more. The newest and the one before it are kept, with the parts that they name.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Storage } from '../../storage/storage.ts';
import type { Checkpoint, CheckpointPieces, OpenProgress, RestorePiece } from '../shard-log.ts';
import {
  checkpointName,
  checkpointNumber,
  type FileEntry,
  knowsPlaces,
  type StoredCheckpoint,
  storeCheckpoint,
} from './checkpoint-file.ts';
import {
  type CheckpointPart,
  createPart,
  type PartWriter,
  partBytes,
  partName,
  partNumber,
  readSection,
  stateBytes,
} from './checkpoint-part.ts';
import { isFull } from './operating-error.ts';
import { removeIfThere } from './prepare-file.ts';
import { checkpointDeltasMax } from './wal-limits.ts';

/** The base may be smaller than the deltas after it as long as all of them are small. */
const smallBytes = 64 * 1024;

export interface CheckpointStoreOptions {
  readonly storage: Storage;
  /** The disk is full: frees space; false if nothing could be done. */
  readonly makeRoom: () => Promise<boolean>;
}

/** Sections of the log itself, counted from that of the places: how its files are cut, and which segments there are. */
export const ownSection = { cuts: 1, segments: 2 } as const;

/** What is in the directory when the log opens. */
export interface FoundCheckpoints {
  readonly salt: number;
  /** No checkpoint or part, whole or not, has a higher number. */
  readonly lastNumber: number;
  readonly newest: StoredCheckpoint | undefined;
  /** Numbers of parts that no checkpoint can name. */
  readonly givenUp: readonly number[];
}

export class CheckpointStore {
  readonly #options: CheckpointStoreOptions;
  #salt = 0;
  /** No checkpoint or part, whole or not, has a higher number. */
  #lastNumber = 0;
  /** The newest checkpoint known to be good. */
  #newest: StoredCheckpoint | undefined;
  /** While there are any, no file of the newest checkpoints is removed. */
  #keeperCount = 0;
  /** Numbers of checkpoints that could not be stored, as long as there may be files of them. */
  #givenUp: readonly number[] = [];

  constructor(options: CheckpointStoreOptions) {
    this.#options = options;
  }

  /** Goes on with what was found, and removes what checkpoints left that did not come to be. */
  async start({ salt, lastNumber, newest, givenUp }: FoundCheckpoints): Promise<void> {
    this.#salt = salt;
    this.#lastNumber = lastNumber;
    this.#newest = newest;
    this.#givenUp = givenUp;
    await this.#removeGivenUp();
  }

  /** The newest checkpoint. Until letGo() no file of any checkpoint is removed. */
  keep(): StoredCheckpoint | undefined {
    this.#keeperCount++;
    return this.#newest;
  }

  letGo(): void {
    this.#keeperCount--;
  }

  /** Everything before it is in the newest checkpoint; undefined if there is none. */
  get position(): number | undefined {
    return this.#newest?.position;
  }

  /** The newest checkpoint says where messages lie. */
  get knowsPlaces(): boolean {
    return this.#newest !== undefined && knowsPlaces(this.#newest);
  }

  get needsBase(): boolean {
    if (this.#newest === undefined) return true;
    const { parts } = this.#newest;
    if (parts.length > checkpointDeltasMax) return true;
    const [base = 0, ...deltas] = parts.map(stateBytes);
    return deltas.reduce((sum, bytes) => sum + bytes, 0) > Math.max(base, smallBytes);
  }

  /** About what the next checkpoint will write: as much as the last one of its kind. */
  get nextBytes(): number {
    if (this.#newest === undefined) return 0;
    const { parts, data } = this.#newest;
    const part = this.needsBase ? parts[0] : parts.slice(1).at(-1);
    return data.length + (part === undefined ? 0 : stateBytes(part));
  }

  /**
   * Hands over the log's own pieces of a checkpoint that knows places, by their section: see ownSection.
   * @throws BrokerError 'corrupt'
   */
  async restoreOwn({ parts }: StoredCheckpoint, onPiece: RestorePiece): Promise<void> {
    const part = parts.at(-1)!;
    for (const section of Object.values(ownSection)) {
      await readSection(this.#options.storage, part, part.stateSections + section, (bytes) => onPiece(section, bytes));
    }
  }

  /**
   * Hands over the pieces of a checkpoint, those of the places last if they are wanted.
   * @throws BrokerError 'corrupt'
   */
  async restore(
    { parts }: StoredCheckpoint,
    wantsPlaces: boolean,
    onPiece: RestorePiece,
    onProgress: (progress: OpenProgress) => void,
  ): Promise<void> {
    const { storage } = this.#options;
    const own = wantsPlaces ? parts.at(-1) : undefined;
    const whole = parts.reduce(
      (sum, part) => sum + stateBytes(part),
      own === undefined ? 0 : partBytes(own) - stateBytes(own),
    );
    const stateSections = Math.max(0, ...parts.map((part) => part.stateSections));
    let done = 0;
    const read = (part: CheckpointPart, section: number): Promise<number> =>
      readSection(storage, part, section, (bytes) => {
        onPiece(section, bytes);
        done += bytes.length;
        onProgress({ what: 'checkpoint', done, whole });
      });
    for (let section = 0; section < stateSections; section++) {
      for (const part of parts) if (section < part.stateSections) await read(part, section);
    }
    if (own !== undefined) await read(own, own.stateSections);
  }

  /**
   * Stores a checkpoint; it counts when this resolves. If it rejects nothing of it stays, as soon as the files can be removed.
   * @param filesThen once all pieces are written: waits for what the checkpoint rests on and gives the table of log files
   */
  async write(
    checkpoint: Checkpoint,
    pieces: CheckpointPieces | undefined,
    filesThen: () => Promise<readonly FileEntry[]>,
  ): Promise<void> {
    const before = this.#newest;
    const number = ++this.#lastNumber;
    await this.#removeGivenUp();
    try {
      this.#newest = await this.#store(number, checkpoint, pieces, filesThen);
    } catch (error) {
      this.#givenUp = [...this.#givenUp, number];
      await this.#removeGivenUp();
      throw error;
    }
    await this.#removeAllBut(before === undefined ? [this.#newest] : [before, this.#newest]);
  }

  async #store(
    number: number,
    { position, data }: Checkpoint,
    pieces: CheckpointPieces | undefined,
    filesThen: () => Promise<readonly FileEntry[]>,
  ): Promise<StoredCheckpoint> {
    const before = this.#newest;
    const isBase = pieces?.isBase ?? true;
    if (!isBase && this.needsBase) throw new Error('this checkpoint must be a base');
    const part = pieces === undefined ? undefined : await this.#writePart(number, pieces);
    const parts = [...(isBase ? [] : before!.parts), ...(part === undefined ? [] : [part])];
    const stored = { number, salt: this.#salt, position, data, parts, files: await filesThen() };
    await this.#withRoom(() => storeCheckpoint(this.#options.storage, stored));
    return stored;
  }

  /** Undefined if there are no pieces. */
  async #writePart(number: number, pieces: CheckpointPieces): Promise<CheckpointPart | undefined> {
    let writer: PartWriter | undefined;
    try {
      for (let piece = pieces.next(); piece !== undefined; piece = pieces.next()) {
        const { section, bytes } = piece;
        if (bytes.length > 0) {
          writer ??= await this.#withRoom(() => createPart(this.#options.storage, number, this.#salt));
          await this.#withRoom(() => writer!.append(section, bytes));
        }
        await nextTurn();
      }
      return await writer?.sync(number, pieces.placeSection).catch(async (error: unknown) => {
        // What a sync has given up no later one brings to the disk. Another try writes all of it again, and finds room then.
        if (isFull(error)) await this.#options.makeRoom();
        throw error;
      });
    } finally {
      await writer?.close();
    }
  }

  /** On a full disk what is prepared for later gives its space to the checkpoint, which is what frees more. */
  async #withRoom<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isFull(error) || !(await this.#options.makeRoom())) throw error;
      return await work();
    }
  }

  /** What cannot be removed is tried again with the next checkpoint. */
  async #removeGivenUp(): Promise<void> {
    const kept: number[] = [];
    for (const number of this.#givenUp) await this.#removeFilesOf(number).catch(() => kept.push(number));
    this.#givenUp = kept;
  }

  /** A checkpoint that has its name already goes before the part that it names. */
  async #removeFilesOf(number: number): Promise<void> {
    const { storage } = this.#options;
    const name = checkpointName(number);
    await removeIfThere(storage, `${name}.tmp`);
    await removeIfThere(storage, name);
    await storage.syncDirectory();
    await removeIfThere(storage, partName(number));
  }

  /** Leftovers take space but do no harm, so errors do not matter here. */
  async #removeAllBut(kept: readonly StoredCheckpoint[]): Promise<void> {
    if (this.#keeperCount > 0) return;
    const names = new Set(
      kept.flatMap(({ number, parts }) => [checkpointName(number), ...parts.map((part) => partName(part.number))]),
    );
    try {
      for (const name of await this.#options.storage.list()) {
        if (names.has(name)) continue;
        if (checkpointNumber(name) !== undefined || partNumber(name) !== undefined)
          await this.#options.storage.remove(name);
      }
    } catch {}
  }
}
