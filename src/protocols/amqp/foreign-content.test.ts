/** Messages of other protocols as AMQP content. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Message, MessageHeader } from '../../broker/message.ts';
import type { Delivery } from '../../broker/queues/delivery.ts';
import type { Topic } from '../../broker/topic.ts';
import { frameEndAt } from './amqp-form.ts';
import { decodeProperties } from './content-header.ts';
import { encodeForeignContent } from './foreign-content.ts';

const topic = { name: 'orders', partitions: [] as unknown[] } as unknown as Topic;
const plain: Message = { key: null, body: Buffer.from('v'), headers: [], timestampMs: 1_700_000_000_000 };

/** The content header frame, and the header table in it, name by name. */
const encode = (
  message: Partial<Message>,
  frameBytesMax = 131_072,
): { frameBytes: number; headers: readonly MessageHeader[] } => {
  const delivery = { offset: 7, part: {}, message: () => ({ ...plain, ...message }) } as unknown as Delivery;
  const { content } = encodeForeignContent(delivery, { channel: 1, frameBytesMax, topic });
  const frameBytes = frameEndAt(content, 0);
  return { frameBytes, headers: decodeProperties(content, 0, frameBytes).headers ?? [] };
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
