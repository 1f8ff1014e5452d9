/**
 * Bindings of a topic exchange: words separated by dots, `*` is one word, `#` any number of words, none included.
 * One node per word of a pattern; a node keeps what is bound to the pattern that ends there.
 */
export class TopicTrie<Target> {
  readonly #root = new TrieNode<Target>();

  add(pattern: string, target: Target): void {
    let node = this.#root;
    for (const word of pattern.split('.')) {
      let next = node.children.get(word);
      if (next === undefined) node.children.set(word, (next = new TrieNode()));
      node = next;
    }
    node.targets.add(target);
  }

  /** Adds what is bound to patterns that match the key. */
  collect(key: string, into: Set<Target>): void {
    collect(this.#root, key.split('.'), 0, into);
  }
}

class TrieNode<Target> {
  readonly children = new Map<string, TrieNode<Target>>();
  readonly targets = new Set<Target>();
}

const collect = <Target>(node: TrieNode<Target>, words: readonly string[], at: number, into: Set<Target>): void => {
  const hash = node.children.get('#');
  if (hash !== undefined) {
    for (let rest = at; rest <= words.length; rest++) collect(hash, words, rest, into);
  }
  if (at === words.length) {
    for (const target of node.targets) into.add(target);
    return;
  }
  const exact = node.children.get(words[at]!);
  if (exact !== undefined && words[at] !== '#') collect(exact, words, at + 1, into);
  const star = node.children.get('*');
  if (star !== undefined && words[at] !== '*') collect(star, words, at + 1, into);
};
