/**
 * Which entities a checkpoint has still to store, and which the next one will have to: copy before change. Whoever changes an entity
 * says so before; one that the checkpoint under way has not stored yet is captured then, as it was when the checkpoint began.
 *
 * Periods are counted: a checkpoint begins one, and what changes from then on belongs to the next checkpoint.
 */

/** Both are 0 at first, and belong to the sweep. */
export interface Swept {
  /** The period of its last change. */
  changedIn: number;
  /** The period that began with the last checkpoint that has it. */
  savedIn: number;
}

export interface SweepOptions<Key, Entity extends Swept> {
  readonly find: (key: Key) => Entity | undefined;
  readonly all: () => Iterable<Entity>;
  /** Stores the entity in the checkpoint under way, as it is now. */
  readonly capture: (entity: Entity) => void;
  /** About what it takes to keep the key. */
  readonly keyBytes: (key: Key) => number;
}

/** With more than this in keys of what changed since the last checkpoint the next one is a base. */
const changedBytesMax = 2 * 1024 * 1024;

/** What one slice of a checkpoint may still do, in entities that are looked at. */
export class Slice {
  entitiesLeft: number;

  constructor(entities: number) {
    this.entitiesLeft = entities;
  }
}

export class Sweep<Key, Entity extends Swept> {
  readonly #options: SweepOptions<Key, Entity>;
  #period = 1;
  /** Keys of what has changed in this period, unless they became too many. */
  #changed: Key[] = [];
  #changedBytes = 0;
  /** What the checkpoint under way has still to look at. */
  #left: Iterator<Entity | undefined> | undefined;
  #isBase = false;

  constructor(options: SweepOptions<Key, Entity>) {
    this.#options = options;
  }

  /** Entities with another `changedIn` must be announced before they change. */
  get period(): number {
    return this.#period;
  }

  /** What changed is no longer known one by one: only a base can be begun. */
  get needsBase(): boolean {
    return this.#changedBytes > changedBytesMax;
  }

  /** The entity is about to change, or to go. */
  changing(key: Key, entity: Entity): void {
    if (entity.changedIn === this.#period) return;
    if (this.#left !== undefined && this.#isUnsaved(entity)) {
      entity.savedIn = this.#period;
      this.#options.capture(entity);
    }
    entity.changedIn = this.#period;
    this.#note(key);
  }

  /** A new entity: no checkpoint under way has it. */
  created(key: Key, entity: Entity): void {
    entity.changedIn = this.#period;
    entity.savedIn = this.#period;
    this.#note(key);
  }

  #note(key: Key): void {
    this.#changedBytes += this.#options.keyBytes(key);
    if (this.needsBase) this.#changed = [];
    else this.#changed.push(key);
  }

  /** A checkpoint of the state as it is now begins: of all of it, or of what changed since the last one began. */
  begin(isBase: boolean): void {
    const changed = this.#changed;
    this.#changed = [];
    this.#changedBytes = 0;
    this.#period++;
    this.#isBase = isBase;
    this.#left = isBase ? this.#options.all()[Symbol.iterator]() : this.#found(changed);
  }

  /** The next entity to store; undefined when nothing is left, or nothing of the slice. */
  next(slice: Slice): Entity | undefined {
    while (this.#left !== undefined && slice.entitiesLeft > 0) {
      const { done, value: entity } = this.#left.next();
      if (done === true) {
        this.#left = undefined;
        return undefined;
      }
      slice.entitiesLeft--;
      if (entity === undefined || !this.#isUnsaved(entity)) continue;
      entity.savedIn = this.#period;
      return entity;
    }
    return undefined;
  }

  /** The checkpoint is stored or given up: nothing is captured any more. */
  end(): void {
    this.#left = undefined;
  }

  get isDone(): boolean {
    return this.#left === undefined;
  }

  *#found(keys: readonly Key[]): Generator<Entity | undefined> {
    for (const key of keys) yield this.#options.find(key);
  }

  #isUnsaved({ savedIn, changedIn }: Entity): boolean {
    return savedIn !== this.#period && (this.#isBase || changedIn === this.#period - 1);
  }
}
