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

/** Behind "35 % of". */
const subjects: Readonly<Record<StartProgress['what'], string>> = {
  verify: 'the checkpoint verified',
  salvage: 'the write-ahead log searched for what is left',
  segments: 'the segments opened',
  checkpoint: 'the checkpoint',
  log: 'the write-ahead log',
};

const progressLine = ({ shard, what, done, whole, topics }: StartProgress): string => {
  const percent = whole === 0 ? 0 : Math.floor((100 * done) / whole);
  return `recovering shard ${shard}: ${percent} % of ${subjects[what]}, ${topics.toLocaleString('en')} topics and queues`;
};
