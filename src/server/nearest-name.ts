/** The valid name that someone who wrote an unknown one most likely meant. */

/** Insertions, deletions, replacements and swaps of neighbours from one text to the other. */
export const editDistance = (from: string, to: string): number => {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const current = [i];
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1];
      let best = Math.min(last[j]! + 1, current[j - 1]! + 1, last[j - 1]! + (isSame ? 0 : 1));
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        best = Math.min(best, beforeLast[j - 2]! + 1);
      }
      current.push(best);
    }
    beforeLast = last;
    last = current;
  }
  return last[to.length]!;
};

const words = (name: string): readonly string[] => name.toLowerCase().split(/[._-]/);

/** Undefined when none is alike. */
export const nearestName = (name: string, valid: readonly string[]): string | undefined => {
  // The prefix forgotten: num.partitions for kafka.num.partitions.
  const withPrefix = valid.find((candidate) => candidate.endsWith(`.${name}`));
  if (withPrefix !== undefined) return withPrefix;
  let nearest: string | undefined;
  let distanceMax = Math.max(2, Math.floor(name.length * 0.4));
  for (const candidate of valid) {
    // Words in another order count as one edit: kafka.listeners for listeners.kafka.
    const reordered = 1 + editDistance(words(name).toSorted().join('.'), words(candidate).toSorted().join('.'));
    const distance = Math.min(editDistance(name.toLowerCase(), candidate.toLowerCase()), reordered);
    if (distance > distanceMax || (distance === distanceMax && nearest !== undefined)) continue;
    distanceMax = distance;
    nearest = candidate;
  }
  return nearest;
};

const family = (name: string): string => words(name)[0]!;

/** Undefined when no name begins with the same word, else the one that shares most words and is most alike. */
export const nearestInFamily = (name: string, valid: readonly string[]): string | undefined => {
  const given = words(name);
  const distance = (candidate: string): number => {
    const sharedWords = words(candidate).filter((word) => given.includes(word)).length;
    return editDistance(name.toLowerCase(), candidate.toLowerCase()) - 1000 * sharedWords;
  };
  return valid.filter((candidate) => family(candidate) === given[0]).toSorted((a, b) => distance(a) - distance(b))[0];
};
