/** Field tables: every type is decoded, what we write is read back, and malformed ones are refused by both readers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HeaderValue } from '../../broker/message.ts';
import { AmqpError } from './amqp-errors.ts';
import { skipValue, TableDecoder } from './field-table.ts';
import { MethodWriter } from './method-writer.ts';

const decode = (bytes: Buffer): Map<string, HeaderValue> => new Map(new TableDecoder(bytes, 0, bytes.length).table());

const encode = (table: Map<string, HeaderValue>): Buffer => {
  const writer = new MethodWriter();
  writer.table(table);
  return Buffer.from(writer.bytes());
};

/** A table of one entry `v` with the given typed value. */
const single = (type: string, ...octets: number[]): Buffer => {
  const entry = Buffer.from([1, 0x76, type.charCodeAt(0), ...octets]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(entry.length);
  return Buffer.concat([length, entry]);
};

test('every type of RabbitMQ is decoded', () => {
  const value = (type: string, ...octets: number[]): HeaderValue | undefined =>
    decode(single(type, ...octets)).get('v');
  assert.equal(value('t', 1), true);
  assert.equal(value('b', 0xff), -1);
  assert.equal(value('B', 0xff), 255);
  assert.equal(value('s', 0xff, 0xfe), -2);
  assert.equal(value('u', 0xff, 0xfe), 65_534);
  assert.equal(value('I', 0xff, 0xff, 0xff, 0xff), -1);
  assert.equal(value('i', 0xff, 0xff, 0xff, 0xff), 4_294_967_295);
  assert.equal(value('l', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), -1);
  assert.equal(value('l', 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 2n ** 63n - 1n);
  assert.equal(value('f', 0x3f, 0xc0, 0, 0), 1.5);
  assert.equal(value('d', 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), 1.5);
  assert.equal(value('D', 2, 0, 0, 0, 125), 1.25);
  assert.equal(value('S', 0, 0, 0, 2, 0xc3, 0xbc), 'ü');
  assert.deepEqual(value('S', 0, 0, 0, 1, 0xff), Buffer.from([0xff]));
  assert.deepEqual(value('x', 0, 0, 0, 1, 7), Buffer.from([7]));
  assert.deepEqual(value('T', 0, 0, 0, 0, 0, 0, 0, 1), new Date(1000));
  assert.equal(value('V'), null);
  assert.deepEqual(value('A', 0, 0, 0, 3, 0x74, 0, 0x56), [false, null]);
  assert.deepEqual(value('F', 0, 0, 0, 4, 1, 0x61, 0x74, 1), { a: true });
});

const headerValue: fc.Arbitrary<HeaderValue> = fc.letrec<{ value: HeaderValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).filter((number) => !Object.is(number, -0)),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.integer({ min: 0, max: 4e9 }).map((seconds) => new Date(seconds * 1000)),
    fc.array(tie('value')),
    fc.dictionary(
      fc.string({ maxLength: 20 }).filter((name) => name !== '__proto__'),
      tie('value'),
      { noNullPrototype: true },
    ),
  ),
})).value;

const table = fc
  .array(fc.tuple(fc.string({ maxLength: 20 }), headerValue))
  .map((entries) => new Map<string, HeaderValue>(entries));

test('what is written is read back', () => {
  fc.assert(fc.property(table, (entries) => assert.deepEqual(decode(encode(entries)), entries)));
});

test('damaged tables are refused, never read beyond their end, and both readers agree', () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
  const outcome = (read: () => void): boolean => {
    try {
      read();
      return true;
    } catch (error) {
      if (!(error instanceof AmqpError)) throw error;
      return false;
    }
  };
  fc.assert(
    fc.property(table, damage, (entries, changes) => {
      const bytes = encode(entries);
      for (const [at, octet] of changes) bytes[at % bytes.length] = octet;
      const asValue = Buffer.concat([Buffer.from('F'), bytes]);
      const decoded = outcome(() => decode(bytes));
      const skipped = outcome(() => skipValue(asValue, 0, asValue.length, 0));
      assert.equal(decoded, skipped);
    }),
    { numRuns: 2000 },
  );
});
