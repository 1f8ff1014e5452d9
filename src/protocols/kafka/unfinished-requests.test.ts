/** Many large requests that arrive at the same time: their memory is bounded, others are served, and all are answered. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeRequest, InProcessKafka } from './in-process-kafka.ts';
import { kafkaLimits } from './kafka-limits.ts';

const mib = 1024 * 1024;

test('large requests that are not whole take bounded memory, and all come to their end', async () => {
  await using kafka = await InProcessKafka.start();
  const { receiveBudget } = kafka.server;
  const ordinary = await kafka.client();
  const request = encodeRequest('Produce', 9, 1, {
    transactionalId: null,
    acks: -1,
    timeoutMs: 1000,
    topicData: [{ name: 'absent', topicId: '', partitionData: [{ index: 0, records: Buffer.alloc(48 * mib) }] }],
  });
  const last = request.length - 1;
  const senders = await Promise.all(Array.from({ length: 6 }, () => kafka.client()));
  const answers = senders.map((sender) => sender.response(1));
  let mostBytes = 0;
  const look = setInterval(() => {
    mostBytes = Math.max(mostBytes, receiveBudget.bytes);
  }, 1);
  for (const { socket } of senders) socket.write(request.subarray(0, last));
  while (receiveBudget.bytes <= kafkaLimits.unfinishedBytesMax) await new Promise((resolve) => setTimeout(resolve, 5));
  for (let i = 0; i < 20; i++) {
    await ordinary.call('ApiVersions', 0, { clientSoftwareName: '', clientSoftwareVersion: '' });
  }
  for (const { socket } of senders) socket.write(request.subarray(last));
  await Promise.all(answers);
  clearInterval(look);
  const mostExpected = kafkaLimits.unfinishedBytesMax + request.length + senders.length * mib;
  assert.ok(mostBytes < mostExpected, `${mostBytes} bytes`);
  assert.equal(receiveBudget.bytes, 0);
});
