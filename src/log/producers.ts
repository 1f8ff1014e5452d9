/**
 * Idempotent producers of one log: the last five batches of each, so that a repeated batch is answered with the offset it
 * got the first time and a gap is refused. Rules: Apache Kafka, ProducerAppendInfo and ProducerStateEntry.
 */
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

  snapshot(): ProducersSnapshot {
    return [...(this.#byId ?? [])].map(([id, producer]) => [
      id,
      producer.epoch,
      producer.lastAppendMs,
      producer.batches,
    ]);
  }

  restore(snapshot: ProducersSnapshot): void {
    if (snapshot.length > 0) this.#byId ??= new Map();
    for (const [id, epoch, lastAppendMs, batches] of snapshot) this.#byId!.set(id, { epoch, lastAppendMs, batches });
  }
}

export type ProducersSnapshot = [id: number, epoch: number, lastAppendMs: number, batches: RememberedBatch[]][];
