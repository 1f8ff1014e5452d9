// Consumer groups of kafkajs: members that join, leave and crash, commits, and where the next member resumes.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { uniqueName, waitFor } from './conditions.ts';
import { type Subscription, startWithKafkajs } from './kafkajs-session.ts';

const { session } = await startWithKafkajs();
const producer = await session.producer();

const assignedPartitions = (member: Subscription, topic: string): number[] => member.assigned()[topic] ?? [];

const waitForShares = async (
  members: Subscription[],
  topic: string,
  shares: number[],
  partitions: number,
): Promise<void> => {
  await waitFor(
    `shares of ${shares.join(', ')}`,
    () => {
      const owned = members.map((member) => assignedPartitions(member, topic));
      const sizes = owned.map((one) => one.length).sort();
      return new Set(owned.flat()).size === partitions && sizes.join() === [...shares].sort().join();
    },
    30_000,
  );
};

const partitionCount = 6;

const sendToEachPartition = (topic: string, value: string): Promise<unknown> =>
  producer.send({
    topic,
    messages: Array.from({ length: partitionCount }, (_, partition) => ({ partition, value: `${value}-${partition}` })),
  });

const valuesOf = (members: Subscription[]): string[] =>
  members.flatMap(({ received }) => received.map(({ message }) => String(message.value)));

const waitForValues = async (members: Subscription[], value: string): Promise<void> => {
  const wanted = Array.from({ length: partitionCount }, (_, partition) => `${value}-${partition}`);
  await waitFor(
    `all of ${value}`,
    () => {
      const got = new Set(valuesOf(members));
      return wanted.every((one) => got.has(one));
    },
    30_000,
  );
};

describe('groups', { concurrency: true }, () => {
  test('three members share six partitions; what one leaves behind the others take over', async () => {
    const topic = await session.createTopic({ partitions: partitionCount });
    const groupId = uniqueName('group');
    const first = await session.subscribe(topic, { groupId });
    await waitForShares([first], topic, [6], partitionCount);
    const second = await session.subscribe(topic, { groupId });
    await waitForShares([first, second], topic, [3, 3], partitionCount);
    const third = await session.subscribe(topic, { groupId });
    await waitForShares([first, second, third], topic, [2, 2, 2], partitionCount);
    await sendToEachPartition(topic, 'three');
    await waitForValues([first, second, third], 'three');
    const ownersOfThree = [first, second, third].map(({ received }) => new Set(received.map((r) => r.partition)).size);
    assert.deepEqual(ownersOfThree, [2, 2, 2]);

    await third.consumer.disconnect();
    await waitForShares([first, second], topic, [3, 3], partitionCount);
    await sendToEachPartition(topic, 'two');
    await waitForValues([first, second], 'two');
    const all = valuesOf([first, second, third]);
    assert.equal(new Set(all).size, all.length, 'nothing was delivered twice');
  });

  test('a member whose sockets die is put out after its session timeout, and nothing is lost', async () => {
    const topic = await session.createTopic({ partitions: partitionCount });
    const groupId = uniqueName('group');
    const options = { groupId, sessionTimeout: 6000 };
    const first = await session.subscribe(topic, options);
    const second = await session.subscribe(topic, options);
    const third = await session.subscribe(topic, options);
    await waitForShares([first, second, third], topic, [2, 2, 2], partitionCount);
    await sendToEachPartition(topic, 'before');
    await waitForValues([first, second, third], 'before');
    await third.crash();
    await sendToEachPartition(topic, 'after');
    await waitForShares([first, second], topic, [3, 3], partitionCount);
    await waitForValues([first, second], 'after');
  });

  test('a second member takes up where the first committed', async () => {
    const topic = await session.createTopic();
    const groupId = uniqueName('group');
    const messages = Array.from({ length: 10 }, (_, index) => ({ value: String(index) }));
    await producer.send({ topic, messages });
    const first = await session.subscribe(topic, { groupId, autoCommit: false });
    await first.waitForCount(10);
    await first.consumer.commitOffsets([{ topic, partition: 0, offset: '6', metadata: 'six' }]);
    await first.consumer.disconnect();
    const second = await session.subscribe(topic, { groupId, autoCommit: false });
    assert.deepEqual(await second.waitForValues(4), ['6', '7', '8', '9']);
    const admin = await session.admin();
    const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] });
    assert.deepEqual([committed?.partitions[0]?.offset, committed?.partitions[0]?.metadata], ['6', 'six']);
  });

  test('a group without commits starts at the end unless it asks for the beginning', async () => {
    const topic = await session.createTopic();
    await producer.send({ topic, messages: [{ value: 'old' }] });
    const late = await session.subscribe(topic, { fromBeginning: false });
    const early = await session.subscribe(topic, { fromBeginning: true });
    await early.waitForCount(1);
    // kafkajs resolves "latest" with its first fetch: send until the late group shows one.
    await waitFor('a new message', async () => {
      await producer.send({ topic, messages: [{ value: 'new' }] });
      return late.received.length > 0;
    });
    assert.ok(late.received.every(({ message }) => message.value?.toString() === 'new'));
  });

  test('two groups read the same topic independently', async () => {
    const topic = await session.createTopic();
    await producer.send({ topic, messages: ['a', 'b', 'c'].map((value) => ({ value })) });
    const one = await session.subscribe(topic);
    const other = await session.subscribe(topic);
    for (const member of [one, other]) assert.deepEqual(await member.waitForValues(3), ['a', 'b', 'c']);
  });
});
