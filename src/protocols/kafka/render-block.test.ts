import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HeaderValue, Message, MessageForm } from '../../broker/message.ts';
import { batchChecksumHolds, batchRecordCount } from '../../log/batch-header.ts';
import { batchPayload, decodeBatchRecords } from '../../log/batch-records.ts';
import type { Log } from '../../log/log.ts';
import { ZERO_UUID } from '../../wire/cursor.ts';
import { batchesIn, InProcessKafka } from './in-process-kafka.ts';
import { headerBytes, recordHeaders } from './interop-headers.ts';

const plain = { key: null, body: null, headers: [], timestampMs: undefined } as const satisfies Message;

test('each type of header value has one text', () => {
  const cases: readonly [HeaderValue, string | null][] = [
    ['text', 'text'],
    [Buffer.from([1, 2]), '\x01\x02'],
    [null, null],
    [-1.5, '-1.5'],
    [true, 'true'],
    [9_007_199_254_740_993n, '9007199254740993'],
    [new Date(1_700_000_000_123), '2023-11-14T22:13:20.123Z'],
    [[1, 'a', null, Buffer.from('b')], '[1,"a",null,"b"]'],
    [{ a: { b: [true] } }, '{"a":{"b":[true]}}'],
  ];
  for (const [value, text] of cases) assert.equal(headerBytes(value)?.toString() ?? null, text);
});

test('properties become headers; exchange and routing key only when they say something', () => {
  const names = (message: Message): string[] =>
    recordHeaders(message, 'orders').map(({ name, value }) => `${name}=${value}`);
  assert.deepEqual(names({ ...plain, exchange: '', routingKey: 'orders', contentType: 'text/plain', priority: 3 }), [
    'amqp.content-type=text/plain',
    'amqp.priority=3',
  ]);
  assert.deepEqual(names({ ...plain, exchange: 'e', routingKey: 'orders' }), [
    'amqp.exchange=e',
    'amqp.routing-key=orders',
  ]);
  assert.deepEqual(names({ ...plain, exchange: '', routingKey: 'k' }), ['amqp.routing-key=k']);
});

/** Stored as JSON. */
const jsonForm: MessageForm = {
  id: 201,
  decode: (buffer, start, end, timestampMs): Message => {
    const { body, key, headers = [], at } = JSON.parse(buffer.toString('utf8', start, end));
    const bytes = (text: string | null | undefined): Buffer | null => (text == null ? null : Buffer.from(text));
    return { key: bytes(key), body: bytes(body), headers, timestampMs: at ?? timestampMs };
  },
};

const publish = (kafka: InProcessKafka, log: Log, messages: readonly object[]): void => {
  const builder = kafka.broker.blockBuilder(kafka.broker.vhost('/')!);
  builder.begin(jsonForm.id, 1_700_000_000_000);
  for (const message of messages) {
    const bytes = Buffer.from(JSON.stringify(message));
    builder.beginMessage();
    builder.piece(bytes, 0, bytes.length);
    builder.deliver(log, builder.endMessage(), false);
  }
  builder.commit();
};

test('a block is fetched as one batch, the same bytes from any offset in it and after a restart', async () => {
  let kafka = await InProcessKafka.start({ broker: { forms: [jsonForm] } });
  const queue = kafka.broker
    .vhost('/')!
    .declareQueue('q', { durable: true, exclusive: false, autoDelete: false, arguments: new Map() }, undefined);
  publish(kafka, queue.log!, [{ body: 'first' }]);
  publish(kafka, queue.log!, [
    { body: 'a', key: 'k', headers: [{ name: 'h', value: 'v' }], at: 5000 },
    { body: null, at: 4000 },
    { body: 'c', at: -5 },
  ]);
  const fetchFrom = async (fetchOffset: number): Promise<Buffer[]> => {
    const client = await kafka.client();
    const { responses } = await client.call('Fetch', 11, {
      maxWaitMs: 1000,
      minBytes: 1,
      topics: [{ topic: 'q', topicId: ZERO_UUID, partitions: [{ partition: 0, fetchOffset, partitionMaxBytes: 1e6 }] }],
      forgottenTopicsData: [],
    });
    return batchesIn(responses[0]!.partitions[0]!.records).map((batch) => Buffer.from(batch));
  };
  const [first, second] = await fetchFrom(0);
  assert.equal(batchRecordCount(first!, 0), 1);
  assert.ok(batchChecksumHolds(second!, 0));
  assert.deepEqual(
    decodeBatchRecords(second!, 0, batchPayload(second!, 0)).map(({ key, value, timestampMs, headers }) => [
      key?.toString() ?? null,
      value?.toString() ?? null,
      timestampMs,
      headers.map(({ name, value: bytes }) => `${name}=${bytes}`),
    ]),
    [
      ['k', 'a', 5000, ['h=v']],
      [null, null, 4000, []],
      [null, 'c', 1_700_000_000_000, []],
    ],
  );
  assert.deepEqual(await fetchFrom(2), [second]);
  const { disk } = kafka;
  await kafka[Symbol.asyncDispose]();
  kafka = await InProcessKafka.start({ disk, broker: { forms: [jsonForm] } });
  assert.deepEqual(await fetchFrom(3), [second]);
  await kafka[Symbol.asyncDispose]();
});
