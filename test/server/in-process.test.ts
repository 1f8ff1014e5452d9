// The package's API: brokers inside this process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { test } from 'node:test';
import { connect } from 'amqplib';
import { Kafka, logLevel } from 'kafkajs';
import { startBroker } from '../../src/server/broker-process.ts';
import { temporaryDirectory } from './serve-process.ts';

const amqpUrl = (address: string): string => `amqp://guest:guest@${address}`;

const publish = async (address: string, queue: string, body: string): Promise<void> => {
  const connection = await connect(amqpUrl(address));
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queue, { durable: true });
  channel.sendToQueue(queue, Buffer.from(body), { persistent: true });
  await channel.waitForConfirms();
  await connection.close();
};

const take = async (address: string, queue: string): Promise<string | undefined> => {
  const connection = await connect(amqpUrl(address));
  const channel = await connection.createChannel();
  await channel.assertQueue(queue, { durable: true });
  const message = await channel.get(queue, { noAck: true });
  await connection.close();
  return message === false ? undefined : message.content.toString();
};

test('two brokers in memory at once, on free ports, know nothing of each other', async () => {
  await using first = await startBroker();
  await using second = await startBroker();
  const ports = [first, second].flatMap(({ addresses }) => [...addresses.kafka, ...addresses.amqp]);
  assert.equal(new Set(ports).size, 4);
  for (const address of ports) assert.match(address, /^127\.0\.0\.1:[1-9]\d*$/);
  await publish(first.addresses.amqp[0]!, 'tasks', 'hello');
  assert.equal(await take(second.addresses.amqp[0]!, 'tasks'), undefined);
  assert.equal(await take(first.addresses.amqp[0]!, 'tasks'), 'hello');
});

test('a message published through one protocol is consumed through the other', async () => {
  await using broker = await startBroker({ settings: { 'kafka.num.partitions': 1 } });
  await publish(broker.addresses.amqp[0]!, 'tasks', 'by AMQP');
  const kafka = new Kafka({ brokers: [broker.addresses.kafka[0]!], logLevel: logLevel.NOTHING });
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: 'tasks', messages: [{ value: 'by Kafka' }] });
  await producer.disconnect();
  assert.equal(await take(broker.addresses.amqp[0]!, 'tasks'), 'by AMQP');
  assert.equal(await take(broker.addresses.amqp[0]!, 'tasks'), 'by Kafka');
});

test('what is on disk is there after close and start', async () => {
  await using directory = await temporaryDirectory();
  const first = await startBroker({ data: directory.path, kafka: false });
  assert.deepEqual(first.addresses.kafka, []);
  await publish(first.addresses.amqp[0]!, 'tasks', 'kept');
  await first.close();
  await using second = await startBroker({ data: directory.path, kafka: false });
  assert.equal(await take(second.addresses.amqp[0]!, 'tasks'), 'kept');
});

test('a directory that is in use is refused, also within one process', async () => {
  await using directory = await temporaryDirectory();
  await using _broker = await startBroker({ data: directory.path });
  await assert.rejects(startBroker({ data: directory.path }), (error: Error) => {
    assert.match(error.message, new RegExp(`is in use by another broker: rosettamq .*, process ${process.pid} on `));
    return true;
  });
});

test('the number of shards of a data directory is fixed', async () => {
  await using directory = await temporaryDirectory();
  await (await startBroker({ data: directory.path, settings: { shards: 3 } })).close();
  await assert.rejects(startBroker({ data: directory.path }), /was made with shards=3/);
  await (await startBroker({ data: directory.path, settings: { shards: 3 } })).close();
});

test('several listeners, chosen ports, and ports in use', async () => {
  await using first = await startBroker({ kafka: false, amqp: [{}, { host: '127.0.0.1' }] });
  assert.equal(first.addresses.amqp.length, 2);
  const port = Number(first.addresses.amqp[0]!.split(':')[1]);
  await assert.rejects(
    startBroker({ kafka: false, amqp: { port } }),
    /cannot listen on .*: another process listens there/,
  );
});

test('options that contradict or do not exist are refused', async () => {
  await assert.rejects(
    startBroker({ settings: { 'kafka.num.partition': 1 } }),
    /did you mean 'kafka\.num\.partitions'/,
  );
  await assert.rejects(startBroker({ data: '/nowhere', memory: true }), /either a data directory or memory/);
  await assert.rejects(
    startBroker({ settings: { 'kafka.group.min.session.timeout.ms': 2_000_000 } }),
    /must not be above/,
  );
});

test('connections above the limit are closed at once, and places are given back', async () => {
  await using broker = await startBroker({ settings: { 'connections.max': 1, 'log.level': 'silent' } });
  const [host, port] = broker.addresses.amqp[0]!.split(':') as [string, string];
  const first = connectSocket(Number(port), host);
  await once(first, 'connect');
  first.write('AMQP\0\0\x09\x01');
  await once(first, 'data');
  const second = connectSocket(Number(port), host);
  second.on('error', () => {});
  await once(second, 'close');
  first.destroy();
  for (;;) {
    const next = connectSocket(Number(port), host);
    next.on('error', () => {});
    next.write('AMQP\0\0\x09\x01');
    const served = await Promise.race([once(next, 'data').then(() => true), once(next, 'close').then(() => false)]);
    next.destroy();
    if (served) break;
  }
});
