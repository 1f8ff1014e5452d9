/** What the broker's log says of a connection that it closed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InProcessKafka } from './in-process-kafka.ts';

const request = (length: number, key: number, version: number): Buffer => {
  const bytes = Buffer.alloc(14);
  bytes.writeInt32BE(length, 0);
  bytes.writeInt16BE(key, 4);
  bytes.writeInt16BE(version, 6);
  bytes.writeInt16BE(-1, 12);
  return bytes;
};

test('the reason names what is wrong with the request, or the protocol that it is of', async () => {
  await using kafka = await InProcessKafka.start();
  const cases: readonly [Buffer, RegExp][] = [
    [request(104_857_601, 3, 0), /request of 104857601 bytes, at most 104857600 are allowed/],
    [request(3, 3, 0), /length of a request is 3, at least 8 are needed/],
    [request(-1, 3, 0), /length of a request is -1, at least 8 are needed/],
    [request(10, 999, 0), /unknown api key 999/],
    [request(10, 3, 99), /Metadata version 99 is not supported/],
    [request(10, 0, 99), /Produce version 99 is not supported/],
    [request(10, 1, 3), /Fetch version 3 is not supported/],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n'), /HTTP request on a Kafka port/],
    [Buffer.from('POST / HTTP/1.1\r\n\r\n'), /HTTP request on a Kafka port/],
    [Buffer.from('16030100c8010000c40303', 'hex'), /TLS client on a Kafka port without TLS/],
    [Buffer.from('AMQP\0\0\x09\x01', 'latin1'), /AMQP client on a Kafka port/],
  ];
  for (const [bytes, reason] of cases) {
    const client = await kafka.client();
    client.socket.write(bytes);
    await client.untilClosed();
    assert.match(kafka.warnings.at(-1) ?? '', reason);
  }
  assert.equal(kafka.warnings.length, cases.length);
});
