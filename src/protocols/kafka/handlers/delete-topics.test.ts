/** DeleteTopics: what is named twice stays. Answers as of Apache Kafka 4.3, ControllerApis. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { ErrorCode } from '../error-codes.ts';
import { InProcessKafka, type RawClient } from '../in-process-kafka.ts';
import { uuidOfTopic } from '../topic-directory.ts';

let kafka: InProcessKafka;
let client: RawClient;

before(async () => {
  kafka = await InProcessKafka.start();
  client = await kafka.client();
});
after(() => kafka[Symbol.asyncDispose]());

const createTopic = (name: string): string =>
  uuidOfTopic(kafka.broker.createTopic({ vhost: '/', name, partitions: 1, config: new Map() }));
const exists = (name: string): boolean => kafka.broker.vhost('/')!.topic(name) !== undefined;

const byName = (name: string) => ({ name, topicId: ZERO_UUID });
const byId = (topicId: string) => ({ name: null, topicId });

const deleteTopics = async (topics: readonly { name: string | null; topicId: string }[]) => {
  const { responses } = await client.call('DeleteTopics', 6, { topics, topicNames: [], timeoutMs: 1000 });
  return responses.map(({ name, topicId, errorCode, errorMessage }) => [name, topicId, errorCode, errorMessage]);
};

test('a topic that is named twice is not deleted, others are', async () => {
  const kept = createTopic('kept');
  const gone = createTopic('gone');
  const { INVALID_REQUEST, NONE } = ErrorCode;
  assert.deepEqual(await deleteTopics([byName('kept'), byName('gone'), byName('kept'), byName('kept')]), [
    ['kept', ZERO_UUID, INVALID_REQUEST, 'Duplicate topic name.'],
    ['gone', gone, NONE, null],
  ]);
  assert.deepEqual(await deleteTopics([byId(kept), byId(kept)]), [
    [null, kept, INVALID_REQUEST, 'Duplicate topic id.'],
  ]);
  const both = 'The provided topic name maps to an ID that was already supplied.';
  assert.deepEqual(await deleteTopics([byId(kept), byName('kept')]), [['kept', kept, INVALID_REQUEST, both]]);
  assert.deepEqual(await deleteTopics([byName('kept'), byId(kept)]), [['kept', kept, INVALID_REQUEST, both]]);
  assert.deepEqual([exists('kept'), exists('gone')], [true, false]);
  assert.deepEqual(await deleteTopics([byId(kept)]), [['kept', kept, NONE, null]]);
  assert.equal(exists('kept'), false);
});

test('names in older versions count as well', async () => {
  createTopic('older');
  const topicNames = ['older', 'older', 'absent'];
  const { responses } = await client.call('DeleteTopics', 5, { topics: [], topicNames, timeoutMs: 1000 });
  assert.deepEqual(
    responses.map(({ name, errorCode }) => [name, errorCode]),
    [
      ['older', ErrorCode.INVALID_REQUEST],
      ['absent', ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
    ],
  );
  assert.ok(exists('older'));
});

test('a topic is named in one way', async () => {
  const topicId = createTopic('one-way');
  assert.deepEqual(await deleteTopics([{ name: 'one-way', topicId }, byId(ZERO_UUID), byId(ZERO_UUID)]), [
    ['one-way', topicId, ErrorCode.INVALID_REQUEST, 'You may not specify both topic name and topic id.'],
    [null, ZERO_UUID, ErrorCode.INVALID_REQUEST, 'Neither topic name nor id were specified.'],
    [null, ZERO_UUID, ErrorCode.INVALID_REQUEST, 'Neither topic name nor id were specified.'],
  ]);
  assert.ok(exists('one-way'));
});
