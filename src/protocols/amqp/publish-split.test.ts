/** Whatever the chunks in which publishes arrive, the same messages are stored in the same order, and each is confirmed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Message } from '../../broker/message.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import {
  headerFrame,
  methodFrame,
  opening,
  persistentFlags,
  persistentOctet,
  publishFrame,
  rawFrame,
  TestPeer,
} from './test-peer.ts';
import { startTestServer, type TestServer } from './test-server.ts';

interface Publish {
  readonly channel: number;
  readonly key: string;
  readonly body: Buffer;
  readonly persistent: boolean;
  readonly messageId: string | undefined;
  /** Bodies are cut into frames of at most this. */
  readonly pieceBytes: number;
}

const keys = ['durable', 'transient', 'nowhere'] as const;

const publish: fc.Arbitrary<Publish> = fc.record({
  channel: fc.integer({ min: 1, max: 3 }),
  key: fc.constantFrom(...keys),
  body: fc
    .oneof(fc.constant(0), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 20_000 }))
    .map((bytes) => Buffer.alloc(bytes, bytes % 251)),
  persistent: fc.boolean(),
  messageId: fc.option(fc.string({ maxLength: 20 }), { nil: undefined }),
  pieceBytes: fc.integer({ min: 1000, max: 8184 }),
});

const framesOf = ({ channel, key, body, persistent, messageId, pieceBytes }: Publish): Buffer[] => {
  const id = messageId === undefined ? [] : [Buffer.from([Buffer.byteLength(messageId)]), Buffer.from(messageId)];
  const flags = (persistent ? persistentFlags : 0) | (messageId === undefined ? 0 : 0x80);
  const properties = Buffer.concat([...(persistent ? [persistentOctet] : []), ...id]);
  const frames = [publishFrame(channel, key), headerFrame(channel, body.length, flags, properties)];
  for (let at = 0; at < body.length; at += pieceBytes)
    frames.push(rawFrame(3, channel, body.subarray(at, at + pieceBytes)));
  return frames;
};

/** Frames of different channels in any order; those of one channel stay in theirs. Also the order of completion. */
const interleave = (
  publishes: readonly Publish[],
  turns: readonly number[],
): { frames: Buffer[]; completed: Publish[] } => {
  const lanes = [1, 2, 3].map((channel) =>
    publishes
      .filter((one) => one.channel === channel)
      .flatMap((one) => {
        const frames = framesOf(one);
        return frames.map((frame, index) => ({ frame, done: index === frames.length - 1 ? one : undefined }));
      }),
  );
  const frames: Buffer[] = [];
  const completed: Publish[] = [];
  for (let turn = 0; lanes.some((lane) => lane.length > 0); turn++) {
    const waiting = lanes.filter((lane) => lane.length > 0);
    const next = waiting[(turns[turn % turns.length] ?? 0) % waiting.length]!.shift()!;
    frames.push(next.frame);
    if (next.done !== undefined) completed.push(next.done);
  }
  return { frames, completed };
};

const cut = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const chunks: Buffer[] = [];
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  // A socket's chunks do not share memory.
  return chunks.map((chunk) => Buffer.from(chunk));
};

const drain = async (queue: Queue): Promise<Message[]> => {
  const messages: Message[] = [];
  for (;;) {
    const next = await new Promise<Message | undefined>((resolve) =>
      queue.subscription.get(true, (delivery) => resolve(delivery?.message())),
    );
    if (next === undefined) return messages;
    messages.push(next);
  }
};

const openPublisher = async (server: TestServer): Promise<TestPeer> => {
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  for (const channel of [1, 2, 3]) {
    peer.method(channel, { method: 'channel.open', outOfBand: '' });
    if (channel < 3) peer.method(channel, { method: 'confirm.select', nowait: true });
  }
  const declare = (queue: string, durable: boolean): void =>
    peer.send(
      methodFrame(3, {
        method: 'queue.declare',
        ticket: 0,
        queue,
        passive: false,
        durable,
        exclusive: false,
        autoDelete: false,
        nowait: false,
        arguments: new Map(),
      }),
    );
  declare('durable', true);
  declare('transient', false);
  await peer.until(() => peer.methods().filter(({ method }) => method === 'queue.declare-ok').length === 2);
  return peer;
};

/** Tags of the channel that were confirmed, with multiple resolved. */
const confirmedTags = (peer: TestPeer, channel: number): Set<number> => {
  const tags = new Set<number>();
  for (const frame of peer.frames) {
    if (frame.channel !== channel || frame.method?.method !== 'basic.ack') continue;
    const { deliveryTag, multiple } = frame.method;
    for (let tag = multiple ? 1 : deliveryTag; tag <= deliveryTag; tag++) tags.add(tag);
  }
  return tags;
};

test('the split of the stream does not matter', async () => {
  await using server = await startTestServer();
  const vhost = server.broker.vhost('/')!;
  await fc.assert(
    fc.asyncProperty(
      fc.array(publish, { minLength: 1, maxLength: 40 }),
      fc.array(fc.nat(2), { minLength: 1 }),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 30, max: 65_536 })), { minLength: 1 }),
      async (publishes, turns, sizes) => {
        const peer = await openPublisher(server);
        const { frames, completed } = interleave(publishes, turns);
        for (const chunk of cut(Buffer.concat(frames), sizes)) peer.send(chunk);
        const counts = [1, 2].map((channel) => publishes.filter((one) => one.channel === channel).length);
        await peer.until(() => counts.every((count, index) => confirmedTags(peer, index + 1).size >= count));
        assert.deepEqual(
          counts.map((_, index) => confirmedTags(peer, index + 1).size),
          counts,
        );
        for (const key of ['durable', 'transient']) {
          const stored = await drain(vhost.queue(key)!);
          const expected = completed.filter((one) => one.key === key);
          assert.deepEqual(
            stored.map((message) => [message.routingKey, message.body, message.persistent, message.messageId]),
            expected.map((one) => [one.key, one.body, one.persistent, one.messageId]),
          );
        }
        peer.destroy();
      },
    ),
    { numRuns: 150 },
  );
});
