import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TopicTrie } from './topic-trie.ts';

/** The definition, word by word, without a trie. */
const matches = (pattern: readonly string[], key: readonly string[]): boolean => {
  const [first, ...rest] = pattern;
  if (first === undefined) return key.length === 0;
  if (first === '#') return matches(rest, key) || (key.length > 0 && matches(pattern, key.slice(1)));
  return key.length > 0 && (first === '*' || first === key[0]) && matches(rest, key.slice(1));
};

/** The same by dynamic programming, for what the definition takes too long for. */
const matchesLong = (pattern: readonly string[], key: readonly string[]): boolean => {
  let ends = new Set([0]);
  for (const word of pattern) {
    const next = new Set<number>();
    for (const at of ends) {
      if (word === '#') for (let end = at; end <= key.length; end++) next.add(end);
      else if (at < key.length && (word === '*' || word === key[at])) next.add(at + 1);
    }
    ends = next;
  }
  return ends.has(key.length);
};

const check = (
  list: readonly (readonly string[])[],
  key: readonly string[],
  isMatch: (pattern: readonly string[], key: readonly string[]) => boolean,
): void => {
  const trie = new TopicTrie<string>();
  for (const pattern of list) trie.add(pattern.join('.'), pattern.join('.'));
  // Twice: what one walk leaves behind must not change the next.
  for (const words of [key, key.slice(0, -1), key]) {
    if (words.length === 0) continue;
    const found = new Set<string>();
    trie.collect(words.join('.'), found);
    const expected = new Set(list.filter((pattern) => isMatch(pattern, words)).map((pattern) => pattern.join('.')));
    assert.deepEqual([...found].sort(), [...expected].sort());
  }
};

test('a topic trie finds exactly the patterns that match by definition', () => {
  const word = fc.constantFrom('a', 'b', 'c', '');
  const patternWord = fc.constantFrom('a', 'b', 'c', '', '*', '#');
  const patterns = fc.array(fc.array(patternWord, { minLength: 1, maxLength: 4 }), { maxLength: 12 });
  fc.assert(
    fc.property(patterns, fc.array(word, { minLength: 1, maxLength: 5 }), (list, key) => check(list, key, matches)),
    { numRuns: 500 },
  );
});

test('so it does with many #, long patterns and long keys', () => {
  const word = fc.constantFrom('a', 'b');
  const patternWord = fc.oneof(
    { weight: 2, arbitrary: fc.constant('#') },
    { weight: 1, arbitrary: fc.constant('*') },
    { weight: 2, arbitrary: word },
  );
  const patterns = fc.array(fc.array(patternWord, { minLength: 1, maxLength: 10 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(patterns, fc.array(word, { minLength: 1, maxLength: 14 }), (list, key) =>
      check(list, key, matchesLong),
    ),
    { numRuns: 500 },
  );
});

test('patterns of many # cost the words of the key times their own, not all ways to divide the key', () => {
  const words = Array.from({ length: 120 }, () => 'a');
  const adjacent = [...Array.from({ length: 40 }, () => '#'), 'z'];
  const apart = [...Array.from({ length: 40 }, () => ['#', '*']).flat(), '#', 'z'];
  const ending = [...Array.from({ length: 40 }, () => ['#', 'a']).flat(), '#'];
  check([adjacent, apart, ending], words, matchesLong);
});
