import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { GroupCoordinator } from '../../../broker/groups/group-coordinator.ts';
import { Reader } from '../../../wire/cursor.ts';
import { Writer } from '../../../wire/writer.ts';
import { ErrorCode } from '../error-codes.ts';
import { decodeProduceResponse, encodeProduceRequest } from '../generated/produce.ts';
import { InProcessKafka, makeBatch } from '../in-process-kafka.ts';
import { defaultKafkaSettings } from '../kafka-settings.ts';
import { FrameCursor, ReceivedBytes } from '../received-bytes.ts';
import type { KafkaServices } from '../request-context.ts';
import { TopicDirectory, uuidOfTopic } from '../topic-directory.ts';
import { handleProduce } from './produce.ts';

let kafka: InProcessKafka;
let services: KafkaServices;

before(async () => {
  kafka = await InProcessKafka.start();
  const { broker } = kafka;
  const settings = defaultKafkaSettings;
  const groups = new GroupCoordinator(broker, {
    initialRebalanceDelayMs: 0,
    sessionTimeoutMsMin: 0,
    sessionTimeoutMsMax: 1,
    membersMax: 1,
    offsetMetadataBytesMax: 1,
    offsetsRetentionMs: 1000,
    offsetsRetentionCheckMs: 1_000_000,
    newMemberJoinTimeoutMs: 1,
  });
  services = { broker, settings, groups, topics: new TopicDirectory(broker, settings) };
});

after(() => kafka[Symbol.asyncDispose]());

/** The body as the socket might have cut it. */
const receive = (body: Buffer, cuts: readonly number[]): ReceivedBytes => {
  const received = new ReceivedBytes();
  let from = 0;
  for (const cut of [...cuts.map((each) => each % (body.length + 1)), body.length].sort((a, b) => a - b)) {
    received.push(body.subarray(from, cut));
    from = Math.max(from, cut);
  }
  return received;
};

let topicCount = 0;

test('the hand-written parser reads what the generated codec writes, in every version, however the bytes are cut', async () => {
  const cursor = new FrameCursor();
  await fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 13 }),
      fc.array(fc.array(fc.string({ maxLength: 300 }), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(100_000), { maxLength: 30 }),
      (version, partitions, cuts) => {
        const topic = kafka.broker.createTopic({
          vhost: '/',
          name: `t-${++topicCount}-${'n'.repeat(version)}`,
          partitions: partitions.length,
          config: new Map(),
        });
        const batches = partitions.map((values) => makeBatch({ values }));
        const writer = new Writer();
        encodeProduceRequest(writer, version, {
          acks: -1,
          timeoutMs: 30_000,
          topicData: [
            {
              name: topic.name,
              topicId: uuidOfTopic(topic),
              partitionData: batches.map((records, index) => ({ index, records })),
            },
            { name: 'unknown', topicId: 'AAAAAAAAAAAAAAAAAAAAAQ', partitionData: [{ index: 0, records: batches[0]! }] },
          ],
        });
        const body = Buffer.concat(writer.finish());
        receive(body, cuts).read(cursor, body.length);
        const response = new Writer();
        assert.equal(handleProduce(cursor, response, version, services), 'answered');
        const decoded = decodeProduceResponse(new Reader(Buffer.concat(response.finish())), version);
        const [known, unknown] = decoded.responses;
        assert.equal(known!.name, version >= 13 ? '' : topic.name);
        assert.deepEqual(
          known!.partitionResponses.map(({ index, errorCode, baseOffset }) => [index, errorCode, baseOffset]),
          batches.map((_, index) => [index, 0, 0]),
        );
        assert.equal(
          unknown!.partitionResponses[0]!.errorCode,
          version >= 13 ? ErrorCode.UNKNOWN_TOPIC_ID : ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        );
        for (const [index, log] of topic.partitions.entries()) {
          assert.equal(log.endOffset, partitions[index]!.length);
          const chunk = log.store.shard.log.chunkAt(log.entryPosition(0))!;
          const at = log.entryPosition(0) - chunk.basePosition;
          const stored = chunk.buffer.subarray(at, at + batches[index]!.length);
          // Outside of base offset and leader epoch every byte is the producer's.
          assert.deepEqual(stored.subarray(16), batches[index]!.subarray(16));
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('a request that ends too early is malformed, and what follows one is ignored, as Kafka does', () => {
  const writer = new Writer();
  encodeProduceRequest(writer, 9, {
    acks: 1,
    timeoutMs: 1,
    topicData: [
      {
        name: 'x',
        topicId: 'AAAAAAAAAAAAAAAAAAAAAQ',
        partitionData: [{ index: 0, records: makeBatch({ values: ['a'] }) }],
      },
    ],
  });
  const body = Buffer.concat(writer.finish());
  const cursor = new FrameCursor();
  for (let length = 0; length < body.length; length++) {
    receive(body.subarray(0, length), [3, 40]).read(cursor, length);
    assert.throws(() => handleProduce(cursor, new Writer(), 9, services), { name: 'MalformedError' });
  }
  const longer = Buffer.concat([body, Buffer.alloc(3)]);
  receive(longer, [3, 40]).read(cursor, longer.length);
  handleProduce(cursor, new Writer(), 9, services);
});
