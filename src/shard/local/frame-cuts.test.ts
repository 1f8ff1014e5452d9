import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameCuts } from './frame-cuts.ts';

const grid = 100;
const cell = 400;
const limit = 2_000;

/** Frames at these offsets; the checksum of each is its offset. */
const cutsAt = (offsets: readonly number[]): FrameCuts => {
  const cuts = new FrameCuts();
  for (const offset of offsets) cuts.note(offset, offset, grid);
  return cuts;
};

test('a piece goes from cut to cut, or has all that begins in a cell', () => {
  const cuts = cutsAt([0, 40, 110, 190, 250, 390, 730, 810, 1500]);
  const around = (offset: number, cellBytes: number): number[] => {
    const { start, end, firstCrc } = cuts.pieceAt(offset, limit, cellBytes);
    assert.equal(firstCrc, start);
    return [start, end];
  };
  assert.deepEqual(around(0, 0), [0, 110]);
  assert.deepEqual(around(109, 0), [0, 110]);
  assert.deepEqual(around(110, 0), [110, 250]);
  assert.deepEqual(around(1999, 0), [1500, limit]);
  for (const offset of [0, 240, 729]) assert.deepEqual(around(offset, cell), [0, 730]);
  assert.deepEqual(around(730, cell), [730, 810]);
  assert.deepEqual(around(1000, cell), [810, 1500]);
});

test('no piece goes over a place where the frames ended', () => {
  const cuts = new FrameCuts();
  cuts.note(0, 1, grid);
  cuts.note(120, 2, grid);
  cuts.end(180);
  cuts.note(220, 3, grid);
  cuts.note(310, 4, grid);
  assert.deepEqual(cuts.pieceAt(5, limit, cell), { start: 0, end: 180, firstCrc: 1 });
  assert.deepEqual(cuts.pieceAt(130, limit, cell), { start: 0, end: 180, firstCrc: 1 });
  assert.deepEqual(cuts.pieceAt(230, limit, cell), { start: 220, end: limit, firstCrc: 3 });
  assert.deepEqual(cuts.pieceAt(130, limit, 0), { start: 120, end: 180, firstCrc: 2 });
});
