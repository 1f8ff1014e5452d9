/** The generated codec: every method is read back as written, and cut ones are refused. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { AmqpError } from './amqp-errors.ts';
import { decodeMethod, encodeMethod, type Method } from './generated/methods.ts';
import { MethodReader } from './method-reader.ts';
import { MethodWriter } from './method-writer.ts';

interface Schema {
  readonly classes: readonly {
    readonly name: string;
    readonly methods: readonly { readonly name: string; readonly fields: readonly string[] }[];
  }[];
}

const schema = JSON.parse(readFileSync(new URL('amqp-methods.json', import.meta.url), 'utf8')) as Schema;

const ascii = (maxLength: number): fc.Arbitrary<string> => fc.string({ maxLength });
const arbitraryOf: Record<string, fc.Arbitrary<unknown>> = {
  bit: fc.boolean(),
  octet: fc.integer({ min: 0, max: 255 }),
  short: fc.integer({ min: 0, max: 65_535 }),
  long: fc.integer({ min: 0, max: 4_294_967_295 }),
  longlong: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  shortstr: ascii(50),
  longstr: ascii(300),
  longbytes: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  table: fc.array(fc.tuple(ascii(10), fc.integer())).map((entries) => new Map(entries)),
};

const methods = schema.classes.flatMap((group) =>
  group.methods.map((method) =>
    fc.record({
      method: fc.constant(`${group.name}.${method.name}`),
      ...Object.fromEntries(
        method.fields.map((field) => field.split(':')).map(([name, type]) => [name!, arbitraryOf[type!]!]),
      ),
    }),
  ),
);
const anyMethod = fc.oneof(...methods) as unknown as fc.Arbitrary<Method>;

const encode = (method: Method): Buffer => {
  const writer = new MethodWriter();
  encodeMethod(writer, method);
  return Buffer.from(writer.bytes());
};

const decode = (bytes: Buffer): Method | undefined => {
  const reader = new MethodReader();
  reader.reset(bytes, 4, bytes.length);
  const method = decodeMethod(bytes.readUInt32BE(0), reader);
  reader.finish();
  return method;
};

test('a count of messages that the field does not hold is written as the most that it holds', () => {
  const messageCount = 2 ** 40;
  const written = decode(encode({ method: 'queue.declare-ok', queue: 'q', messageCount, consumerCount: 0 }));
  assert.deepEqual(written, { method: 'queue.declare-ok', queue: 'q', messageCount: 2 ** 32 - 1, consumerCount: 0 });
});

test('every method is read back as it was written', () => {
  fc.assert(
    fc.property(anyMethod, (method) => assert.deepEqual(decode(encode(method)), { ...method })),
    { numRuns: 3000 },
  );
});

test('a method that is cut or too long is refused', () => {
  fc.assert(
    fc.property(anyMethod, fc.nat(), (method, cut) => {
      const bytes = encode(method);
      assert.throws(() => decode(Buffer.concat([bytes, Buffer.alloc(1)])), AmqpError);
      if (bytes.length > 4) assert.throws(() => decode(bytes.subarray(0, 4 + (cut % (bytes.length - 4)))), AmqpError);
    }),
    { numRuns: 2000 },
  );
});

test('an unknown method is no method', () => {
  assert.equal(decode(Buffer.from([0, 60, 0, 41])), undefined);
});
