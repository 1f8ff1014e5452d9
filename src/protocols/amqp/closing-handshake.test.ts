/** A connection that ends reads no more than it has to, whatever its peer still sends, and logs its error once. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { AmqpError } from './amqp-errors.ts';
import { amqpLimits } from './amqp-limits.ts';
import { defaultAmqpSettings } from './amqp-settings.ts';
import { Connection } from './connection.ts';
import type { MethodName } from './generated/methods.ts';
import { SocketInput } from './socket-input.ts';
import { OutputPieces } from './socket-output.ts';
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

/** The header of a frame that is too large. */
const lostBoundary = Buffer.from([3, 0, 1, 0, 2, 0, 1]);

const messages = (server: TestServer): string[] => server.lines.map(({ message }) => message);

/** A client over TCP, and its socket as the server has it. */
const connectPlain = async (server: TestServer): Promise<{ client: Socket; accepted: Socket }> => {
  const listener = createServer((socket) => server.head.accept(socket)).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const connection = once(listener, 'connection');
  const client = connect((listener.address() as AddressInfo).port, '127.0.0.1').resume();
  const [accepted] = (await connection) as [Socket];
  listener.close();
  return { client, accepted };
};

test('behind a lost frame boundary all is dropped unread until the peer closes', async () => {
  await using server = await startTestServer();
  const { client, accepted } = await connectPlain(server);
  const sendChunk = async (bytes: Buffer): Promise<void> => {
    const expectedBytes = accepted.bytesRead + bytes.length;
    client.write(bytes);
    while (accepted.bytesRead < expectedBytes && !accepted.destroyed) await setImmediate();
  };
  await sendChunk(opening());
  for (let i = 0; i < 20; i++) await sendChunk(lostBoundary);
  assert.deepEqual(messages(server), ['closing AMQP connection']);
  const closed = once(accepted, 'close');
  client.end();
  await closed;
  assert.equal(server.head.connectionCount, 0);
});

test('what follows an error or a refused protocol header is not logged again', async () => {
  await using server = await startTestServer();
  const peer = new TestPeer();
  peer.answersClose = false;
  server.head.accept(peer.socket);
  peer.send(opening());
  await peer.expect('connection.open-ok');
  peer.send(rawFrame(5, 1, Buffer.from([1])));
  for (let i = 0; i < 3; i++) peer.send(lostBoundary);
  assert.deepEqual(messages(server), ['closing AMQP connection']);
  peer.destroy();

  const stranger = new TestPeer();
  server.head.accept(stranger.socket);
  stranger.send(Buffer.from('GET / HTTP/1.1\r\n'));
  stranger.send(Buffer.from('Host: localhost\r\n\r\n'));
  assert.deepEqual(messages(server), ['closing AMQP connection', 'refused AMQP connection']);
});

test('close-ok is found behind what was kept while publishes were held', async () => {
  await using server = await startTestServer();
  const peer = new TestPeer();
  const none = (): void => {};
  const connection = new Connection({
    socket: peer.socket,
    broker: server.broker,
    settings: defaultAmqpSettings,
    logger: { debug: none, info: none, warn: none, error: none },
    pieces: new OutputPieces(),
    onClosed: none,
  });
  peer.send(opening());
  peer.method(1, { method: 'channel.open', outOfBand: '' });
  await peer.expect('channel.open-ok');
  connection.roomChanged(false);
  const body = Buffer.alloc(100_000);
  const publish = Buffer.concat([publishFrame(1, 'q'), headerFrame(1, body.length), rawFrame(3, 1, body)]);
  for (let bytes = 0; bytes <= amqpLimits.heldPublishBytesMax; bytes += body.length) peer.send(publish);
  const qos = methodFrame(1, { method: 'basic.qos', prefetchSize: 0, prefetchCount: 1, global: false });
  peer.send(Buffer.concat([qos, publish.subarray(0, 1000)]));
  assert.ok(connection.input.stopped);
  connection.closeWith(new AmqpError(320, 'bye'));
  await peer.expect('connection.close');
  peer.send(publish.subarray(1000));
  await peer.until(() => false);
  assert.ok(peer.writableFinished, 'ended, not dropped');
});

const publisher = async (server: TestServer): Promise<TestPeer> => {
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  peer.method(1, { method: 'channel.open', outOfBand: '' });
  peer.method(1, { method: 'confirm.select', nowait: false });
  peer.method(1, { ...durableQueue, queue: 'q' });
  await peer.expect('queue.declare-ok');
  const header = headerFrame(1, 0, persistentFlags, persistentOctet);
  for (let i = 0; i < 50; i++) peer.send(Buffer.concat([publishFrame(1, 'q'), header]));
  return peer;
};

const durableQueue = {
  method: 'queue.declare',
  ticket: 0,
  passive: false,
  durable: true,
  exclusive: false,
  autoDelete: false,
  nowait: false,
  arguments: new Map(),
} as const;

const ends: Readonly<Record<string, (server: TestServer, peer: TestPeer) => unknown>> = {
  'connection.close': ({ head }) => void head.close('bye'),
  'channel.close': (_, peer) => peer.method(1, { ...durableQueue, queue: 'q', durable: false }),
  'channel.close-ok': (_, peer) =>
    peer.method(1, { method: 'channel.close', replyCode: 200, replyText: '', classId: 0, methodId: 0 }),
  'connection.close-ok': (_, peer) =>
    peer.method(0, { method: 'connection.close', replyCode: 200, replyText: '', classId: 0, methodId: 0 }),
};

for (const [name, end] of Object.entries(ends)) {
  test(`what was published and stored before ${name} is confirmed before it`, async () => {
    await using server = await startTestServer();
    const peer = await publisher(server);
    const isConfirmed = (): boolean => peer.methods().some(({ method }) => method === 'basic.ack');
    assert.ok(!isConfirmed(), 'all wait for the disk');
    end(server, peer);
    await peer.expect(name as MethodName);
    const last = peer.methods().findIndex(({ method }) => method === name);
    const acks = peer
      .methods()
      .slice(0, last)
      .filter((method) => method.method === 'basic.ack');
    assert.equal(acks.at(-1)?.deliveryTag, 50);
    assert.equal(server.broker.vhost('/')!.queue('q')!.subscription.readyCount, 50);
    peer.destroy();
  });
}

test('while close-ok is awaited, frames are handed over as they come, whatever was paused; after discard() none', async () => {
  const frames: number[] = [];
  const peer = new TestPeer();
  const input = new SocketInput(peer.socket, {
    frameBytesMax: 100,
    publishInPlace: (_chunk, _view, at) => at,
    frame: (_type, channel) => frames.push(channel) > 0,
    fail: (error) => assert.fail(String(error)),
    endTurn: () => {},
  });
  const read = (channel: number): void => input.read(rawFrame(1, channel, Buffer.alloc(4)));
  for (const reason of ['get', 'undurable', 'output', 'held'] as const) input.pause(reason);
  read(1);
  assert.ok(peer.isPaused());
  assert.deepEqual(frames, []);
  input.awaitCloseOk();
  assert.ok(!peer.isPaused());
  await setImmediate();
  assert.deepEqual(frames, [1]);
  read(2);
  assert.deepEqual(frames, [1, 2]);
  input.discard();
  input.pause('held');
  read(3);
  assert.ok(!peer.isPaused());
  assert.deepEqual(frames, [1, 2]);
});
