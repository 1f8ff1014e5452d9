// Counts deliveries and acknowledges them in groups; the acknowledgements of one read go out in one write.
import { FRAME_METHOD, METHOD, multipleAckFrame, TaggedBatch, tagOffset } from './codec.ts';
import { CHANNEL, type RawConnection } from './connection.ts';

const ACKS_PER_WRITE = 4096;

export class Consumer {
  consumedCount = 0;
  readonly #connection: RawConnection;
  readonly #ackEvery: number;
  readonly #acks = new TaggedBatch(multipleAckFrame(CHANNEL, 0), tagOffset(0), ACKS_PER_WRITE);

  /** `ackEvery`: one acknowledgement, with `multiple`, for that many deliveries; 0 for none. */
  constructor(connection: RawConnection, ackEvery: number) {
    this.#connection = connection;
    this.#ackEvery = ackEvery;
    connection.onFrame = (type, bytes, at) => this.#count(type, bytes, at);
    connection.onChunkEnd = () => this.#flush();
  }

  #count(type: number, bytes: Buffer, at: number): void {
    if (type !== FRAME_METHOD || bytes.readUInt32BE(at) !== METHOD.deliver) return;
    this.consumedCount += 1;
    if (this.#ackEvery === 0 || this.consumedCount % this.#ackEvery !== 0) return;
    const tagAt = at + 5 + bytes[at + 4]!; // after the consumer tag
    this.#acks.add(bytes.readUInt32BE(tagAt) * 2 ** 32 + bytes.readUInt32BE(tagAt + 4));
    if (this.#acks.isFull) this.#flush();
  }

  #flush(): void {
    const acks = this.#acks.take();
    if (acks !== undefined) this.#connection.socket.write(acks);
  }
}
