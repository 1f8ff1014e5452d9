/** Lines for people while a start takes long: none if it is quick, then about one in a second. */
import type { StartProgress } from '../broker/broker-options.ts';

/** Also how long a start is quick. */
const everyMs = 1000;

/**
 * @param nowMs of any clock that only goes forward
 * @returns what to call with each word of progress
 */
export const progressPrinter = (
  print: (line: string) => void,
  nowMs: () => number = () => performance.now(),
): ((progress: StartProgress) => void) => {
  let lastMs = nowMs();
  return (progress) => {
    if (nowMs() - lastMs < everyMs) return;
    lastMs = nowMs();
    print(progressLine(progress));
  };
};

const progressLine = ({ shard, what, doneBytes, wholeBytes, topics }: StartProgress): string => {
  const percent = wholeBytes === 0 ? 0 : Math.floor((100 * doneBytes) / wholeBytes);
  const source = what === 'log' ? 'write-ahead log' : 'checkpoint';
  return `recovering shard ${shard}: ${percent} % of the ${source}, ${topics.toLocaleString('en')} topics and queues`;
};
