/** `rosettamq produce`: records of one connection, in batches, into a topic or a queue. */
import type { Broker } from '../../broker/broker.ts';
import type { Topic } from '../../broker/topic.ts';
import { BrokerError } from '../../core/errors.ts';
import { limits } from '../../core/limits.ts';
import { appendBatch } from '../../log/append-batch.ts';
import { batchSource, encodeBatch, type NewRecord } from '../../log/batch-encode.ts';
import type { Log } from '../../log/log.ts';
import { topicRules } from '../../protocols/kafka/topic-config.ts';
import type { Config } from '../config.ts';
import { headSettings } from '../heads.ts';
import type { AdminRequest, ProduceLine, ProduceRecord } from './admin-protocol.ts';
import { createTopic, defaultVhost } from './catalog-operations.ts';

/** A batch is written at this many records or bytes, or when nothing more is at hand. */
const batchRecordsMax = 500;
const batchBytesMax = 256 * 1024;
/** The client is not read from while so much of it is not durable. */
const undurableBytesMax = 4 * 1024 * 1024;

interface Batch {
  readonly records: NewRecord[];
  bytes: number;
}

/** Where the records go, and by which of the topic's rules. */
interface Destination {
  readonly choose: (key: Buffer | null) => Log;
  readonly batchBytesMax: number;
  readonly stampsAppendTime: boolean;
}

const bytesOf = (text: string | null | undefined): Buffer | null => (text == null ? null : Buffer.from(text, 'base64'));

export class ProduceSession {
  readonly #broker: Broker;
  readonly #destination: Destination;
  readonly #batches = new Map<Log, Batch>();
  #recordCount = 0;
  #undurableBytes = 0;
  #flushScheduled = false;
  #failure: unknown;

  /** @throws BrokerError when nothing can be produced there */
  constructor(broker: Broker, config: Config, request: Extract<AdminRequest, { op: 'produce' }>) {
    this.#broker = broker;
    this.#destination = destination(broker, config, request);
  }

  /** The number of records once all are durable, after the last line; undefined before. @throws BrokerError */
  async line(line: ProduceLine): Promise<{ count: number } | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    if ('end' in line) {
      this.#flushAll();
      await this.#broker.gate.durableNow();
      return { count: this.#recordCount };
    }
    this.#add(line);
    if (this.#undurableBytes > undurableBytesMax) {
      await this.#broker.gate.durableNow();
      this.#undurableBytes = 0;
    }
    return undefined;
  }

  #add({ key, value, headers = [] }: ProduceRecord): void {
    const record: NewRecord = {
      key: bytesOf(key),
      value: bytesOf(value),
      headers: headers.map(([name, header]) => ({ name, value: bytesOf(header) })),
      timestampMs: this.#broker.clock.now(),
    };
    const log = this.#destination.choose(record.key);
    let batch = this.#batches.get(log);
    if (batch === undefined) {
      batch = { records: [], bytes: 0 };
      this.#batches.set(log, batch);
    }
    batch.records.push(record);
    batch.bytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
    this.#recordCount++;
    if (batch.records.length >= batchRecordsMax || batch.bytes >= batchBytesMax) this.#flush(log, batch);
    else this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      try {
        this.#flushAll();
      } catch (error) {
        this.#failure = error;
      }
    });
  }

  #flushAll(): void {
    for (const [log, batch] of this.#batches) this.#flush(log, batch);
  }

  #flush(log: Log, { records }: Batch): void {
    this.#batches.delete(log);
    if (log.deleted) throw new BrokerError('not-found', 'it was deleted meanwhile');
    if (!this.#broker.hasRoom) {
      throw new BrokerError('storage-full', 'the broker takes no new messages until consumers have made room');
    }
    this.#append(log, records);
  }

  #append(log: Log, records: readonly NewRecord[]): void {
    const { batchBytesMax, stampsAppendTime } = this.#destination;
    const batch = encodeBatch(records);
    if (batch.length > batchBytesMax) {
      if (records.length === 1) throw new BrokerError('too-large', `a message may have ${batchBytesMax} bytes at most`);
      const half = Math.ceil(records.length / 2);
      this.#append(log, records.slice(0, half));
      this.#append(log, records.slice(half));
      return;
    }
    const options = { nowMs: this.#broker.clock.now(), stampsAppendTime, producersExpiredBeforeMs: 0 };
    const outcome = appendBatch(log, batchSource(batch), options);
    if (outcome.kind !== 'appended') throw new Error(`the batch was refused: ${outcome.kind}`);
    this.#undurableBytes += batch.length;
  }
}

const destination = (
  broker: Broker,
  config: Config,
  { name, partition }: Extract<AdminRequest, { op: 'produce' }>,
): Destination => {
  const vhost = defaultVhost(broker);
  const queue = vhost.queue(name);
  if (queue !== undefined) {
    if (partition !== undefined)
      throw new BrokerError('invalid-argument', `'${name}' is a queue: it has no partitions`);
    vhost.requireAccess(queue, undefined);
    const { log } = queue;
    if (log !== undefined) return { choose: () => log, batchBytesMax: limits.messageBytesMax, stampsAppendTime: false };
    throw new BrokerError(
      'unsupported',
      `queue '${name}' is a subscription on topic '${queue.topic.name}': produce to the topic`,
    );
  }
  const topic = vhost.topic(name) ?? autoCreate(broker, config, name, partition);
  const { batchBytesMax, stampsAppendTime } = topicRules(topic, headSettings(config).kafka);
  const rules = { batchBytesMax, stampsAppendTime };
  if (partition === undefined) return { choose: (key) => topic.partitionFor(key ?? undefined, ''), ...rules };
  requirePartition(name, partition, topic.partitions.length);
  const chosen = topic.partitions[partition]!;
  return { choose: () => chosen, ...rules };
};

const requirePartition = (name: string, partition: number, count: number): void => {
  if (partition >= 0 && partition < count) return;
  throw new BrokerError('invalid-argument', `topic '${name}' has the partitions 0 to ${count - 1}`);
};

const autoCreate = (broker: Broker, config: Config, name: string, partition: number | undefined): Topic => {
  if (!config.boolean('kafka.auto.create.topics.enable')) {
    throw new BrokerError('not-found', `there is no topic or queue '${name}'`);
  }
  // Before there is a topic, which a mistake must not leave behind.
  requirePartition(name, partition ?? 0, config.integer('kafka.num.partitions'));
  return createTopic(broker, config, { name });
};
