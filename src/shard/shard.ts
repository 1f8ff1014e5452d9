/**
 * A shard: the unit of order, durability and atomicity.
 *
 *   decide -> records -> ShardLog.append -> apply -> (durable) -> reply, deliver
 *
 * The caller decides and encodes records straight into the log's arena; the shard appends them as one commit and hands the
 * same bytes to the owners of the state, with the same code that recovery uses. What may be told to anyone waits at the
 * gate until the commit is durable.
 *
 * A commit is a sequence of records: u8 type, u8 version, u16 zero, u32 payload length, payload. The apply of a released
 * version never changes.
 */
import { BrokerError } from '../core/errors.ts';
import type { Epoch, Position } from '../core/ids.ts';
import type { DurableGate } from './gate.ts';
import type { Checkpoint, CheckpointPiece, LogLoss, ShardLog } from './shard-log.ts';
import { Slice } from './sweep.ts';

/** Types of records; the number is stored, so it is never given to another type. */
export const recordType = {
  messageBlock: 1,
  batch: 2,
  ack: 3,
  deliveredMark: 4,
  fold: 5,
  logStart: 6,
  rewrite: 7,
  catalog: 16,
  offsetCommit: 32,
  groupMetadata: 33,
  producerIds: 34,
} as const;
export type RecordType = (typeof recordType)[keyof typeof recordType];

export const recordHeaderBytes = 8;

/**
 * live: made just now. replay: found at open, not contained in the checkpoint. held: found at open and contained in the
 * checkpoint, which does not know where its messages lie; only that is of interest.
 */
export type ApplyPhase = 'live' | 'replay' | 'held';

/** Owns a part of the shard's durable state and is the only one that changes it. */
export interface StateOwner {
  readonly recordTypes: readonly RecordType[];
  /** Where its messages lie in the log. Whoever has any sees records that the checkpoint contains again at open (phase held). */
  readonly places?: Places;
  /** Bytes [start, end) of buffer are the payload, `position` is that of its first byte. Valid only during the call. */
  apply(
    type: number,
    version: number,
    buffer: Buffer,
    start: number,
    end: number,
    position: Position,
    phase: ApplyPhase,
    epoch: Epoch,
  ): void;
  /** What is small: stored with every checkpoint, and restored before anything else. */
  head(): Buffer;
  restoreHead(head: Buffer): void;
  /** True: what has changed since the last checkpoint is not known, the next one must be a base. */
  readonly needsBase?: boolean;
  /**
   * A checkpoint of the state as it is now begins: a base is all of it, else it is what has changed since the last one began. What
   * changes from now on must not be seen in it.
   */
  beginCheckpoint(isBase: boolean): void;
  /** The next piece of it, made within the slice and valid until the next call; empty if that did not do for any; then undefined. */
  nextPiece(slice: Slice): Buffer | undefined;
  /** It is stored, or given up. */
  endCheckpoint(): void;
  /** A piece as it was stored, the owner's to keep; later ones prevail. Those of owners that were registered before are restored. */
  restorePiece(piece: Buffer): void;
  /** There are no more pieces. */
  endRestore?(): void;
  /** Called once per group of commits that became durable. */
  durableUpTo?(position: Position): void;
}

/** Where messages lie in the log: for a checkpoint at close, so that the next open need not read the log for it. */
export interface Places {
  /** All that comes before this position is to be told. */
  begin(before: Position): void;
  /** As StateOwner.nextPiece(). */
  nextPiece(slice: Slice): Buffer | undefined;
  end(): void;
  /** A piece as it was stored; the state is restored. */
  restorePiece(piece: Buffer): void;
}

/** Small records that go along with the next commit without causing one. */
export interface Rider {
  /** Bytes of all its records with their headers; 0 for none. */
  sizeBytes(): number;
  /** Writes them at `start`. They are still to ride: the commit may be abandoned. */
  write(buffer: Buffer, start: number): void;
  /** What was written is in the log and will be applied next. */
  committed(): void;
}

/** Entities that one slice of a checkpoint looks at: less than 2 ms of work. */
const sliceEntitiesMax = 400;

export class Shard {
  readonly index: number;
  readonly log: ShardLog;
  readonly #gate: DurableGate;
  readonly #sliceEntities: number;
  readonly #owners: StateOwner[] = [];
  readonly #ownerOfType: (StateOwner | undefined)[] = [];
  readonly #durableListeners: StateOwner[] = [];
  readonly #riders: Rider[] = [];
  /** The checkpoint under way; never rejects. */
  #checkpointing: Promise<void> | undefined;
  /** What the state owners noted as changed was for a checkpoint that failed. */
  #hasLostChanges = false;
  /** At open: the owner whose pieces are being restored. */
  #restoring = 0;
  #closing = false;
  #epoch = 0 as Epoch;
  /** Start of the commit under construction in log.reservedBuffer, and where its payload begins. */
  #commitPosition = 0 as Position;
  #commitLengthBytes = 0;
  #ridersAboard = false;
  /** What is missing in the state; undefined unless damage was accepted. */
  loss: LogLoss | undefined;
  onFailed: (error: Error) => void = () => {};

  /** @param sliceEntities that one slice of a checkpoint looks at; tests make it so small that there are slices */
  constructor(index: number, log: ShardLog, gate: DurableGate, sliceEntities: number = sliceEntitiesMax) {
    this.index = index;
    this.log = log;
    this.#gate = gate;
    this.#sliceEntities = sliceEntities;
  }

  get epoch(): Epoch {
    return this.#epoch;
  }

  /** Owners are restored in the order of their registration. */
  register(owner: StateOwner): void {
    this.#owners.push(owner);
    for (const type of owner.recordTypes) this.#ownerOfType[type] = owner;
    if (owner.durableUpTo !== undefined) this.#durableListeners.push(owner);
  }

  addRider(rider: Rider): void {
    this.#riders.push(rider);
  }

  async open(): Promise<void> {
    let checkpointPosition = 0;
    let knowsPlaces = false;
    const opened = await this.log.open(
      (checkpoint) => {
        if (checkpoint === undefined) return;
        checkpointPosition = checkpoint.position;
        knowsPlaces = checkpoint.knowsPlaces === true;
        const heads = storedHeads(checkpoint.data);
        for (const [i, owner] of this.#owners.entries()) owner.restoreHead(heads[i]!);
      },
      (buffer, start, lengthBytes, position, epoch) => {
        if (this.#restoring < this.#owners.length) this.#restoreUpTo(this.#owners.length);
        const isHeld = position < checkpointPosition;
        if (isHeld && knowsPlaces) return;
        this.#apply(buffer, start, lengthBytes, position, epoch, isHeld ? 'held' : 'replay');
      },
      (section, piece) => {
        this.#restoreUpTo(section);
        (this.#owners[section] ?? this.#places)!.restorePiece(piece);
      },
    );
    this.#restoreUpTo(this.#owners.length);
    this.#epoch = opened.epoch;
    this.loss = opened.loss;
    for (const listener of this.#durableListeners) listener.durableUpTo!(this.log.durablePosition);
    this.log.onDurable = (durablePosition) => this.#onDurable(durablePosition as Position);
    this.log.onFailed = (error) => this.onFailed(error);
    this.log.onCheckpointDue = () => this.#checkpointIfWanted();
  }

  /** The owners before this one have all their pieces. */
  #restoreUpTo(index: number): void {
    while (this.#restoring < index) this.#owners[this.#restoring++]!.endRestore?.();
  }

  /**
   * All shards are open and the state is whole: what was found to be wanted by nobody can be given back. If damage was accepted,
   * resolves when a checkpoint says so; if that cannot be stored it is tried again later.
   */
  async endRecovery(): Promise<void> {
    this.#checkpointIfWanted();
    if (this.loss !== undefined) await this.#checkpointing;
  }

  /**
   * Begins a commit of one record (and of what rides along). Returns where the payload starts in `log.reservedBuffer`; the
   * caller fills all of it and calls endCommit() or abandonCommit() in the same turn.
   */
  beginCommit(type: RecordType, version: number, payloadBytes: number): number {
    const at = this.#board(recordHeaderBytes + payloadBytes);
    return writeRecordHeader(this.log.reservedBuffer, at, type, version, payloadBytes);
  }

  /** A commit of nothing but what would ride along. */
  commitRiders(): void {
    this.#board(0);
    this.endCommit();
  }

  /** Reserves a commit and lets the riders in; returns where their records end. */
  #board(ownBytes: number): number {
    let lengthBytes = ownBytes;
    for (const rider of this.#riders) lengthBytes += rider.sizeBytes();
    this.#commitPosition = this.log.reserve(lengthBytes);
    this.#commitLengthBytes = lengthBytes;
    this.#ridersAboard = lengthBytes > ownBytes;
    let at = this.log.reservedStart;
    if (!this.#ridersAboard) return at;
    for (const rider of this.#riders) {
      const bytes = rider.sizeBytes();
      if (bytes > 0) rider.write(this.log.reservedBuffer, at);
      at += bytes;
    }
    return at;
  }

  /** Position in the log of a place in the reserved buffer. */
  positionOf(bufferIndex: number): Position {
    return (this.#commitPosition + bufferIndex - this.log.reservedStart) as Position;
  }

  endCommit(): void {
    const buffer = this.log.reservedBuffer;
    const start = this.log.reservedStart;
    const end = this.log.commit();
    this.#gate.committed(this.index, end);
    if (this.#ridersAboard) for (const rider of this.#riders) rider.committed();
    this.#apply(buffer, start, this.#commitLengthBytes, this.#commitPosition, this.#epoch, 'live');
  }

  abandonCommit(): void {
    this.log.abandon();
  }

  /** A commit of one small record that is encoded already. For what is rare. */
  commitRecord(type: RecordType, version: number, payload: Buffer): void {
    const at = this.beginCommit(type, version, payload.length);
    payload.copy(this.log.reservedBuffer, at);
    this.endCommit();
  }

  async close(): Promise<void> {
    this.#closing = true;
    // A checkpoint under way may wait for a file of the log that cannot be made.
    this.log.beginClose();
    await this.#checkpointing;
    if (this.log.wantsClosingCheckpoint) await this.#checkpoint(this.log.wantsPlaces ? this.#places : undefined);
    await this.log.close();
  }

  #apply(buffer: Buffer, start: number, lengthBytes: number, base: Position, epoch: Epoch, phase: ApplyPhase): void {
    const end = start + lengthBytes;
    let at = start;
    while (at < end) {
      const type = storedRecordType(buffer, at);
      const version = storedRecordVersion(buffer, at);
      const payloadStart = at + recordHeaderBytes;
      const payloadEnd = payloadStart + storedPayloadBytes(buffer, at);
      const owner = this.#ownerOfType[type];
      if (owner === undefined || payloadEnd > end) {
        throw new BrokerError('corrupt', `shard ${this.index}: unknown or torn record of type ${type} at ${base}`);
      }
      if (phase !== 'held' || owner.places !== undefined) {
        const position = (base + payloadStart - start) as Position;
        owner.apply(type, version, buffer, payloadStart, payloadEnd, position, phase, epoch);
      }
      at = payloadEnd;
    }
  }

  #onDurable(durablePosition: Position): void {
    for (const listener of this.#durableListeners) listener.durableUpTo!(durablePosition);
    this.#gate.advance(this.index, durablePosition);
    this.#checkpointIfWanted();
  }

  #checkpointIfWanted(): void {
    if (!this.log.wantsCheckpoint || this.#checkpointing !== undefined) return;
    // After a failure of another shard, or of a read, this log may be at work still.
    if (this.#closing || this.#gate.hasFailed) return;
    this.#checkpointing = this.#checkpoint().then(() => {
      this.#checkpointing = undefined;
      this.#checkpointIfWanted();
    });
  }

  /** One owner has messages. */
  get #places(): Places | undefined {
    return this.#owners.find(({ places }) => places !== undefined)?.places;
  }

  /** @param places to be told as well */
  async #checkpoint(places?: Places): Promise<void> {
    // What the last commit released comes back behind one more commit only, and there may be no other for long.
    this.log.reserve(0);
    this.log.commit();
    const checkpoint: Checkpoint = { position: this.log.endPosition, data: this.#heads() };
    const isBase =
      this.#hasLostChanges || this.log.needsBase || this.#owners.some(({ needsBase }) => needsBase === true);
    for (const owner of this.#owners) owner.beginCheckpoint(isBase);
    places?.begin(checkpoint.position);
    const sections = places === undefined ? this.#owners : [...this.#owners, places];
    this.#hasLostChanges = true;
    try {
      // The state may rest on commits of other shards, such as the deletion of a log whose messages this one gives back.
      await this.#gate.durableNow();
      let section = 0;
      await this.log.writeCheckpoint(checkpoint, {
        isBase,
        placeSection: places && this.#owners.length,
        next: (): CheckpointPiece | undefined => {
          const slice = new Slice(this.#sliceEntities);
          for (; section < sections.length; section++) {
            const bytes = sections[section]!.nextPiece(slice);
            if (bytes !== undefined) return { section, bytes };
          }
          return undefined;
        },
      });
      this.#hasLostChanges = false;
    } catch {
      // The log reports its own failure through onFailed; a checkpoint that could not be stored is tried again later.
    } finally {
      for (const owner of this.#owners) owner.endCheckpoint();
      places?.end();
    }
  }

  #heads(): Buffer {
    const parts: Buffer[] = [];
    for (const owner of this.#owners) {
      const head = owner.head();
      const length = Buffer.alloc(4);
      length.writeUInt32LE(head.length);
      parts.push(length, head);
    }
    return Buffer.concat(parts);
  }
}

/** The heads of all state owners that are in the data of a checkpoint, in the order of their registration; views of it. */
export const storedHeads = (data: Buffer): Buffer[] => {
  const heads: Buffer[] = [];
  for (let at = 0; at < data.length; ) {
    const end = at + 4 + data.readUInt32LE(at);
    heads.push(data.subarray(at + 4, end));
    at = end;
  }
  return heads;
};

/** What the header of the record at buffer[at…] says. */
export const storedRecordType = (buffer: Buffer, at: number): number => buffer[at]!;
export const storedRecordVersion = (buffer: Buffer, at: number): number => buffer[at + 1]!;
export const storedPayloadBytes = (buffer: Buffer, at: number): number => buffer.readUInt32LE(at + 4);

/** Returns where the payload starts. */
export const writeRecordHeader = (
  buffer: Buffer,
  at: number,
  type: RecordType,
  version: number,
  payloadBytes: number,
): number => {
  buffer[at] = type;
  buffer[at + 1] = version;
  buffer[at + 2] = 0;
  buffer[at + 3] = 0;
  buffer.writeUInt32LE(payloadBytes, at + 4);
  return at + recordHeaderBytes;
};
