/**
 * One Fetch from its start to its answer: reads the partitions in the order of the request; if that yields less than the
 * client wants to wait for, watches their logs until enough has come or the time is over, then reads again.
 *
 * Sessions (KIP-227) are not kept: every answer says session 0, after which clients send whole requests. What would go on with one is
 * refused, as by Kafka after it has forgotten the session.
 */
import { BrokerError } from '../../core/errors.ts';
import type { Log, LogWatcher } from '../../log/log.ts';
import type { Chunk } from '../../shard/shard-log.ts';
import { ZERO_UUID } from '../../wire/cursor.ts';
import { ErrorCode } from './error-codes.ts';
import type { FetchRequest, FetchResponseInput } from './generated/fetch.ts';
import { kafkaLimits } from './kafka-limits.ts';
import { PartitionFetch } from './partition-fetch.ts';
import type { KafkaServices } from './request-context.ts';

type Respond = (response: FetchResponseInput, pins: readonly Chunk[]) => void;

/** Of requests that name all their partitions: one would begin a session, the other ends it or is without one. */
const initialEpoch = 0;
const finalEpoch = -1;

/** First version that names topics by id. */
const topicIdVersion = 13;

export class FetchWork implements LogWatcher {
  /** The answer may go out when everything up to here is durable; 0 for records, which are durable. */
  ticket = 0;
  readonly #request: FetchRequest;
  readonly #version: number;
  readonly #services: KafkaServices;
  readonly #respond: Respond;
  /** In the order of the request, topic after topic. */
  readonly #partitions: PartitionFetch[] = [];
  readonly #bytesMax: number;
  #pins: Chunk[] = [];
  /** The partition to read on at, and what was read before it. */
  #at = 0;
  #readBytes = 0;
  #loads = 0;
  #timer: { cancel(): void } | undefined;
  #watching = false;
  #waitIsOver = false;
  #finished = false;

  constructor(request: FetchRequest, version: number, services: KafkaServices, respond: Respond) {
    this.#request = request;
    this.#version = version;
    this.#services = services;
    this.#respond = respond;
    this.#bytesMax = Math.min(request.maxBytes, services.settings['fetch.max.bytes']);
  }

  start(): void {
    const { sessionEpoch, topics, maxWaitMs, minBytes } = this.#request;
    if (sessionEpoch !== initialEpoch && sessionEpoch !== finalEpoch) {
      this.#finished = true;
      this.#respond({ errorCode: ErrorCode.FETCH_SESSION_ID_NOT_FOUND, responses: [] }, []);
      return;
    }
    const byId = this.#version >= topicIdVersion;
    const directory = this.#services.topics;
    for (const { topic: name, topicId, partitions } of topics) {
      const topic = byId ? directory.findById(topicId) : directory.find(name);
      for (const partition of partitions) this.#partitions.push(new PartitionFetch(topic, partition, byId));
    }
    if (maxWaitMs <= 0 || minBytes <= 0 || this.#partitions.length === 0) this.#waitIsOver = true;
    this.#read();
  }

  /** Waits no longer. */
  finishNow(): void {
    if (this.#watching) this.#readAgain();
    else this.#waitIsOver = true;
  }

  /** The client is gone. */
  cancel(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#stopWaiting();
    this.#unpin();
    for (const { reader } of this.#partitions) reader?.release();
  }

  onLogVisible(_log: Log): void {
    if (!this.#watching) return;
    const { minBytes } = this.#request;
    let bytes = 0;
    for (const partition of this.#partitions) {
      bytes += partition.measure(minBytes);
      if (bytes < minBytes) continue;
      this.#readAgain();
      return;
    }
  }

  #read(): void {
    for (; this.#at < this.#partitions.length; this.#at++) {
      const partition = this.#partitions[this.#at]!;
      const before = partition.sizeBytes;
      const step = this.#step(partition);
      this.#readBytes += partition.sizeBytes - before;
      if (step === 'load') {
        this.#load(partition);
        return;
      }
    }
    if (this.#waitIsOver || this.#readBytes >= this.#request.minBytes || this.#partitions.some((one) => one.isUrgent)) {
      this.#answer();
    } else {
      this.#unpin();
      this.#wait();
    }
  }

  #step(partition: PartitionFetch): 'end' | 'load' {
    const left = this.#bytesMax - this.#readBytes;
    const step = partition.read(left, this.#readBytes === 0, this.#pins, this.#services);
    // Storage that is slow must not keep what is there already from the client.
    return step === 'load' && this.#loads >= kafkaLimits.fetchLoadsMax ? 'end' : step;
  }

  #load(partition: PartitionFetch): void {
    this.#loads++;
    partition.reader!.fill().then(
      () => {
        if (!this.#finished) this.#read();
      },
      (error: unknown) => {
        if (this.#finished) return;
        this.#noteUnread(partition, error);
        this.#read();
      },
    );
  }

  #noteUnread(partition: PartitionFetch, error: unknown): void {
    if (!(error instanceof BrokerError)) {
      partition.fail(ErrorCode.KAFKA_STORAGE_ERROR);
      return;
    }
    // Settled and given up meanwhile: the index does not lead there any more.
    if (error.kind === 'not-found') return;
    this.#services.broker.noteDamaged(partition.log!, error);
    partition.fail(error.kind === 'corrupt' ? ErrorCode.CORRUPT_MESSAGE : ErrorCode.KAFKA_STORAGE_ERROR);
  }

  #wait(): void {
    this.#watching = true;
    for (const { log } of this.#partitions) log?.watch(this);
    this.#timer = this.#services.broker.clock.after(this.#request.maxWaitMs, () => {
      this.#timer = undefined;
      this.#readAgain();
    });
  }

  #stopWaiting(): void {
    this.#watching = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const { log } of this.#partitions) log?.unwatch(this);
  }

  #readAgain(): void {
    this.#stopWaiting();
    this.#waitIsOver = true;
    this.#at = 0;
    this.#readBytes = 0;
    for (const partition of this.#partitions) partition.restart();
    this.#read();
  }

  #answer(): void {
    this.#finished = true;
    const { topics, isolationLevel } = this.#request;
    let next = 0;
    const responses = topics.map(({ topic, topicId, partitions }) => ({
      topic,
      topicId: this.#version >= topicIdVersion ? topicId : ZERO_UUID,
      partitions: partitions.map(() => this.#partitions[next++]!.respond(isolationLevel)),
    }));
    if (this.#partitions.some((partition) => partition.isUrgent)) this.ticket = this.#services.broker.gate.current;
    this.#respond({ errorCode: ErrorCode.NONE, responses }, this.#pins);
    for (const partition of this.#partitions) partition.close();
  }

  #unpin(): void {
    for (const chunk of this.#pins) chunk.unpin();
    this.#pins = [];
  }
}
