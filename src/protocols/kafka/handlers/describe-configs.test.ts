import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InProcessKafka } from '../in-process-kafka.ts';
import { configSource } from '../topic-config.ts';
import { resourceType } from './describe-configs.ts';

test('the synonyms of topic configs are settings that the node lists', async () => {
  await using kafka = await InProcessKafka.start({ settings: { 'log.retention.ms': 5000 } });
  const client = await kafka.client();
  kafka.broker.createTopic({ vhost: '/', name: 't', partitions: 1, config: new Map([['retention.bytes', '7']]) });
  const describe = async (type: number, resourceName: string) => {
    const { results } = await client.call('DescribeConfigs', 4, {
      resources: [{ resourceType: type, resourceName, configurationKeys: null }],
      includeSynonyms: true,
      includeDocumentation: false,
    });
    return results[0]!.configs;
  };
  const node = new Set((await describe(resourceType.broker, '1')).map(({ name }) => name));
  const topic = new Map((await describe(resourceType.topic, 't')).map((config) => [config.name, config]));
  for (const { value, synonyms } of topic.values()) {
    for (const { name, source } of synonyms) assert.ok(source === configSource.topic || node.has(name), name);
    if (synonyms.length > 0) assert.equal(synonyms[0]!.value, value);
  }
  const synonymsOf = (name: string): [string, string | null][] =>
    topic.get(name)!.synonyms.map((synonym) => [synonym.name, synonym.value]);
  assert.deepEqual(synonymsOf('retention.ms'), [
    ['log.retention.ms', '5000'],
    ['log.retention.ms', '604800000'],
  ]);
  assert.deepEqual(synonymsOf('retention.bytes'), [
    ['retention.bytes', '7'],
    ['log.retention.bytes', '-1'],
  ]);
  assert.deepEqual(synonymsOf('segment.bytes'), []);
});
