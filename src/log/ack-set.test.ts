import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AckSet } from './ack-set.ts';

const span = 60;

test('an ack set agrees with a plain set of offsets, whatever the order of ranges', () => {
  const range = fc.tuple(fc.nat(span), fc.integer({ min: 1, max: 8 }));
  fc.assert(
    fc.property(fc.nat(10), fc.array(range, { maxLength: 40 }), (floor, ranges) => {
      const acks = new AckSet(floor);
      const model = new Set(Array.from({ length: floor }, (_, offset) => offset));
      for (const [from, length] of ranges) {
        acks.add(from, from + length);
        for (let offset = from; offset < from + length; offset++) model.add(offset);
        let modelFloor = 0;
        while (model.has(modelFloor)) modelFloor++;
        assert.equal(acks.floor, modelFloor);
        for (let offset = 0; offset < span + 10; offset++) {
          assert.equal(acks.has(offset), model.has(offset), `has(${offset})`);
          let open = offset;
          while (model.has(open)) open++;
          assert.equal(acks.nextOpen(offset), open, `nextOpen(${offset})`);
        }
        const within = [...model].filter((offset) => offset >= 7 && offset < 41).length;
        assert.equal(acks.countWithin(7, 41), within);
        for (let from = acks.floor; from < span + 10; from++) {
          const settledFrom = [...model].filter((offset) => offset >= from).length;
          assert.equal(acks.countFrom(from), settledFrom, `countFrom(${from})`);
        }
      }
    }),
  );
});

test('raising the floor swallows ranges below it', () => {
  const acks = new AckSet(0);
  acks.add(5, 8);
  acks.add(10, 12);
  acks.raiseFloor(6);
  assert.equal(acks.floor, 8);
  assert.deepEqual(acks.ranges, [10, 12]);
  assert.equal(acks.countFrom(8), 2);
});
