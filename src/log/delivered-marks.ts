/** Delivered marks that wait for a commit to ride on: how far each subscription has delivered, so that a restart knows what comes again. */
import { type Rider, recordHeaderBytes, recordType, writeRecordHeader } from '../shard/shard.ts';
import type { AckSet } from './ack-set.ts';
import type { Log } from './log.ts';
import { markBytes } from './log-records.ts';

export class DeliveredMarks implements Rider {
  readonly #waiting = new Map<AckSet, { readonly log: Log; readonly subscriptionId: number }>();

  /** Messages below `mark` have been delivered. */
  note(log: Log, subscriptionId: number, acks: AckSet, mark: number): void {
    if (mark <= acks.pendingMark) return;
    if (acks.pendingMark <= acks.deliveredMark) this.#waiting.set(acks, { log, subscriptionId });
    acks.pendingMark = mark;
  }

  /** The subscription is gone. */
  forget(acks: AckSet): void {
    this.#waiting.delete(acks);
  }

  sizeBytes(): number {
    return this.#waiting.size === 0 ? 0 : recordHeaderBytes + markBytes * this.#waiting.size;
  }

  write(buffer: Buffer, start: number): void {
    let at = writeRecordHeader(buffer, start, recordType.deliveredMark, 1, markBytes * this.#waiting.size);
    for (const [acks, { log, subscriptionId }] of this.#waiting) {
      buffer.writeUInt32LE(log.id, at);
      buffer.writeUInt32LE(subscriptionId, at + 4);
      buffer.writeDoubleLE(acks.pendingMark, at + 8);
      at += markBytes;
    }
  }

  committed(): void {
    this.#waiting.clear();
  }
}
