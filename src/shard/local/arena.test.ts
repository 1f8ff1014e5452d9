import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Arena } from './arena.ts';

const chunkBytes = 1000;

/** An arena whose chunks follow one another, each filled to its end. */
const filled = (arena: Arena, count: number, durablePosition: (index: number) => number, from = 0) => {
  const chunks = [];
  for (let index = from; index < from + count; index++) {
    const limits = { limitPosition: Number.MAX_SAFE_INTEGER, durablePosition: durablePosition(index) };
    chunks.push(arena.next(index * chunkBytes, index * chunkBytes, 10, limits));
  }
  return chunks;
};

test('a position is found in its chunk, at both edges, and not in the gap between chunks', () => {
  const arena = new Arena(chunkBytes, 10 * chunkBytes);
  const limits = { limitPosition: 10_000, durablePosition: 0 };
  const first = arena.next(0, 100, 10, limits);
  const second = arena.next(400, 5000, 10, limits);
  assert.equal(arena.find(99), undefined);
  assert.equal(arena.find(100), first);
  assert.equal(arena.find(399), first);
  assert.equal(arena.find(400), undefined);
  assert.equal(arena.find(4999), undefined);
  assert.equal(arena.find(5000), second);
  assert.equal(arena.find(5999), second);
  assert.equal(arena.find(6000), undefined);
});

test('the oldest durable chunks go when the arena is full, and memory is reused', () => {
  const arena = new Arena(chunkBytes, 4 * chunkBytes);
  const chunks = filled(arena, 40, (index) => index * chunkBytes);
  assert.equal(arena.usedBytes, 4 * chunkBytes);
  assert.equal(arena.find(35 * chunkBytes + 999), undefined);
  assert.equal(arena.find(36 * chunkBytes), chunks[36]);
  assert.ok(new Set(chunks.map((chunk) => chunk.buffer)).size <= 6, 'buffers go round');
});

test('what is not durable stays, over the limit if need be', () => {
  const arena = new Arena(chunkBytes, 4 * chunkBytes);
  const chunks = filled(arena, 10, () => 1500);
  assert.equal(arena.find(0), undefined);
  assert.equal(arena.find(1000), chunks[1]);
  assert.equal(arena.usedBytes, 9 * chunkBytes);
  filled(arena, 1, () => 9000, 10);
  assert.equal(arena.usedBytes, 4 * chunkBytes);
});

test('a pinned buffer is not reused, not even if pinned in the turn of its eviction', () => {
  const arena = new Arena(chunkBytes, 2 * chunkBytes);
  const [first, second] = filled(arena, 2, () => 2000);
  first!.pin();
  const later = filled(arena, 1, () => 2000, 2);
  second!.pin();
  later.push(...filled(arena, 10, (index) => index * chunkBytes, 3));
  for (const chunk of later) assert.ok(chunk.buffer !== first!.buffer && chunk.buffer !== second!.buffer);
  first!.unpin();
  assert.throws(() => first!.unpin());
});

test('a larger commit gets a chunk of its own', () => {
  const arena = new Arena(chunkBytes, 4 * chunkBytes);
  const large = arena.next(0, 0, 3500, { limitPosition: 100_000, durablePosition: 0 });
  assert.equal(large.buffer.length, 3500);
  filled(arena, 3, () => 1e9, 4);
  assert.equal(arena.find(0), undefined);
});
