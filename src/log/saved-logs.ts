/**
 * Logs in a checkpoint: their numbers, not their messages. Little-endian:
 *
 *   u32 length of the rest, u32 id, f64 start, f64 end, f64 kept from (Infinity: nothing), u32 count of epochs, u32 count of subscriptions, u32 count of producers
 *   per epoch: u32 epoch, f64 first offset
 *   per subscription: u32 id, f64 floor, f64 delivered mark, u32 count of ranges, f64 from and f64 to of each
 *   per producer: see producers.ts
 */
import { PieceReader, type PieceWriter } from '../shard/piece.ts';
import type { AckSet } from './ack-set.ts';
import type { Log } from './log.ts';

export const saveLog = (out: PieceWriter, log: Log): void => {
  const lengthAt = out.sizeBytes;
  out.u32(0);
  out.u32(log.id);
  out.f64(log.startOffset);
  out.f64(log.endOffset);
  out.f64(log.keptFrom);
  out.u32(log.epochs.length / 2);
  out.u32(log.subscriptions.size);
  out.u32(log.producers.size);
  for (let i = 0; i < log.epochs.length; i += 2) {
    out.u32(log.epochs[i]!);
    out.f64(log.epochs[i + 1]!);
  }
  for (const [id, { floor, deliveredMark, ranges }] of log.subscriptions) {
    out.u32(id);
    out.f64(floor);
    out.f64(deliveredMark);
    out.u32(ranges.length / 2);
    for (const offset of ranges) out.f64(offset);
  }
  log.producers.save(out);
  out.setU32(lengthAt, out.sizeBytes - lengthAt - 4);
};

interface Place {
  readonly piece: Buffer;
  readonly at: number;
}

/** The logs of a checkpoint, by id, until someone asks for them: the latest word on each. */
export class SavedLogs {
  readonly #places = new Map<number, Place>();

  get ids(): Iterable<number> {
    return this.#places.keys();
  }

  has(id: number): boolean {
    return this.#places.has(id);
  }

  /** @param onSubscription called with the id of each subscription that has settled anything in any of them */
  add(piece: Buffer, onSubscription: (id: number) => void): void {
    const reader = new PieceReader(piece, 0);
    while (!reader.isAtEnd) {
      const end = reader.u32() + reader.at;
      const { at } = reader;
      this.#places.set(reader.u32(), { piece, at });
      reader.at = at;
      visitSubscriptions(reader, (id) => onSubscription(id));
      reader.at = end;
    }
  }

  /** Sets the numbers of a log, and what is settled in the subscriptions that it has. */
  restore(log: Log): void {
    const { piece, at } = this.#places.get(log.id)!;
    const reader = new PieceReader(piece, at + 4);
    log.startOffset = reader.f64();
    log.endOffset = log.durableEnd = log.visibleEnd = reader.f64();
    log.keptFrom = reader.f64();
    const epochCount = reader.u32();
    reader.u32();
    const producerCount = reader.u32();
    for (let i = 0; i < epochCount; i++) log.noteEpoch(reader.u32(), reader.f64());
    reader.at = at;
    // A subscription that the catalog does not have (yet) is not restored: nobody would ever remove it again.
    visitSubscriptions(reader, (id, floor, mark, ranges) => {
      const acks = log.subscriptions.get(id);
      if (acks !== undefined) restoreAcks(acks, floor, mark, ranges);
    });
    log.producers.restore(reader, producerCount);
  }

  /** What a subscription has settled, for one that was added after its log. */
  restoreSubscription(log: Log, subscriptionId: number, acks: AckSet): void {
    const place = this.#places.get(log.id);
    if (place === undefined) return;
    visitSubscriptions(new PieceReader(place.piece, place.at), (id, floor, mark, ranges) => {
      if (id === subscriptionId) restoreAcks(acks, floor, mark, ranges);
    });
  }

  clear(): void {
    this.#places.clear();
  }
}

type VisitSubscription = (id: number, floor: number, mark: number, ranges: readonly number[]) => void;

const noRanges: readonly number[] = [];

/** From the id of a log on to behind its subscriptions. */
const visitSubscriptions = (reader: PieceReader, visit: VisitSubscription): void => {
  reader.at += 28;
  const epochCount = reader.u32();
  const subscriptionCount = reader.u32();
  reader.at += 4 + 12 * epochCount;
  for (let i = 0; i < subscriptionCount; i++) {
    const id = reader.u32();
    const floor = reader.f64();
    const mark = reader.f64();
    const rangeCount = reader.u32();
    visit(id, floor, mark, rangeCount === 0 ? noRanges : Array.from({ length: 2 * rangeCount }, () => reader.f64()));
  }
};

const restoreAcks = (acks: AckSet, floor: number, mark: number, ranges: readonly number[]): void => {
  acks.raiseFloor(floor);
  for (let i = 0; i < ranges.length; i += 2) acks.add(ranges[i]!, ranges[i + 1]!);
  acks.deliveredMark = acks.pendingMark = Math.max(acks.deliveredMark, mark);
};
