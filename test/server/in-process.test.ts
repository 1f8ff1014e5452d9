// The package's API: brokers inside this process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { test } from 'node:test';
import { connect } from 'amqplib';
import { Kafka, logLevel } from 'kafkajs';
import { type StartBrokerOptions, startBroker } from '../../src/server/broker-process.ts';
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

test('an option that would be passed over in silence is refused, and says what is meant', async () => {
  const refused: readonly (readonly [options: unknown, message: RegExp])[] = [
    [{ dir: '/nowhere' }, /unknown option 'dir'; there are data, memory, kafka/],
    [{ datta: '/nowhere' }, /unknown option 'datta'; did you mean 'data'\?/],
    [{ durability: 'os' }, /unknown option 'durability'; it is a setting: settings: \{ 'durability': "os" \}/],
    [{ kafka: { hostt: '0.0.0.0' } }, /kafka: there is no 'hostt'; did you mean 'host'\?/],
    [{ amqp: { advertised: 'broker:1' } }, /amqp: there is no 'advertised'; there are host, port/],
    [{ kafka: 9092 }, /kafka must be false, an object such as .*, not 9092/],
    [{ kafka: null }, /kafka must be false, an object such as .*, not null/],
    [{ amqp: [{}, true] }, /amqp must be .*, not true/],
    [{ kafka: { port: '9092' } }, /kafka: port must be an integer between 0 and 65535, not "9092"/],
    [{ kafka: { host: '' } }, /kafka: host must be a name or an address/],
    [{ data: 5 }, /data must be the path of a directory, not 5/],
    [{ data: '' }, /data must be the path of a directory, not ""/],
    [{ memory: 'yes' }, /memory must be true or false, not "yes"/],
    [{ memory: false }, /memory: false needs data/],
    [{ settings: { memory: false } }, /memory: false needs data/],
    [{ settings: null }, /settings must be an object/],
    [{ settings: { 'listeners.kafka': '127.0.0.1:0' }, kafka: {} }, /'listeners\.kafka' is among the settings, and/],
    [{ logger: {} }, /logger must be/],
    [{ onFatal: 'exit' }, /onFatal must be a function/],
    [null, /options must be an object, not null/],
    ['./data', /options must be an object, not "\.\/data"/],
  ];
  for (const [options, message] of refused) {
    const started = startBroker(options as StartBrokerOptions).then((broker) => broker.close());
    await assert.rejects(started, { name: 'ConfigError', message }, JSON.stringify(options));
  }
});

test('settings may say what options say, and what is undefined is not given', async () => {
  await using directory = await temporaryDirectory();
  await using broker = await startBroker({
    settings: { data: directory.path, 'listeners.kafka': ['127.0.0.1:0', '127.0.0.1:0'] },
    amqp: undefined,
  } as unknown as StartBrokerOptions);
  assert.equal(broker.addresses.kafka.length, 2);
  await assert.rejects(startBroker({ data: directory.path }), /is in use by another broker/);
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
