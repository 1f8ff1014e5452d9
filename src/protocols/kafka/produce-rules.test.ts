import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sealBatch } from '../../log/batch-header.ts';
import { ErrorCode } from './error-codes.ts';
import { encodeRequest, InProcessKafka, makeBatch, type RawClient } from './in-process-kafka.ts';

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

const topic = (name: string, config: Record<string, string> = {}): string => {
  kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map(Object.entries(config)) });
  return name;
};

const produce = async (
  name: string,
  records: Buffer | null,
  { version = 9, acks = -1, transactionalId = null as string | null } = {},
) => {
  const response = await client.call('Produce', version, {
    transactionalId,
    acks,
    timeoutMs: 1000,
    topicData: [{ name, topicId: '', partitionData: [{ index: 0, records }] }],
  });
  return response.responses[0]!.partitionResponses[0]!;
};

test('what is wrong with a batch has its own code', async () => {
  const name = topic('rules', { 'max.message.bytes': '2000' });
  const good = makeBatch({ values: ['a', 'b'] });
  const damaged = Buffer.from(good);
  damaged[damaged.length - 1]! ^= 1;
  const miscounted = Buffer.from(good);
  miscounted.writeInt32BE(1, 57);
  sealBatch(miscounted, 0);
  const claiming = (count: number, attributes: number): Buffer => {
    const batch = makeBatch({ values: ['a'], attributes });
    batch.writeInt32BE(count - 1, 23);
    batch.writeInt32BE(count, 57);
    sealBatch(batch, 0);
    return batch;
  };
  const oldMagic = Buffer.from(good);
  oldMagic[16] = 1;
  const cases: readonly [string, Buffer | null, number, Parameters<typeof produce>[2]?][] = [
    ['damaged', damaged, ErrorCode.CORRUPT_MESSAGE],
    ['too short', Buffer.alloc(20), ErrorCode.CORRUPT_MESSAGE],
    ['cut', good.subarray(0, good.length - 1), ErrorCode.CORRUPT_MESSAGE],
    ['two batches', Buffer.concat([good, good]), ErrorCode.INVALID_RECORD],
    ['no batch', Buffer.alloc(0), ErrorCode.INVALID_RECORD],
    ['null', null, ErrorCode.INVALID_RECORD],
    ['old format', oldMagic, ErrorCode.INVALID_RECORD],
    ['count', miscounted, ErrorCode.INVALID_RECORD],
    ['more records than bytes', claiming(2, 0), ErrorCode.INVALID_RECORD],
    ['more records than can be counted', claiming(70_000_000, 0), ErrorCode.INVALID_RECORD],
    ['the most records', claiming(2_147_483_647, 0), ErrorCode.INVALID_RECORD],
    ['more compressed records than are opened', claiming(20_000_000, 1), ErrorCode.INVALID_RECORD],
    ['the most compressed records', claiming(2_147_483_647, 4), ErrorCode.INVALID_RECORD],
    ['control', makeBatch({ values: ['a'], attributes: 0x20 }), ErrorCode.INVALID_RECORD],
    [
      'producer id without a sequence',
      makeBatch({ values: ['a'], producerId: 900, producerEpoch: 0, baseSequence: -1 }),
      ErrorCode.INVALID_RECORD,
    ],
    ['large', makeBatch({ values: ['x'.repeat(2000)] }), ErrorCode.MESSAGE_TOO_LARGE],
    [
      'zstd in an old version',
      makeBatch({ values: ['a'], attributes: 4 }),
      ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
      { version: 6 },
    ],
    ['future', makeBatch({ values: ['a'], timestamps: [Date.now() + 7_200_000] }), ErrorCode.INVALID_TIMESTAMP],
    [
      'transactional batch',
      makeBatch({ values: ['a'], attributes: 0x10 }),
      ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ],
    ['transaction', good, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, { transactionalId: 'x' }],
    ['acks', good, ErrorCode.INVALID_REQUIRED_ACKS, { acks: 2 }],
  ];
  for (const [what, records, errorCode, options] of cases) {
    assert.equal((await produce(name, records, options)).errorCode, errorCode, what);
  }
  assert.equal((await produce('absent', good)).errorCode, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  const { errorCode, baseOffset, logStartOffset, logAppendTimeMs } = await produce(name, good);
  assert.deepEqual([errorCode, baseOffset, logStartOffset, logAppendTimeMs], [0, 0, 0, -1]);
});

test('a batch of format 2 is accepted in every version, another format in none', async () => {
  const name = topic('versions');
  const good = makeBatch({ values: ['x'.repeat(100)] });
  const oldMagic = Buffer.from(good);
  oldMagic[16] = 1;
  for (let version = 0; version <= 12; version++) {
    assert.equal((await produce(name, good, { version })).baseOffset, version);
    assert.equal((await produce(name, oldMagic, { version })).errorCode, ErrorCode.INVALID_RECORD);
  }
});

test('repeated batches of an idempotent producer get their first offset, gaps and old epochs are refused', async () => {
  const name = topic('idempotent');
  const { producerId } = await client.call('InitProducerId', 4, { transactionalId: null, transactionTimeoutMs: 0 });
  const batch = (baseSequence: number, producerEpoch = 0) =>
    makeBatch({ values: ['a', 'b'], producerId: Number(producerId), producerEpoch, baseSequence });
  assert.equal((await produce(name, batch(0))).baseOffset, 0);
  assert.equal((await produce(name, batch(2))).baseOffset, 2);
  assert.deepEqual((await produce(name, batch(0))).baseOffset, 0);
  assert.equal((await produce(name, batch(6))).errorCode, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER);
  assert.equal((await produce(name, batch(0, 1))).baseOffset, 4);
  assert.equal((await produce(name, batch(4, 0))).errorCode, ErrorCode.INVALID_PRODUCER_EPOCH);
});

test('sequence numbers begin again at 0 behind the largest', async () => {
  const name = topic('wrap');
  const answer = async (baseSequence: number, count: number): Promise<[number, number]> => {
    const values = new Array<string>(count).fill('a');
    const records = makeBatch({ values, producerId: 901, producerEpoch: 0, baseSequence });
    const { errorCode, baseOffset } = await produce(name, records);
    return [errorCode, baseOffset];
  };
  assert.deepEqual(await answer(2_147_483_645, 2), [ErrorCode.NONE, 0]);
  assert.deepEqual(await answer(2_147_483_647, 3), [ErrorCode.NONE, 2]);
  assert.deepEqual(await answer(2_147_483_647, 3), [ErrorCode.NONE, 2]);
  assert.deepEqual(await answer(3, 1), [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1]);
  assert.deepEqual(await answer(2, 1), [ErrorCode.NONE, 5]);
});

test('every idempotent producer gets an id of its own, whatever id it asks with', async () => {
  const ids = new Set<bigint>();
  for (const asked of [-1n, 0n, 0n, 1n]) {
    const { producerId, producerEpoch } = await client.call('InitProducerId', 4, {
      transactionalId: null,
      transactionTimeoutMs: 0,
      producerId: asked,
      producerEpoch: asked < 0n ? -1 : 0,
    });
    ids.add(producerId);
    assert.equal(producerEpoch, 0);
  }
  assert.equal(ids.size, 4);
});

test('the broker can set the time of the append', async () => {
  const name = topic('append-time', { 'message.timestamp.type': 'LogAppendTime' });
  const before = Date.now();
  const { logAppendTimeMs } = await produce(name, makeBatch({ values: ['a'], timestamps: [1000] }));
  assert.ok(logAppendTimeMs >= before && logAppendTimeMs <= Date.now());
});

test('acks=0 has no answer, and loses the connection when records are refused', async () => {
  const name = topic('silent');
  const silently = (topicName: string) =>
    encodeRequest('Produce', 7, 900, {
      acks: 0,
      timeoutMs: 1,
      topicData: [
        { name: topicName, topicId: '', partitionData: [{ index: 0, records: makeBatch({ values: ['a'] }) }] },
      ],
    });
  const quiet = await kafka.client();
  quiet.socket.write(silently(name));
  // The next response on this connection is that of the next request.
  const { apiKeys } = await quiet.call('ApiVersions', 0, { clientSoftwareName: '', clientSoftwareVersion: '' });
  assert.ok(apiKeys.length > 0);
  quiet.socket.write(silently('absent'));
  await quiet.untilClosed();
  assert.equal(kafka.broker.vhost('/')!.topic(name)!.partitions[0]!.endOffset, 1);
});

test('many requests sent at once are answered in their order', async () => {
  const name = topic('pipelined');
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, index) => produce(name, makeBatch({ values: [String(index)] }))),
  );
  assert.deepEqual(
    results.map(({ baseOffset }) => baseOffset),
    results.map((_, index) => index),
  );
});
