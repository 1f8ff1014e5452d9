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

test('a topic trie finds exactly the patterns that match by definition', () => {
  const word = fc.constantFrom('a', 'b', 'c', '');
  const patternWord = fc.constantFrom('a', 'b', 'c', '', '*', '#');
  const patterns = fc.array(fc.array(patternWord, { minLength: 1, maxLength: 4 }), { maxLength: 12 });
  fc.assert(
    fc.property(patterns, fc.array(word, { minLength: 1, maxLength: 5 }), (list, key) => {
      const trie = new TopicTrie<string>();
      for (const pattern of list) trie.add(pattern.join('.'), pattern.join('.'));
      const found = new Set<string>();
      trie.collect(key.join('.'), found);
      const expected = new Set(list.filter((pattern) => matches(pattern, key)).map((pattern) => pattern.join('.')));
      assert.deepEqual([...found].sort(), [...expected].sort());
    }),
    { numRuns: 500 },
  );
});
