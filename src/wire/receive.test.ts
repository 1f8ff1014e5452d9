import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { receive } from './receive.ts';

/** What two clients send, one after the other, as the server receives it. */
const sendTwice = async (onAccept: (socket: Socket, received: Buffer[]) => void): Promise<Buffer[]> => {
  const received: Buffer[] = [];
  const server = createServer((socket) => onAccept(socket, received)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  for (const text of ['one', 'two']) {
    const client = connect(port, '127.0.0.1');
    client.resume();
    client.end(text);
    await once(client, 'close');
  }
  server.close();
  return received;
};

test('all sockets of a server read into the same memory, also after a pause, and learn of the end', async () => {
  const texts: string[] = [];
  let ends = 0;
  const received = await sendTwice((socket, chunks) => {
    receive(socket, (chunk) => {
      texts.push(chunk.toString());
      chunks.push(chunk);
    });
    socket.on('end', () => ends++);
    socket.pause();
    setImmediate(() => socket.resume());
  });
  assert.deepEqual(texts, ['one', 'two']);
  assert.equal(ends, 2);
  assert.equal(received[0]!.buffer, received[1]!.buffer);
});

test("a stream that is no plain socket is read by its 'data' events", async () => {
  const texts: string[] = [];
  await sendTwice((socket) => {
    const stream = { on: socket.on.bind(socket) } as unknown as Socket;
    receive(stream, (chunk) => texts.push(chunk.toString()));
  });
  assert.deepEqual(texts, ['one', 'two']);
});
