// Records deleted from the start of a topic, and configs changed afterwards, as kafkajs does and sees it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import kafkajs from 'kafkajs';
import { uniqueName, waitFor } from './conditions.ts';
import { startWithKafkajs } from './kafkajs-session.ts';

const { session } = await startWithKafkajs();
const admin = await session.admin();
const producer = await session.producer();

const send = async (topic: string, from: number, to: number): Promise<void> => {
  const messages = Array.from({ length: to - from }, (_, index) => ({ value: `${from + index}` }));
  for (const message of messages) await producer.send({ topic, messages: [message] });
};

const bounds = async (topic: string): Promise<[low: string, high: string]> => {
  const [partition] = await admin.fetchTopicOffsets(topic);
  return [partition!.low, partition!.high];
};

const deleteUpTo = async (topic: string, offset: string): Promise<void> => {
  // kafkajs deletes only from topics whose leaders it knows already.
  await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] });
};

/** What the cause of kafkajs' error has, and its types leave out. */
type DeletionError = kafkajs.KafkaJSDeleteTopicRecordsErrorTopic;

const configsOf = async (name: string, configNames: string[]): Promise<Record<string, string>> => {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames }],
  });
  return Object.fromEntries(
    resources[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]),
  );
};

const alterConfigs = (name: string, configEntries: { name: string; value: string }[], validateOnly = false) =>
  admin.alterConfigs({ validateOnly, resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name, configEntries }] });

test('records below an offset are deleted, and all of them for -1; the next goes where it would have gone', async () => {
  const topic = await session.createTopic();
  await send(topic, 0, 10);
  await deleteUpTo(topic, '7');
  assert.deepEqual(await bounds(topic), ['7', '10']);
  const subscription = await session.subscribe(topic);
  assert.deepEqual(await subscription.waitForValues(3), ['7', '8', '9']);
  await deleteUpTo(topic, '-1');
  assert.deepEqual(await bounds(topic), ['10', '10']);
  await send(topic, 10, 11);
  assert.deepEqual(await subscription.waitForValues(4), ['7', '8', '9', '10']);
  assert.equal(subscription.received.at(-1)!.message.offset, '10');
});

test('deleting beyond the end is refused with OFFSET_OUT_OF_RANGE, in a topic that compacts with POLICY_VIOLATION', async () => {
  const topic = await session.createTopic();
  await send(topic, 0, 2);
  const compacted = await session.createTopic({ configs: { 'cleanup.policy': 'compact' } });
  for (const [name, offset, type] of [
    [topic, '3', 'OFFSET_OUT_OF_RANGE'],
    [compacted, '0', 'POLICY_VIOLATION'],
  ] as const) {
    await assert.rejects(deleteUpTo(name, offset), (error: unknown) => {
      const [partition] = ((error as Error).cause as DeletionError).partitions;
      assert.equal((partition!.error as kafkajs.KafkaJSProtocolError).type, type);
      return true;
    });
  }
  assert.deepEqual(await bounds(topic), ['0', '2']);
});

/** A group that committed offset 2 of ten, of which seven are gone by now. */
const outOfRange = async (): Promise<{ topic: string; groupId: string }> => {
  const topic = await session.createTopic();
  const groupId = uniqueName('group');
  await send(topic, 0, 10);
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '2' }] });
  await deleteUpTo(topic, '7');
  return { topic, groupId };
};

test('a group whose offset was deleted goes on at the start if it is to begin there', async () => {
  const { topic, groupId } = await outOfRange();
  const subscription = await session.subscribe(topic, { groupId, fromBeginning: true });
  assert.deepEqual(await subscription.waitForValues(3), ['7', '8', '9']);
});

test('a group whose offset was deleted goes on at the end if it is to begin there', async () => {
  const { topic, groupId } = await outOfRange();
  const subscription = await session.subscribe(topic, { groupId, fromBeginning: false });
  await waitFor('a message from the end', async () => {
    await producer.send({ topic, messages: [{ value: 'later' }] });
    return subscription.received.length > 0;
  });
  assert.ok(subscription.received.every(({ message }) => String(message.value) === 'later'));
});

test('altered configs are described, hold at once, and leave the defaults for all others', async () => {
  const topic = await session.createTopic({ configs: { 'segment.ms': '60000' } });
  await alterConfigs(topic, [{ name: 'max.message.bytes', value: '1000' }], true);
  assert.deepEqual(await configsOf(topic, ['segment.ms']), { 'segment.ms': '60000' });
  await alterConfigs(topic, [{ name: 'max.message.bytes', value: '1000' }]);
  const names = ['max.message.bytes', 'segment.ms'];
  await waitFor('the change', async () => (await configsOf(topic, names))['max.message.bytes'] === '1000');
  assert.deepEqual(await configsOf(topic, names), { 'max.message.bytes': '1000', 'segment.ms': '604800000' });
  const large = { topic, messages: [{ value: 'v'.repeat(2000) }] };
  await assert.rejects(producer.send(large), { type: 'MESSAGE_TOO_LARGE' });
  await alterConfigs(topic, []);
  await waitFor('the default', async () => (await configsOf(topic, names))['max.message.bytes'] === '1048588');
  await producer.send(large);
});

test('configs that are unknown, wrong or of no topic are refused', async () => {
  const topic = await session.createTopic();
  for (const [name, key, value, type] of [
    [topic, 'no.such.key', '1', 'INVALID_CONFIG'],
    [topic, 'retention.ms', 'soon', 'INVALID_CONFIG'],
    [uniqueName('absent'), 'retention.ms', '1', 'UNKNOWN_TOPIC_OR_PARTITION'],
  ] as const) {
    await assert.rejects(alterConfigs(name, [{ name: key, value }]), { type });
  }
});
