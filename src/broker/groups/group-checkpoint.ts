/**
 * Groups in checkpoints, as lines of JSON. A group with many offsets takes several lines, which may be written in several slices;
 * what is about to change is set aside before (copy before change: see sweep.ts), which copies references only, as offsets and
 * memberships are never changed but replaced.
 */
import { PieceWriter, pieceBytes } from '../../shard/piece.ts';
import { type Slice, Sweep, type Swept } from '../../shard/sweep.ts';
import {
  type CommittedOffset,
  type PlainMembership,
  type PlainOffset,
  plainMembership,
  plainOffset,
  type StoredGroup,
} from './stored-group.ts';

export type SweptGroup = StoredGroup & Swept;

/** What the memory of an id takes beside its characters. */
const keyBytes = 32;

/** Offsets of one line. */
const lineOffsets = 200;

/** A line: the group begins, or has more offsets, or is gone. */
export type GroupLine =
  | { readonly group: string; readonly membership: PlainMembership | null; readonly set: readonly PlainOffset[] }
  | { readonly group: string; readonly set: readonly PlainOffset[] }
  | { readonly group: string; readonly gone: true };

type Offset = readonly [topicId: string, partition: number, committed: CommittedOffset];

/** A group that is being written. */
interface Written {
  readonly group: SweptGroup;
  readonly id: string;
  readonly membership: StoredGroup['membership'];
  offsets: Iterator<Offset>;
  isBegun: boolean;
}

function* offsetsOf({ offsets }: StoredGroup): Generator<Offset> {
  for (const [topicId, partitions] of offsets) {
    for (const [partition, committed] of partitions) yield [topicId, partition, committed];
  }
}

const begin = (group: SweptGroup): Written => ({
  group,
  id: group.id,
  membership: group.membership,
  offsets: offsetsOf(group),
  isBegun: false,
});

export class GroupCheckpoint {
  readonly #sweep: Sweep<string, SweptGroup>;
  readonly #piece = new PieceWriter();
  /** Ids of groups that went since the last checkpoint began and did not come back. */
  #gone = new Set<string>();
  #goneLeft: Iterator<string> | undefined;
  /** Groups of the checkpoint under way as they were when it began, to be written before others are looked for. */
  #setAside: Written[] = [];
  /** Read from the groups as they are. */
  #current: Written | undefined;

  constructor(groups: ReadonlyMap<string, SweptGroup>) {
    this.#sweep = new Sweep<string, SweptGroup>({
      find: (id) => groups.get(id),
      all: () => groups.values(),
      capture: (group) => this.#freeze(begin(group)),
      keyBytes: (id) => keyBytes + id.length,
    });
  }

  /** To be called before the group changes or goes. */
  changing(group: SweptGroup): void {
    if (group.changedIn === this.#sweep.period) return;
    if (this.#current?.group === group) {
      this.#freeze(this.#current);
      this.#current = undefined;
    }
    this.#sweep.changing(group.id, group);
  }

  created(group: SweptGroup): void {
    this.#gone.delete(group.id);
    this.#sweep.created(group.id, group);
  }

  removed(group: SweptGroup): void {
    if (!this.needsBase) this.#gone.add(group.id);
  }

  get needsBase(): boolean {
    return this.#sweep.needsBase;
  }

  begin(isBase: boolean): void {
    this.#goneLeft = isBase ? undefined : this.#gone.values();
    this.#gone = new Set();
    this.#sweep.begin(isBase);
  }

  nextPiece(slice: Slice): Buffer | undefined {
    while (this.#piece.sizeBytes < pieceBytes && slice.entitiesLeft > 0 && this.#step(slice));
    return this.#piece.sizeBytes === 0 && this.#isDone ? undefined : this.#piece.take();
  }

  end(): void {
    this.#sweep.end();
    this.#goneLeft = undefined;
    this.#setAside = [];
    this.#current = undefined;
    this.#piece.clear();
  }

  get #isDone(): boolean {
    return (
      this.#goneLeft === undefined && this.#setAside.length === 0 && this.#current === undefined && this.#sweep.isDone
    );
  }

  /** Writes a line; false when there is nothing more to write. */
  #step(slice: Slice): boolean {
    if (this.#goneLeft !== undefined) {
      slice.entitiesLeft--;
      const { done, value: group } = this.#goneLeft.next();
      if (done === true) this.#goneLeft = undefined;
      else this.#write({ group, gone: true });
      return true;
    }
    const setAside = this.#setAside.at(-1);
    if (setAside !== undefined) {
      if (!this.#writeLine(setAside, slice)) this.#setAside.pop();
      return true;
    }
    if (this.#current === undefined) {
      const group = this.#sweep.next(slice);
      if (group === undefined) return false;
      this.#current = begin(group);
    }
    if (!this.#writeLine(this.#current, slice)) this.#current = undefined;
    return true;
  }

  /** False if it was the last one of the group. */
  #writeLine(written: Written, slice: Slice): boolean {
    const set: PlainOffset[] = [];
    let next = written.offsets.next();
    for (; next.done !== true; next = written.offsets.next()) {
      set.push(plainOffset(...next.value));
      if (set.length === lineOffsets) break;
    }
    slice.entitiesLeft -= set.length;
    const { id: group, membership } = written;
    if (written.isBegun) this.#write({ group, set });
    else this.#write({ group, membership: membership === undefined ? null : plainMembership(membership), set });
    written.isBegun = true;
    return next.done !== true;
  }

  #write(line: GroupLine): void {
    this.#piece.text(`${JSON.stringify(line)}\n`);
  }

  #freeze(written: Written): void {
    written.offsets = [...{ [Symbol.iterator]: () => written.offsets }].values();
    this.#setAside.push(written);
  }
}

export function* linesOfPiece(piece: Buffer): Generator<GroupLine> {
  for (let at = 0; at < piece.length; ) {
    const end = piece.indexOf(0x0a, at);
    yield JSON.parse(piece.toString('utf8', at, end)) as GroupLine;
    at = end + 1;
  }
}
