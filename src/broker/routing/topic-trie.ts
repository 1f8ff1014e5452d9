/**
 * Bindings of a topic exchange: words separated by dots, `*` is one word, `#` any number of words, none included.
 * One node per word of a pattern; a node keeps what is bound to the pattern that ends there.
 */
export class TopicTrie<Target> {
  readonly #root = new TrieNode<Target>();
  #walk = 0;

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
    collect(this.#root, { words: key.split('.'), number: ++this.#walk, into }, 0);
  }
}

class TrieNode<Target> {
  readonly children = new Map<string, TrieNode<Target>>();
  readonly targets = new Set<Target>();
  /** Of a node for `#`: the last walk that came here, and the first word from which on it has tried all places for the rest. */
  walk = 0;
  triedFrom = 0;
}

interface Walk<Target> {
  readonly words: readonly string[];
  readonly number: number;
  readonly into: Set<Target>;
}

/** What a `#` has tried is not tried again in the same walk, so a node meets each place in the key at most once. */
const collect = <Target>(node: TrieNode<Target>, walk: Walk<Target>, at: number): void => {
  const { words } = walk;
  const hash = node.children.get('#');
  if (hash !== undefined) {
    const end = hash.walk === walk.number ? hash.triedFrom : words.length + 1;
    if (at < end) {
      hash.walk = walk.number;
      hash.triedFrom = at;
      for (let rest = at; rest < end; rest++) collect(hash, walk, rest);
    }
  }
  if (at === words.length) {
    for (const target of node.targets) walk.into.add(target);
    return;
  }
  const exact = node.children.get(words[at]!);
  if (exact !== undefined && words[at] !== '#') collect(exact, walk, at + 1);
  const star = node.children.get('*');
  if (star !== undefined && words[at] !== '*') collect(star, walk, at + 1);
};
