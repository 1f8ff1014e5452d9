/** Damaged and random bytes close at most their own connection: nothing is thrown, and others work on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Method } from './generated/methods.ts';
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
import { startTestServer } from './test-server.ts';

const flags = { passive: false, durable: true, exclusive: false, autoDelete: false, nowait: false };
const args = new Map<string, string | number>([
  ['x-foo', 'bar'],
  ['n', 5],
]);

const methods: readonly Method[] = [
  { method: 'queue.declare', ticket: 0, queue: 'q', ...flags, arguments: args },
  { method: 'exchange.declare', ticket: 0, exchange: 'x', type: 'topic', ...flags, internal: false, arguments: args },
  { method: 'queue.bind', ticket: 0, queue: 'q', exchange: 'x', routingKey: 'a.#', nowait: false, arguments: args },
  {
    method: 'basic.consume',
    ticket: 0,
    queue: 'q',
    consumerTag: '',
    noLocal: false,
    noAck: false,
    exclusive: false,
    nowait: false,
    arguments: args,
  },
  { method: 'basic.get', ticket: 0, queue: 'q', noAck: true },
  { method: 'basic.qos', prefetchSize: 0, prefetchCount: 3, global: false },
  { method: 'basic.ack', deliveryTag: 1, multiple: true },
  { method: 'basic.nack', deliveryTag: 0, multiple: true, requeue: true },
  { method: 'basic.recover', requeue: true },
  { method: 'confirm.select', nowait: false },
  { method: 'queue.purge', ticket: 0, queue: 'q', nowait: false },
  { method: 'queue.delete', ticket: 0, queue: 'q', ifUnused: false, ifEmpty: false, nowait: false },
  { method: 'channel.close', replyCode: 0, replyText: '', classId: 0, methodId: 0 },
  { method: 'channel.open', outOfBand: '' },
];

const content = Buffer.concat([
  publishFrame(1, 'q', '', true),
  headerFrame(1, 20, persistentFlags, persistentOctet),
  rawFrame(3, 1, Buffer.alloc(12, 1)),
  rawFrame(3, 1, Buffer.alloc(8, 2)),
]);

const piece = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...methods.map((method) => methodFrame(1, method))) },
  { weight: 2, arbitrary: fc.constant(content) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 40 }))
      .map(([type, channel, payload]) => rawFrame(type, channel, Buffer.from(payload))),
  },
);

const damages = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 });

test('random and damaged frames never escape their connection', async () => {
  await using server = await startTestServer();
  const frames = fc.array(piece, { minLength: 1, maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(
      frames,
      damages,
      fc.boolean(),
      fc.integer({ min: 1, max: 500 }),
      async (pieces, changes, opened, chunkBytes) => {
        const peer = new TestPeer();
        peer.answersClose = false;
        server.head.accept(peer.socket);
        const body = Buffer.concat(pieces);
        for (const [at, octet] of changes) if (body.length > 0) body[at % body.length] = octet;
        const start = opened
          ? Buffer.concat([opening(), methodFrame(1, { method: 'channel.open', outOfBand: '' })])
          : Buffer.alloc(0);
        const bytes = Buffer.concat([start, body]);
        for (let at = 0; at < bytes.length; at += chunkBytes)
          peer.send(Buffer.from(bytes.subarray(at, at + chunkBytes)));
        if (bytes.length % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        peer.destroy();
        await new Promise((resolve) => setImmediate(resolve));
      },
    ),
    { numRuns: 3000 },
  );
  assert.equal(server.head.connectionCount, 0);
  assert.deepEqual(
    server.lines.filter(({ level }) => level === 'error'),
    [],
  );
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  await peer.expect('connection.open-ok');
});
