// Shows what the generator itself can do: a server that answers its handshake, confirms what it has read at the end of every read, and
// delivers from a buffer encoded beforehand. It stores, routes and checks nothing.
import { createServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import {
  contentFrames,
  FRAME_BODY,
  FRAME_METHOD,
  FrameReader,
  longString,
  METHOD,
  methodFrame,
  multipleAckFrame,
  octet,
  PROTOCOL_HEADER,
  shortString,
  TaggedBatch,
  table,
  tagOffset,
  uint16,
  uint32,
  uint64,
} from './codec.ts';
import { CHANNEL } from './connection.ts';

const READ_BUFFER_BYTES = 256 * 1024;
const FRAME_MAX_BYTES = 131_072;
const BODY_BYTES = 100;
const DELIVERIES_PER_WRITE = 1024;

const CONSUMER_TAG = shortString('c');

/** Answers that do not depend on the question. */
const ANSWERS: Readonly<Record<number, Buffer>> = {
  [METHOD.connectionStartOk]: methodFrame(0, METHOD.connectionTune, uint16(2047), uint32(FRAME_MAX_BYTES), uint16(0)),
  [METHOD.connectionOpen]: methodFrame(0, METHOD.connectionOpenOk, shortString('')),
  [METHOD.channelOpen]: methodFrame(CHANNEL, METHOD.channelOpenOk, longString('')),
  [METHOD.queueDeclare]: methodFrame(CHANNEL, METHOD.queueDeclareOk, shortString('sink'), uint32(0), uint32(0)),
  [METHOD.queueDelete]: methodFrame(CHANNEL, METHOD.queueDeleteOk, uint32(0)),
  [METHOD.confirmSelect]: methodFrame(CHANNEL, METHOD.confirmSelectOk),
  [METHOD.qos]: methodFrame(CHANNEL, METHOD.qosOk),
  [METHOD.consume]: methodFrame(CHANNEL, METHOD.consumeOk, CONSUMER_TAG),
};

const START = methodFrame(
  0,
  METHOD.connectionStart,
  ...[octet(0), octet(9), table({ product: 'sink' }), longString('PLAIN'), longString('en_US')],
);

const DELIVERY = Buffer.concat([
  methodFrame(CHANNEL, METHOD.deliver, CONSUMER_TAG, uint64(0), octet(0), shortString(''), shortString('sink')),
  contentFrames(CHANNEL, Buffer.alloc(BODY_BYTES, 'x'), true),
]);

/** One client: a publisher whose messages are counted, or a consumer that is kept supplied up to its prefetch. */
class Session {
  readonly #socket: Socket;
  #hasConfirms = false;
  #publishedCount = 0;
  #confirmedCount = 0;
  #prefetch = 0;
  #isConsuming = false;
  #deliveredCount = 0;
  #ackedCount = 0;
  #isGreeted = false;
  readonly #deliveries = new TaggedBatch(DELIVERY, tagOffset(CONSUMER_TAG.length), DELIVERIES_PER_WRITE);
  readonly #reader = new FrameReader((type, bytes, at) => this.#onFrame(type, bytes, at));

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  read(chunk: Buffer): void {
    if (!this.#isGreeted) {
      this.#isGreeted = true;
      this.#socket.write(START);
      this.#reader.push(chunk.subarray(PROTOCOL_HEADER.length));
      return;
    }
    this.#reader.push(chunk);
    if (this.#hasConfirms && this.#publishedCount > this.#confirmedCount) {
      this.#confirmedCount = this.#publishedCount;
      this.#socket.write(multipleAckFrame(CHANNEL, this.#confirmedCount));
    }
    if (this.#isConsuming) this.#deliver();
  }

  #onFrame(type: number, bytes: Buffer, at: number): void {
    if (type === FRAME_BODY) this.#publishedCount += 1;
    if (type !== FRAME_METHOD) return;
    const method = bytes.readUInt32BE(at);
    if (method === METHOD.publish) return;
    if (method === METHOD.ack) this.#ackedCount = bytes.readUInt32BE(at + 4) * 2 ** 32 + bytes.readUInt32BE(at + 8);
    if (method === METHOD.confirmSelect) this.#hasConfirms = true;
    if (method === METHOD.qos) this.#prefetch = bytes.readUInt16BE(at + 8);
    if (method === METHOD.consume) this.#isConsuming = true;
    const answer = ANSWERS[method];
    if (answer !== undefined) this.#socket.write(answer);
  }

  #deliver(): void {
    while (this.#deliveredCount - this.#ackedCount < this.#prefetch) {
      this.#deliveredCount += 1;
      this.#deliveries.add(this.#deliveredCount);
      if (this.#deliveries.isFull) break;
    }
    const deliveries = this.#deliveries.take();
    if (deliveries !== undefined) this.#socket.write(deliveries);
  }
}

const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
const server = createServer({ noDelay: true, highWaterMark: READ_BUFFER_BYTES }, (socket) => {
  const session = new Session(socket);
  socket.on('data', (chunk: Buffer) => session.read(chunk));
  socket.on('error', () => {}); // clients leave without closing
});
server.listen(Number(values.port), '127.0.0.1', () => {
  console.log(`amqp://127.0.0.1:${(server.address() as { port: number }).port}`);
});
