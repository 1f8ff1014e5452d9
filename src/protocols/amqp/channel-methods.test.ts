/** Methods that client libraries seldom send, as bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Method, MethodName } from './generated/methods.ts';
import { headerFrame, methodFrame, opening, publishFrame, rawFrame, TestPeer } from './test-peer.ts';
import { startTestServer, type TestServer } from './test-server.ts';

const ticket = 0;
const noArguments = new Map();

/** With channel 1 open and the queue q declared. */
const openPeer = async (server: TestServer): Promise<TestPeer> => {
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  await peer.expect('connection.open-ok');
  peer.method(1, { method: 'channel.open', outOfBand: '' });
  await peer.expect('channel.open-ok');
  return peer;
};

const declareQueue = async (peer: TestPeer): Promise<void> => {
  const flags = { passive: false, durable: true, exclusive: false, autoDelete: false, nowait: false };
  peer.method(1, { method: 'queue.declare', ticket, queue: 'q', ...flags, arguments: noArguments });
  await peer.expect('queue.declare-ok');
};

const publish = (peer: TestPeer, bodies: readonly string[]): void =>
  peer.send(
    Buffer.concat(
      bodies.flatMap((body) => [publishFrame(1, 'q'), headerFrame(1, body.length), rawFrame(3, 1, Buffer.from(body))]),
    ),
  );

const consume = (peer: TestPeer, consumerTag: string): void =>
  peer.method(1, {
    method: 'basic.consume',
    ticket,
    queue: 'q',
    consumerTag,
    noLocal: false,
    noAck: false,
    exclusive: false,
    nowait: false,
    arguments: noArguments,
  });

const all = <Name extends MethodName>(peer: TestPeer, name: Name): Extract<Method, { method: Name }>[] =>
  peer.methods().filter((method): method is Extract<Method, { method: Name }> => method.method === name);

test('connection.update-secret takes the password of the same user, and refuses another', async () => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  peer.method(0, { method: 'connection.update-secret', newSecret: Buffer.from('guest'), reason: 'renewed' });
  await peer.expect('connection.update-secret-ok');
  await declareQueue(peer);
  peer.method(0, { method: 'connection.update-secret', newSecret: Buffer.from('wrong'), reason: 'renewed' });
  const { replyCode } = await peer.expect('connection.close');
  assert.equal(replyCode, 530);
});

test('basic.recover-async gives back what is out, without an answer; without requeue it is refused', async () => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  await declareQueue(peer);
  publish(peer, ['a', 'b']);
  consume(peer, 'c');
  await peer.until(() => all(peer, 'basic.deliver').length === 2);
  peer.method(1, { method: 'basic.recover-async', requeue: true });
  await peer.until(() => all(peer, 'basic.deliver').length === 4);
  assert.deepEqual(
    all(peer, 'basic.deliver').map(({ deliveryTag, redelivered }) => [deliveryTag, redelivered]),
    [
      [1, false],
      [2, false],
      [3, true],
      [4, true],
    ],
  );
  assert.deepEqual(
    peer.frames.filter(({ type }) => type === 3).map(({ payload }) => payload.toString()),
    ['a', 'b', 'a', 'b'],
  );
  assert.equal(all(peer, 'basic.recover-ok').length, 0);
  peer.method(1, { method: 'basic.recover-async', requeue: false });
  assert.equal((await peer.expect('connection.close')).replyCode, 540);
});

test('basic.qos with global counts per consumer', async () => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  await declareQueue(peer);
  publish(peer, ['a', 'b', 'c', 'd', 'e']);
  peer.method(1, { method: 'basic.qos', prefetchSize: 0, prefetchCount: 2, global: true });
  await peer.expect('basic.qos-ok');
  for (const tag of ['one', 'two']) consume(peer, tag);
  await peer.until(() => all(peer, 'basic.deliver').length === 4);
  // Whatever else would be delivered is before the answer to this.
  peer.method(1, { method: 'queue.purge', ticket, queue: 'q', nowait: false });
  assert.equal((await peer.expect('queue.purge-ok')).messageCount, 1);
  const tags = all(peer, 'basic.deliver').map(({ consumerTag }) => consumerTag);
  assert.deepEqual(tags.toSorted(), ['one', 'one', 'two', 'two']);
});

test('an empty queue name is that last declared on the channel; without one it is 404', async () => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  await declareQueue(peer);
  publish(peer, ['a']);
  peer.method(1, { method: 'queue.purge', ticket, queue: '', nowait: false });
  assert.equal((await peer.expect('queue.purge-ok')).messageCount, 1);
  peer.send(
    Buffer.concat([
      methodFrame(2, { method: 'channel.open', outOfBand: '' }),
      methodFrame(2, { method: 'queue.purge', ticket, queue: '', nowait: false }),
    ]),
  );
  const { replyCode, replyText } = await peer.expect('channel.close');
  assert.deepEqual([replyCode, replyText], [404, 'NOT_FOUND - no previously declared queue']);
});
