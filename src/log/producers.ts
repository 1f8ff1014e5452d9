/**
 * Idempotent producers of one log: the last five batches of each, so that a repeated batch is answered with the offset it
 * got the first time and a gap is refused. Rules: Apache Kafka, ProducerAppendInfo and ProducerStateEntry.
 */
import type { PieceReader, PieceWriter } from '../shard/piece.ts';

const rememberedBatches = 5;
/** In place of batches that may have been lost: no batch has this sequence, and every batch may come next. */
const lostSequence = -1;
/** Producers remembered per log; beyond it the one that wrote longest ago is forgotten. */
const producersMax = 20_000;
const sequenceModulus = 0x8000_0000;

interface RememberedBatch {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  readonly timestampMs: number;
}

interface Producer {
  epoch: number;
  /** Oldest first. */
  batches: RememberedBatch[];
  /** When its newest batch was appended, by the broker's clock. */
  lastAppendMs: number;
}

export type SequenceVerdict =
  | { readonly kind: 'next' }
  | { readonly kind: 'duplicate'; readonly baseOffset: number; readonly timestampMs: number }
  | { readonly kind: 'out-of-order' }
  | { readonly kind: 'stale-epoch' };

const next: SequenceVerdict = { kind: 'next' };
const outOfOrder: SequenceVerdict = { kind: 'out-of-order' };
const staleEpoch: SequenceVerdict = { kind: 'stale-epoch' };

export class Producers {
  /** In order of the last append. Made with the first: most logs are of queues and have none. */
  #byId: Map<number, Producer> | undefined;

  get size(): number {
    return this.#byId?.size ?? 0;
  }

  /** Decides on a batch; changes nothing. A producer that wrote nothing since `expiredBeforeMs` is not known any more. */
  check(
    producerId: number,
    epoch: number,
    firstSequence: number,
    count: number,
    expiredBeforeMs: number,
  ): SequenceVerdict {
    const producer = this.#byId?.get(producerId);
    if (producer === undefined || producer.lastAppendMs < expiredBeforeMs) return next;
    if (epoch < producer.epoch) return staleEpoch;
    const newest = producer.batches.at(-1)!;
    const mayHaveLost = newest.lastSequence === lostSequence;
    if (epoch > producer.epoch) return firstSequence === 0 || mayHaveLost ? next : outOfOrder;
    const lastSequence = (firstSequence + count - 1) % sequenceModulus;
    for (const batch of producer.batches) {
      if (batch.firstSequence === firstSequence && batch.lastSequence === lastSequence) {
        return { kind: 'duplicate', baseOffset: batch.baseOffset, timestampMs: batch.timestampMs };
      }
    }
    if (mayHaveLost) return next;
    return firstSequence === (newest.lastSequence + 1) % sequenceModulus ? next : outOfOrder;
  }

  /** A batch was appended. */
  apply(
    producerId: number,
    epoch: number,
    firstSequence: number,
    count: number,
    baseOffset: number,
    timestampMs: number,
  ): void {
    this.#byId ??= new Map();
    const byId = this.#byId;
    let producer = byId.get(producerId);
    byId.delete(producerId);
    if (producer === undefined || producer.epoch !== epoch) producer = { epoch, batches: [], lastAppendMs: 0 };
    if (producer.batches.length === rememberedBatches) producer.batches.shift();
    const lastSequence = (firstSequence + count - 1) % sequenceModulus;
    producer.batches.push({ firstSequence, lastSequence, baseOffset, timestampMs });
    producer.lastAppendMs = timestampMs;
    byId.set(producerId, producer);
    if (byId.size > producersMax) byId.delete(byId.keys().next().value!);
  }

  /** Batches may have been lost: each producer may go on with any sequence. Those that are remembered are still known again. */
  acceptLoss(): void {
    for (const { batches, lastAppendMs } of this.#byId?.values() ?? []) {
      if (batches.length === rememberedBatches) batches.shift();
      batches.push({
        firstSequence: lostSequence,
        lastSequence: lostSequence,
        baseOffset: 0,
        timestampMs: lastAppendMs,
      });
    }
  }

  /** Per producer: f64 id, i32 epoch as u32, f64 last append, u32 count of batches; of each u32 first, u32 last, f64 base, f64 time. */
  save(out: PieceWriter): void {
    if (this.#byId === undefined) return;
    for (const [id, { epoch, lastAppendMs, batches }] of this.#byId) {
      out.f64(id);
      out.u32(epoch >>> 0);
      out.f64(lastAppendMs);
      out.u32(batches.length);
      for (const { firstSequence, lastSequence, baseOffset, timestampMs } of batches) {
        out.u32(firstSequence >>> 0);
        out.u32(lastSequence >>> 0);
        out.f64(baseOffset);
        out.f64(timestampMs);
      }
    }
  }

  restore(reader: PieceReader, count: number): void {
    this.#byId = count === 0 ? undefined : new Map();
    for (let i = 0; i < count; i++) {
      const id = reader.f64();
      const epoch = reader.u32() | 0;
      const lastAppendMs = reader.f64();
      const batches = Array.from({ length: reader.u32() }, () => ({
        firstSequence: reader.u32() | 0,
        lastSequence: reader.u32() | 0,
        baseOffset: reader.f64(),
        timestampMs: reader.f64(),
      }));
      this.#byId!.set(id, { epoch, lastAppendMs, batches });
    }
  }
}
