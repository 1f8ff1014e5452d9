/** `rosettamq consume` of a topic, or a look at a queue: reads and leaves no trace. */
import type { Broker } from '../../broker/broker.ts';
import type { Topic } from '../../broker/topic.ts';
import { BrokerError } from '../../core/errors.ts';
import type { Log } from '../../log/log.ts';
import type { ConsumeControl, ConsumeRequest } from './admin-protocol.ts';
import type { ConsumeOutput } from './consume-output.ts';
import { LogCursor } from './log-cursor.ts';
import { viewMessage } from './record-view.ts';

export interface TopicReading {
  readonly topic: Topic;
  readonly request: ConsumeRequest;
  readonly output: ConsumeOutput;
  readonly broker: Broker;
}

interface PartitionReading {
  readonly partition: number;
  readonly cursor: LogCursor;
  /** Where to end, when not waiting for more. */
  readonly end: number;
}

const startOffset = (log: Log, offset: ConsumeRequest['offset']): number => {
  if (offset === 'end') return log.durableEnd;
  if (offset === undefined || offset === 'beginning') return log.startOffset;
  return offset < 0 ? Math.max(log.startOffset, log.durableEnd + offset) : offset;
};

/** An offset that lies behind the end of every partition is a mistake: it would be waited for, and nothing said. */
const requireInRange = (name: string, logs: readonly Log[], offset: ConsumeRequest['offset']): void => {
  const end = Math.max(...logs.map(({ durableEnd }) => durableEnd));
  if (typeof offset !== 'number' || offset <= end) return;
  throw new BrokerError('invalid-argument', `offset ${offset} is out of range: '${name}' ends at ${end}`);
};

export class TopicConsumeSession {
  readonly #options: TopicReading;
  readonly #readings: PartitionReading[];
  #left: number;
  #stopped = false;
  #wake: () => void = () => {};
  readonly #watcher = { onLogVisible: (): void => this.#wake() };

  /** @throws BrokerError 'invalid-argument' */
  constructor(options: TopicReading) {
    this.#options = options;
    const { topic, request, broker } = options;
    const { partition } = request;
    if (partition !== undefined && topic.partitions[partition] === undefined) {
      throw new BrokerError(
        'invalid-argument',
        `'${topic.name}' has the partitions 0 to ${topic.partitions.length - 1}`,
      );
    }
    const chosen = topic.partitions.filter((_, index) => partition === undefined || partition === index);
    requireInRange(topic.name, chosen, request.offset);
    this.#left = request.count ?? Number.POSITIVE_INFINITY;
    this.#readings = topic.partitions.flatMap((log, index) => {
      if (partition !== undefined && partition !== index) return [];
      const cursor = new LogCursor(log, startOffset(log, request.offset), broker);
      return [{ partition: index, cursor, end: log.durableEnd }];
    });
  }

  async run(): Promise<void> {
    const { output, request } = this.#options;
    for (const { cursor } of this.#readings) cursor.log.watch(this.#watcher);
    try {
      while (!this.#stopped && this.#left > 0) {
        const changed = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        let found = false;
        for (const reading of this.#readings) found = (await this.#readFrom(reading)) || found;
        if (found) continue;
        if (request.exit === true || this.#readings.every(({ cursor }) => cursor.log.deleted)) break;
        await changed;
      }
    } finally {
      for (const { cursor } of this.#readings) cursor.log.unwatch(this.#watcher);
    }
    output.end();
  }

  control(line: ConsumeControl): void {
    if ('stop' in line) this.close();
  }

  close(): void {
    this.#stopped = true;
    this.#wake();
  }

  /** False when there was nothing to send. */
  async #readFrom({ partition, cursor, end }: PartitionReading): Promise<boolean> {
    const { output, request } = this.#options;
    const last = request.exit === true ? end : Number.POSITIVE_INFINITY;
    if (this.#stopped || this.#left <= 0 || cursor.offset >= last) return false;
    const found = await cursor.read();
    for (const { offset, message } of found) {
      if (this.#stopped || this.#left <= 0 || offset >= last) break;
      this.#left--;
      await output.record(viewMessage(message, partition, offset));
    }
    return found.length > 0;
  }
}
