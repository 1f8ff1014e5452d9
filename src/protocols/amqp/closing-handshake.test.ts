/** A connection that ends reads no more than it has to, whatever its peer still sends, and logs its error once. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { opening, rawFrame, TestPeer } from './test-peer.ts';
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
