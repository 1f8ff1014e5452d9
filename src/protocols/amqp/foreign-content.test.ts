/** Messages of other protocols as AMQP content. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Message, MessageHeader } from '../../broker/message.ts';
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Topic } from '../../broker/topic.ts';
import { frameEndAt } from './amqp-form.ts';
import { type BasicProperties, decodeProperties } from './content-header.ts';
import { encodeForeignContent } from './foreign-content.ts';
import { frameHeaderBytes } from './frames.ts';

const topic = { name: 'orders', partitions: [] as unknown[] } as unknown as Topic;
const plain: Message = { key: null, body: Buffer.from('v'), headers: [], timestampMs: 1_700_000_000_000 };

/** The content header frame, and the header table in it, name by name. */
const encode = (
  message: Partial<Message>,
  frameBytesMax = 131_072,
): { frameBytes: number; headers: readonly MessageHeader[]; properties: BasicProperties; body: string } => {
  const delivery = { offset: 7, part: {}, message: () => ({ ...plain, ...message }) } as unknown as Delivery;
  const { content } = encodeForeignContent(delivery, { channel: 1, frameBytesMax, topic });
  const frameBytes = frameEndAt(content, 0);
  const properties = decodeProperties(content, 0, frameBytes);
  const body = content.toString('utf8', frameBytes + frameHeaderBytes, content.length - 1);
  return { frameBytes, headers: properties.headers ?? [], properties, body };
};

test('the work for a message grows with its headers, not with their square', () => {
  let reads = 0;
  const count = 1_000;
  const headers = Array.from({ length: count }, (_, index) => ({
    get name(): string {
      reads++;
      return `h${index % (count / 2)}`;
    },
    value: Buffer.from(`${index}`),
  }));
  const { headers: table } = encode({ headers });
  assert.ok(reads <= 10 * count, `${reads} looks at ${count} headers`);
  assert.deepEqual(table.find(({ name }) => name === 'h3')?.value, ['3', '503']);
});

const ownHeaders = ['timestamp_in_ms', 'x-stream-offset', 'x-partition'];
const fieldOf = (headers: readonly MessageHeader[], name: string): unknown =>
  headers.find((header) => header.name === name)?.value;

test('a content header fits into a frame of the peer: headers that do not are left out and counted', () => {
  const headers = [
    ...Array.from({ length: 10 }, (_, index) => ({ name: `h${index}`, value: Buffer.alloc(1_000, 65) })),
    { name: 'repeated', value: Buffer.alloc(3_000) },
    { name: 'repeated', value: Buffer.alloc(3_000) },
    { name: 'traceparent', value: Buffer.from('00') },
  ];
  const { frameBytes, headers: table, body } = encode({ headers, key: Buffer.from('k') }, 8_192);
  assert.ok(frameBytes <= 8_192, `${frameBytes}`);
  assert.deepEqual(
    table.map(({ name }) => name).sort(),
    [...ownHeaders, 'x-key', 'x-omitted-headers', 'traceparent', ...headers.slice(0, 7).map(({ name }) => name)].sort(),
  );
  assert.equal(fieldOf(table, 'x-omitted-headers'), 5);
  assert.equal(body, 'v');
});

test('so does a key, before headers: one that does not fit is left out and its size told', () => {
  const key = Buffer.alloc(200_000, 75);
  const { frameBytes, headers, body } = encode({ key, headers: [{ name: 'h', value: null }] });
  assert.ok(frameBytes <= 131_072, `${frameBytes}`);
  assert.deepEqual(headers.map(({ name }) => name).sort(), [...ownHeaders, 'h', 'x-omitted-key'].sort());
  assert.equal(fieldOf(headers, 'x-omitted-key'), key.length);
  assert.equal(body, 'v');
});

test('no size of the headers makes a frame too large, and nothing is left out that fits well', () => {
  for (let bytes = 7_700; bytes < 8_300; bytes++) {
    const message = { headers: [{ name: 'h', value: Buffer.alloc(bytes, 65) }], appId: 'a'.repeat(200), priority: 3 };
    const { frameBytes, headers, properties } = encode(message, 8_192);
    assert.ok(frameBytes <= 8_192, `${frameBytes} with ${bytes}`);
    assert.notEqual(fieldOf(headers, 'h') === undefined, fieldOf(headers, 'x-omitted-headers') === undefined);
    if (bytes < 7_800) assert.notEqual(fieldOf(headers, 'h'), undefined);
    assert.deepEqual(
      [properties.appId, properties.priority, properties.timestamp],
      ['a'.repeat(200), 3, 1_700_000_000],
    );
  }
});

test('a record header is never taken for one of the broker, and each name stands for one header', () => {
  const reserved = [
    'x-key',
    'x-tombstone',
    'timestamp_in_ms',
    'x-stream-offset',
    'x-partition',
    'x-omitted-headers',
    'x-omitted-key',
  ];
  const prefix = 'x-kafka-header-';
  const names = [...reserved, ...reserved.map((name) => prefix + name), `${prefix}other`];
  const { headers } = encode({ headers: names.map((name) => ({ name, value: Buffer.from(name) })) });
  assert.equal(new Set(headers.map(({ name }) => name)).size, headers.length);
  assert.deepEqual(
    new Map(headers.filter(({ name }) => !ownHeaders.includes(name)).map(({ name, value }) => [name, value])),
    new Map(names.map((name) => [name === `${prefix}other` ? name : prefix + name, name])),
  );
});

test('a header whose name is longer than AMQP can say is left out and counted', () => {
  const value = Buffer.from('v');
  const names = ['n'.repeat(255), 'n'.repeat(256), `${'n'.repeat(255)}m`, 'ü'.repeat(128)];
  const { headers } = encode({ headers: names.map((name) => ({ name, value })) });
  assert.deepEqual(
    headers.map(({ name }) => name).sort(),
    [...ownHeaders, 'n'.repeat(255), 'x-omitted-headers'].sort(),
  );
  assert.equal(fieldOf(headers, 'x-omitted-headers'), 3);
});
