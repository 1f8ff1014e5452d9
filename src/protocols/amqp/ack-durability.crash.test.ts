// A consumer's acknowledgement has no reply of its own. When a method that came after it on the connection is answered, it
// is durable: whoever wants to know asks for anything, or closes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openBroker } from '../../broker/broker.ts';
import { MemoryDisk, MemoryStorage } from '../../storage/memory-storage.ts';
import { amqpForm } from './amqp-form.ts';
import type { Method, MethodName } from './generated/methods.ts';
import { headerFrame, methodFrame, opening, publishFrame, rawFrame, TestPeer } from './test-peer.ts';
import { startTestServer } from './test-server.ts';

const queue = 'q';
const declare = (passive: boolean): Method => ({
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
const closing = { replyCode: 200, replyText: '', classId: 0, methodId: 0 };
const persistent = { flags: 0x1000, properties: Buffer.from([2]) };

const openedPeer = async (server: Awaited<ReturnType<typeof startTestServer>>): Promise<TestPeer> => {
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  peer.send(opening());
  peer.method(1, { method: 'channel.open', outOfBand: '' });
  peer.method(1, declare(false));
  await peer.expect('queue.declare-ok');
  return peer;
};

/** Messages in the queue as a broker finds them that starts after the crash. */
const messageCountAfter = async (disk: MemoryDisk): Promise<number> => {
  const storage = new MemoryStorage(disk);
  await using broker = await openBroker({ storage, durability: 'sync', forms: [amqpForm] });
  return broker.vhost('/')!.queue(queue)!.messageCount;
};

const later: readonly { channel: number; method: Method; answer: MethodName; seen: number }[] = [
  { channel: 1, method: declare(true), answer: 'queue.declare-ok', seen: 2 },
  { channel: 1, method: { method: 'channel.close', ...closing }, answer: 'channel.close-ok', seen: 1 },
  { channel: 0, method: { method: 'connection.close', ...closing }, answer: 'connection.close-ok', seen: 1 },
];

for (const { channel, method, answer, seen } of later) {
  test(`a message whose ack was followed by ${answer} does not come back after a crash`, async () => {
    const disk = new MemoryDisk();
    const server = await startTestServer({ disk });
    const peer = await openedPeer(server);
    peer.method(1, { method: 'confirm.select', nowait: false });
    const { flags, properties } = persistent;
    const body = Buffer.from('body');
    peer.send(
      Buffer.concat([publishFrame(1, queue), headerFrame(1, body.length, flags, properties), rawFrame(3, 1, body)]),
    );
    await peer.expect('basic.ack');
    peer.method(1, { method: 'basic.get', ticket: 0, queue, noAck: false });
    const { deliveryTag } = await peer.expect('basic.get-ok');
    const ack = methodFrame(1, { method: 'basic.ack', deliveryTag, multiple: false });
    peer.send(Buffer.concat([ack, methodFrame(channel, method)]));
    await peer.until(() => peer.methods().filter((one) => one.method === answer).length === seen);
    disk.killProcess(1);
    server.abandon();
    assert.equal(await messageCountAfter(disk), 0);
  });
}
