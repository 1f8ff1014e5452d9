import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HeaderValue } from '../message.ts';
import { headersMatch } from './headers-match.ts';

const matches = (binding: Record<string, HeaderValue>, headers: Record<string, HeaderValue>): boolean =>
  headersMatch(new Map(Object.entries(binding)), new Map(Object.entries(headers)));

test('without arguments to compare, all matches everything and any matches nothing', () => {
  for (const headers of [{}, { a: 1 }, { 'x-a': 1 }]) {
    assert.ok(matches({}, headers));
    for (const other of [{}, { 'x-a': 1 }]) {
      assert.ok(matches({ 'x-match': 'all', ...other }, headers));
      assert.ok(!matches({ 'x-match': 'any', ...other }, headers));
    }
    assert.ok(matches({ 'x-match': 'all-with-x' }, headers));
    assert.ok(!matches({ 'x-match': 'any-with-x' }, headers));
  }
});

test('all wants each argument, any wants one; those that begin with x- count only with -with-x', () => {
  const binding = { a: 1, b: null, 'x-c': 'c' };
  const modes = (headers: Record<string, HeaderValue>): boolean[] =>
    ['all', 'any', 'all-with-x', 'any-with-x'].map((mode) => matches({ 'x-match': mode, ...binding }, headers));
  assert.deepEqual(modes({ a: 1, b: 'whatever', 'x-c': 'c' }), [true, true, true, true]);
  assert.deepEqual(modes({ a: 1, b: 'whatever' }), [true, true, false, true]);
  assert.deepEqual(modes({ a: 1 }), [false, true, false, true]);
  assert.deepEqual(modes({ 'x-c': 'c' }), [false, false, false, true]);
  assert.deepEqual(modes({ a: 2, 'x-c': 'd' }), [false, false, false, false]);
});
