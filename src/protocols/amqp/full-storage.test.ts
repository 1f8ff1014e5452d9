/** What a client is told that declares something new while there is no room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Method } from './generated/methods.ts';
import { opening, TestPeer } from './test-peer.ts';
import { startTestServer } from './test-server.ts';

const declaration = (queue: string, passive = false): Method => ({
  method: 'queue.declare',
  ticket: 0,
  queue,
  passive,
  durable: true,
  exclusive: false,
  autoDelete: false,
  nowait: false,
  arguments: new Map(),
});

test('while the storage is full a new queue is refused with 406; the connection goes on', async () => {
  await using server = await startTestServer();
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  await peer.expect('connection.open-ok');
  peer.method(1, { method: 'channel.open', outOfBand: '' });
  peer.method(1, declaration('old'));
  await peer.expect('queue.declare-ok');
  Object.defineProperty(server.broker.shards[0]!.log, 'hasRoom', { value: false });
  peer.method(1, declaration('old'));
  peer.method(1, declaration('old', true));
  await peer.until(() => peer.methods().filter(({ method }) => method === 'queue.declare-ok').length === 3);
  peer.method(1, declaration('new'));
  const { replyCode, replyText } = await peer.expect('channel.close');
  assert.equal(replyCode, 406);
  assert.match(replyText, /^PRECONDITION_FAILED - the disk or the write-ahead log is full/);
  peer.method(1, { method: 'channel.close-ok' });
  peer.method(2, { method: 'channel.open', outOfBand: '' });
  await peer.until(() => peer.methods().filter(({ method }) => method === 'channel.open-ok').length === 2);
});
