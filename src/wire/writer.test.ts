/** What a Writer writes, a Reader reads; pieces keep their order, and what was handed out never changes. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { MalformedError, Reader, uuidFromBytes, uuidToBytes, ZERO_UUID } from './cursor.ts';
import { WRITER_CHUNK_BYTES, WRITER_REFERENCE_BYTES_MIN, Writer } from './writer.ts';

const written = (write: (writer: Writer) => void): Buffer => {
  const writer = new Writer(16);
  write(writer);
  return Buffer.concat(writer.finish());
};

it('int64 is exact over the safe range and refused outside of it', () => {
  const one = (value: number): void => {
    const bytes = written((writer) => writer.int64(value));
    assert.equal(bytes.readBigInt64BE(), BigInt(value));
    assert.equal(new Reader(bytes).int64(), value);
  };
  for (const value of [
    0,
    -1,
    2 ** 31,
    -(2 ** 31),
    2 ** 32,
    -(2 ** 32),
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
  ])
    one(value);
  fc.assert(fc.property(fc.maxSafeInteger(), one));
  for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
    const bytes = written((writer) => writer.bigint64(value));
    assert.equal(new Reader(bytes).bigint64(), value);
    assert.throws(() => new Reader(bytes).int64(), MalformedError);
  }
  for (const value of [2 ** 53, 1.5, Number.NaN])
    assert.throws(() => written((writer) => writer.int64(value)), RangeError);
});

it('small integers', () => {
  const bytes = written((writer) => {
    for (const value of [-128, 127]) writer.int8(value);
    for (const value of [-32768, 32767]) writer.int16(value);
    writer.uint16(65535);
    for (const value of [-(2 ** 31), 2 ** 31 - 1]) writer.int32(value);
    writer.uint32(2 ** 32 - 1);
    writer.float64(-1.5);
    writer.boolean(true);
  });
  const reader = new Reader(bytes);
  const got = [
    reader.int8(),
    reader.int8(),
    reader.int16(),
    reader.int16(),
    reader.uint16(),
    reader.int32(),
    reader.int32(),
  ];
  assert.deepEqual(got, [-128, 127, -32768, 32767, 65535, -(2 ** 31), 2 ** 31 - 1]);
  assert.deepEqual([reader.uint32(), reader.float64(), reader.boolean()], [2 ** 32 - 1, -1.5, true]);
  reader.expectEnd();
});

it('strings of any content and length', () => {
  const one = (text: string): void => {
    const size = Buffer.byteLength(text);
    const classic = written((writer) => writer.string(text));
    assert.equal(classic.length, size + 2);
    assert.equal(new Reader(classic).string(), text);
    assert.equal(new Reader(written((writer) => writer.compactString(text))).compactString(), text);
  };
  for (let length = 0; length < 140; length++) {
    one('x'.repeat(length));
    one(`${'x'.repeat(length)}ü`);
  }
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), one));
  assert.throws(() => written((writer) => writer.string('x'.repeat(32768))), RangeError);
});

it('uuids are what Kafka prints', () => {
  assert.equal(uuidFromBytes(Buffer.alloc(16)), ZERO_UUID);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const uuid = uuidFromBytes(bytes);
      assert.deepEqual([...uuidToBytes(uuid)], [...bytes]);
      const wire = written((writer) => writer.uuid(uuid));
      assert.deepEqual([...wire], [...bytes]);
      assert.equal(new Reader(wire).uuid(), uuid);
    }),
  );
  for (const bad of ['', 'short', 'x'.repeat(23), '!'.repeat(22)]) {
    assert.throws(() => written((writer) => writer.uuid(bad)), RangeError);
  }
});

it('bytes are views', () => {
  const bytes = written((writer) => writer.bytes(Buffer.from('abc')));
  const view = new Reader(bytes).bytes();
  bytes[4] = 'x'.charCodeAt(0);
  assert.equal(view.toString(), 'xbc');
});

it('any mix of copies, references and finishes comes out in order and stays', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('raw'), size: fc.integer({ min: 0, max: 9000 }) }),
    fc.record({ kind: fc.constant('reference'), size: fc.integer({ min: 0, max: 3 * WRITER_REFERENCE_BYTES_MIN }) }),
    fc.record({ kind: fc.constant('frame'), size: fc.integer({ min: 0, max: 70_000 }) }),
    fc.record({ kind: fc.constant('finish'), size: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const writer = new Writer(1024);
      const expected: Buffer[] = [];
      const pieces: Buffer[] = [];
      let unfinished = 0;
      for (const [index, { kind, size }] of steps.entries()) {
        const content = Buffer.alloc(size, index + 1);
        if (kind === 'finish') {
          assert.equal(writer.position, unfinished);
          unfinished = 0;
          pieces.push(...writer.finish());
          continue;
        }
        if (kind === 'raw') writer.raw(content);
        else if (kind === 'reference') writer.reference(content);
        else {
          const mark = writer.reserveInt32();
          const start = writer.position;
          writer.reference(content);
          writer.patchInt32(mark, writer.position - start);
          const length = Buffer.alloc(4);
          length.writeInt32BE(size);
          expected.push(length);
          unfinished += 4;
        }
        expected.push(content);
        unfinished += size;
      }
      pieces.push(...writer.finish());
      assert.ok(Buffer.concat(pieces).equals(Buffer.concat(expected)));
    }),
    { numRuns: 60 },
  );
});

it('a message without references is one piece', () => {
  const writer = new Writer();
  for (let count = 0; count < 100; count++) writer.raw(Buffer.alloc(WRITER_CHUNK_BYTES / 10));
  assert.equal(writer.finish().length, 1);
  assert.deepEqual(writer.finish(), []);
});

it('discard forgets what is not finished', () => {
  const writer = new Writer();
  writer.string('kept');
  const kept = writer.finish();
  writer.string('dropped');
  writer.reference(Buffer.alloc(10_000));
  writer.discard();
  assert.equal(writer.position, 0);
  writer.string('next');
  assert.equal(Buffer.concat([...kept, ...writer.finish()]).toString('latin1'), '\0\x04kept\0\x04next');
});

it('a reader stays within its window', () => {
  const reader = new Reader(Buffer.from('0001020304', 'hex'), 1, 3);
  assert.equal(reader.peekInt16(0), 0x0102);
  assert.throws(() => reader.peekInt16(1), MalformedError);
});

it('refuses more array elements than any real message has', () => {
  const bytes = Buffer.alloc(4 + 2 * 1024 * 1024);
  bytes.writeInt32BE(2 * 1024 * 1024);
  assert.throws(() => new Reader(bytes).arrayLength(1), MalformedError);
});
