/** Variable-length integers: sizes, edges, and the bytes of a BigInt reference. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { MalformedError, Reader } from './cursor.ts';
import { uvarintSize, varintSize, varlongSize, writeUvarint, writeVarint, writeVarlong } from './varint.ts';

const reference = (unsigned: bigint): Buffer => {
  const bytes: number[] = [];
  let rest = unsigned;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
};
const zigzag = (value: bigint): bigint => (value < 0n ? -value * 2n - 1n : value * 2n);

const check =
  (
    write: (target: Uint8Array, position: number, value: number) => number,
    size: (value: number) => number,
    read: (reader: Reader) => number,
    map: (value: bigint) => bigint,
  ) =>
  (value: number): void => {
    const target = Buffer.alloc(12, 0xee);
    const end = write(target, 1, value);
    const expected = reference(map(BigInt(value)));
    assert.equal(target.subarray(1, end).toString('hex'), expected.toString('hex'), String(value));
    assert.equal(size(value), expected.length);
    assert.equal(read(new Reader(target, 1, end)), value);
    for (let cut = 1; cut < end; cut++) assert.throws(() => read(new Reader(target, 1, cut)), MalformedError);
  };

it('uvarint', () => {
  const one = check(
    writeUvarint,
    uvarintSize,
    (reader) => reader.uvarint(),
    (value) => value,
  );
  for (let bit = 0; bit < 32; bit++) for (const by of [-1, 0, 1]) one(2 ** bit + by);
  one(2 ** 32 - 1);
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), one));
});

it('varint', () => {
  const one = check(writeVarint, varintSize, (reader) => reader.varint(), zigzag);
  for (let bit = 0; bit < 31; bit++)
    for (const by of [-1, 0, 1]) for (const sign of [-1, 1]) one((2 ** bit + by) * sign || 0);
  for (const value of [2 ** 31 - 1, -(2 ** 31)]) one(value);
  fc.assert(fc.property(fc.integer(), one));
});

it('varlong', () => {
  const one = check(writeVarlong, varlongSize, (reader) => reader.varlong(), zigzag);
  for (let bit = 0; bit < 53; bit++)
    for (const by of [-1, 0, 1]) for (const sign of [-1, 1]) one((2 ** bit + by) * sign || 0);
  for (const value of [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) one(value);
  fc.assert(fc.property(fc.maxSafeInteger(), one));
});

it('refuses what is too long or too large', () => {
  for (const hex of ['ffffffff10', 'ffffffffffff', '808080808000']) {
    assert.throws(() => new Reader(Buffer.from(hex, 'hex')).uvarint(), MalformedError, hex);
  }
  for (const value of [2n ** 53n, -(2n ** 53n), 2n ** 63n - 1n, -(2n ** 63n)]) {
    assert.throws(() => new Reader(reference(zigzag(value))).varlong(), MalformedError, String(value));
  }
  assert.throws(() => new Reader(Buffer.alloc(11, 0xff)).varlong(), MalformedError);
});
