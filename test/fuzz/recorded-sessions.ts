// What real clients say, as bytes: one session of kafkajs and one of amqplib, with as many different requests as they make.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import amqplib, { type ConsumeMessage } from 'amqplib';
import { CompressionTypes, Kafka, logLevel } from 'kafkajs';
import { waitFor } from '../clients/conditions.ts';
import { amqpFraming, kafkaFraming, splitFrames } from './mutations.ts';

export const fuzzedTopic = 'fuzzed.topic';
const fuzzedQueue = 'fuzzed.queue';
const fuzzedExchange = 'fuzzed.exchange';

/** Whole requests in order of their sending. */
export const recordKafka = async (address: string): Promise<Buffer[]> => {
  const streams: Buffer[][] = [];
  const kafka = new Kafka({
    clientId: 'recorded',
    brokers: [address],
    logLevel: logLevel.NOTHING,
    socketFactory: ({ host, port, onConnect }) => {
      const socket = connect({ host, port }, onConnect);
      const stream: Buffer[] = [];
      streams.push(stream);
      const write = socket.write.bind(socket) as (chunk: Buffer) => boolean;
      socket.write = ((chunk: Buffer) => {
        stream.push(Buffer.from(chunk));
        return write(chunk);
      }) as typeof socket.write;
      return socket;
    },
  });
  const admin = kafka.admin();
  await admin.connect();
  const topics = [
    { topic: fuzzedTopic, numPartitions: 2, configEntries: [{ name: 'max.message.bytes', value: '99999' }] },
  ];
  await admin.createTopics({ topics: [...topics, { topic: 'fuzzed.gone', numPartitions: 1 }] });
  await admin.deleteTopics({ topics: ['fuzzed.gone'] });
  for (const idempotent of [false, true]) {
    const producer = kafka.producer({ idempotent });
    await producer.connect();
    for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
      const messages = ['a', 'b', 'c'].map((value) => ({ key: value, value, headers: { h: value } }));
      await producer.send({ topic: fuzzedTopic, compression, messages });
    }
    await producer.disconnect();
  }
  const consumer = kafka.consumer({ groupId: 'fuzzed.group', maxWaitTimeInMs: 50 });
  let received = 0;
  await consumer.connect();
  await consumer.subscribe({ topic: fuzzedTopic, fromBeginning: true });
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async () => {
      received++;
    },
  });
  await waitFor('the recorded consumer', () => received >= 12);
  await admin.describeGroups(['fuzzed.group']);
  await consumer.disconnect();
  await admin.listGroups();
  await admin.fetchOffsets({ groupId: 'fuzzed.group', topics: [fuzzedTopic] });
  await admin.fetchTopicOffsetsByTimestamp(fuzzedTopic, 0);
  await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: 2, name: fuzzedTopic }] });
  await admin.describeCluster();
  await admin.deleteGroups(['fuzzed.group']);
  await admin.disconnect();
  return streams.flatMap((stream) => splitFrames(Buffer.concat(stream), kafkaFraming));
};

export interface RecordedAmqp {
  /** Protocol header and frames up to and including channel.open. */
  readonly opening: readonly Buffer[];
  /** Frames of the channel, in order. */
  readonly frames: readonly Buffer[];
}

const protocolHeaderBytes = 8;
/** start-ok, tune-ok, open, channel.open. */
const openingFrames = 4;

/** A session through a proxy that keeps what the client sends. */
export const recordAmqp = async (address: string): Promise<RecordedAmqp> => {
  const [host, port] = address.split(':');
  const stream: Buffer[] = [];
  const proxy = createServer((client) => {
    const upstream = connect(Number(port), host!);
    client.on('data', (chunk: Buffer) => stream.push(chunk));
    client.pipe(upstream).pipe(client);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  await amqpSession(`amqp://guest:guest@127.0.0.1:${(proxy.address() as AddressInfo).port}`);
  proxy.close();
  const said = Buffer.concat(stream);
  const frames = splitFrames(said.subarray(protocolHeaderBytes), amqpFraming);
  return {
    opening: [said.subarray(0, protocolHeaderBytes), ...frames.slice(0, openingFrames)],
    // Without channel.close and connection.close, after which nothing is looked at.
    frames: frames.slice(openingFrames, -2),
  };
};

const amqpSession = async (url: string): Promise<void> => {
  const connection = await amqplib.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.prefetch(7);
  await channel.assertExchange(fuzzedExchange, 'topic', { durable: true });
  await channel.assertExchange('fuzzed.headers', 'headers', { durable: false, autoDelete: true });
  await channel.assertQueue(fuzzedQueue, { durable: true, arguments: { 'x-anything': 'text', 'x-number': 5 } });
  await channel.assertQueue('fuzzed.subscription', { durable: true, arguments: { 'x-topic': fuzzedTopic } });
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(fuzzedQueue, fuzzedExchange, 'a.#');
  await channel.bindQueue(queue, 'fuzzed.headers', '', { 'x-match': 'any', one: 1 });
  await channel.bindExchange('fuzzed.headers', fuzzedExchange, '*.b');
  const options = {
    persistent: true,
    contentType: 'text/plain',
    headers: { one: 1, deep: { list: [1, 'two', true] } },
  };
  for (const size of [0, 20, 3000]) channel.publish(fuzzedExchange, 'a.b', Buffer.alloc(size, 'x'), options);
  await channel.waitForConfirms();
  const unacked: ConsumeMessage[] = [];
  const { consumerTag } = await channel.consume(fuzzedQueue, (message) => {
    if (message !== null) unacked.push(message);
  });
  await waitFor('deliveries', () => unacked.length >= 3);
  channel.ack(unacked[0]!);
  channel.nack(unacked[1]!, false, true);
  channel.reject(unacked[2]!, true);
  await channel.cancel(consumerTag);
  await channel.recover();
  for (let i = 0; i < 2; i++) await channel.get(fuzzedQueue, { noAck: true });
  await channel.checkQueue(fuzzedQueue);
  await channel.checkExchange(fuzzedExchange);
  await channel.unbindQueue(fuzzedQueue, fuzzedExchange, 'a.#');
  await channel.unbindExchange('fuzzed.headers', fuzzedExchange, '*.b');
  await channel.purgeQueue(fuzzedQueue);
  await channel.deleteQueue(queue);
  await channel.deleteExchange('fuzzed.headers');
  await channel.close();
  await connection.close();
};
