import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c, crc32cIsNative, crc32cPortable } from './crc32c.ts';

test('known vectors of RFC 3720 and the check value', () => {
  const vectors: Array<[Buffer, number]> = [
    [Buffer.alloc(0), 0],
    [Buffer.from('123456789'), 0xe3069283],
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e],
    [Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index)), 0x113fdb5c],
  ];
  for (const [bytes, expected] of vectors) {
    assert.equal(crc32c(bytes, 0, bytes.length), expected);
    assert.equal(crc32cPortable(bytes, 0, bytes.length), expected);
  }
});

test('native and portable agree on every range, and a seed continues', () => {
  assert.equal(crc32cIsNative, true, 'the native package is a dependency and must load here');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4000 }), fc.nat(4000), fc.nat(4000), fc.nat(4000), (bytes, a, b, c) => {
      const buffer = Buffer.from(bytes);
      const [start, middle, end] = [a, b, c].map((at) => at % (buffer.length + 1)).sort((x, y) => x - y);
      const whole = crc32cPortable(buffer, start!, end!);
      assert.equal(crc32c(buffer, start!, end!), whole);
      assert.equal(crc32c(buffer, middle!, end!, crc32c(buffer, start!, middle!)), whole);
      assert.equal(crc32cPortable(buffer, middle!, end!, crc32cPortable(buffer, start!, middle!)), whole);
    }),
  );
});
