// More than the write-ahead log holds: what was published first comes from segments, also after kill -9.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { skipAgainstPeers, startBrokerUnderTest } from './broker-under-test.ts';
import { uniqueName } from './conditions.ts';
import { KafkajsSession } from './kafkajs-session.ts';

const mib = 1024 * 1024;
/** The least that the setting allows; a fold begins at half of it. */
const walBytesMax = 320 * mib;
const recordBytes = 512 * 1024;
const recordCount = 480;
const smallCount = 200;

/** Bytes that say which record they are and do not compress. */
const recordOf = (index: number): Buffer => {
  const value = Buffer.alloc(recordBytes);
  const seed = createHash('sha256').update(String(index)).digest();
  for (let at = 0; at < recordBytes; at += seed.length) seed.copy(value, at);
  value.writeUInt32BE(index, 0);
  return value;
};

test('a topic larger than the write-ahead log is read from its start, also after kill -9', {
  skip: skipAgainstPeers,
}, async () => {
  const broker = await startBrokerUnderTest([`storage.wal.bytes.max=${walBytesMax}`]);
  try {
    const session = new KafkajsSession(broker.kafka);
    const topic = uniqueName('large');
    const admin = await session.admin();
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
    const producer = await session.producer();
    for (let i = 0; i < smallCount; i++) await producer.send({ topic, messages: [{ value: `small ${i}` }] });
    for (let i = 0; i < recordCount; i++) await producer.send({ topic, acks: -1, messages: [{ value: recordOf(i) }] });

    const readAll = async (reader: KafkajsSession): Promise<void> => {
      let next = 0;
      const subscription = await reader.subscribe(topic, {
        groupId: uniqueName('reader'),
        fromBeginning: true,
        onMessage: ({ message }) => {
          const index = next++;
          assert.equal(Number(message.offset), index);
          if (index < smallCount) assert.equal(String(message.value), `small ${index}`);
          else assert.ok(message.value!.equals(recordOf(index - smallCount)), `record ${index}`);
          message.value = null;
        },
      });
      await subscription.waitForCount(smallCount + recordCount);
    };
    await readAll(session);
    await session[Symbol.asyncDispose]();

    await broker.kill();
    await broker.restart();
    await using again = new KafkajsSession(broker.kafka);
    await readAll(again);
  } finally {
    await broker.stop();
  }
});
