// SIGTERM while clients are at work: what is stored was acknowledged, what was acknowledged is stored, and nobody is waited for too long.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { test } from 'node:test';
import { connect } from 'amqplib';
import { Kafka, logLevel } from 'kafkajs';
import { opening } from '../../src/protocols/amqp/test-peer.ts';
import { freePorts, ServeProcess, temporaryDirectory } from './serve-process.ts';

const amqpUrl = (broker: ServeProcess): string => `amqp://guest:guest@127.0.0.1:${broker.port('amqp')}`;
const kafkaOf = (broker: ServeProcess): Kafka =>
  new Kafka({ brokers: [`127.0.0.1:${broker.port('kafka')}`], logLevel: logLevel.NOTHING, retry: { retries: 0 } });

interface Publishing {
  confirmed: number;
  /** The connection is closed. */
  readonly ended: Promise<unknown>;
}

/** Keeps 50 publishes outstanding until the connection ends. */
const publishAmqp = async (broker: ServeProcess): Promise<Publishing> => {
  const connection = await connect(amqpUrl(broker));
  const publishing: Publishing = { confirmed: 0, ended: once(connection, 'close') };
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('tasks', { durable: true });
  const next = (): void => {
    channel.sendToQueue('tasks', Buffer.from('task'), { persistent: true }, (error) => {
      if (error !== null) return;
      publishing.confirmed++;
      next();
    });
  };
  for (let i = 0; i < 50; i++) next();
  return publishing;
};

/** Five records at a time until the broker is gone. */
const publishKafka = async (broker: ServeProcess): Promise<Publishing> => {
  const producer = kafkaOf(broker).producer();
  await producer.connect();
  await producer.send({ topic: 'events', messages: [{ value: 'first' }] });
  const send = async (): Promise<void> => {
    try {
      for (;;) {
        await producer.send({ topic: 'events', acks: -1, messages: [{ value: 'event' }] });
        publishing.confirmed++;
      }
    } catch {
      // The broker has ended the connection.
    }
  };
  const publishing: Publishing = {
    confirmed: 1,
    ended: Promise.resolve().then(() => Promise.all(Array.from({ length: 5 }, send))),
  };
  void publishing.ended.then(() => producer.disconnect());
  return publishing;
};

const storedTasks = async (broker: ServeProcess): Promise<number> => {
  const connection = await connect(amqpUrl(broker));
  const { messageCount } = await (await connection.createChannel()).checkQueue('tasks');
  await connection.close();
  return messageCount;
};

const storedEvents = async (broker: ServeProcess): Promise<number> => {
  const admin = kafkaOf(broker).admin();
  await admin.connect();
  const partitions = await admin.fetchTopicOffsets('events');
  await admin.disconnect();
  return partitions.reduce((sum, { high }) => sum + Number(high), 0);
};

test('SIGTERM under load: every AMQP publish that is stored was confirmed, every Kafka record that was acknowledged is stored', async () => {
  await using directory = await temporaryDirectory();
  const args = ['--data', directory.path, ...freePorts];
  await using first = await ServeProcess.start(args);
  const amqp = await publishAmqp(first);
  const kafka = await publishKafka(first);
  while (amqp.confirmed < 500 || kafka.confirmed < 50) await new Promise(setImmediate);
  assert.equal(await first.end('SIGTERM'), 0);
  await Promise.all([amqp.ended, kafka.ended]);
  assert.doesNotMatch(first.stderr, /did not leave in time/);

  await using second = await ServeProcess.start(args);
  assert.equal(await storedTasks(second), amqp.confirmed);
  const events = await storedEvents(second);
  assert.ok(events >= kafka.confirmed, `${events} stored, ${kafka.confirmed} acknowledged`);
});

for (const timeoutMs of [200, 3500]) {
  test(`a client that does not leave has shutdown.timeout.ms, here ${timeoutMs} ms, and is cut off with a warning`, async () => {
    await using broker = await ServeProcess.start([
      '--memory',
      ...freePorts,
      '--set',
      `shutdown.timeout.ms=${timeoutMs}`,
    ]);
    const client = connectSocket(broker.port('amqp'), '127.0.0.1');
    client.write(opening());
    let received = Buffer.alloc(0);
    client.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    client.on('error', () => {});
    const closed = once(client, 'close');
    // connection.open-ok
    while (!received.includes(Buffer.from([0, 10, 0, 41]))) await once(client, 'data');
    const startedAtMs = performance.now();
    assert.equal(await broker.end('SIGTERM'), 0);
    const elapsedMs = performance.now() - startedAtMs;
    await closed;
    assert.ok(received.includes('broker is shutting down'));
    assert.ok(elapsedMs >= timeoutMs, `ended after ${elapsedMs} ms`);
    assert.match(broker.stderr, /clients did not leave in time/);
  });
}
