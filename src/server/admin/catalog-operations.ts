/** Topics and queues for the command line: list, describe, create, delete. */
import type { Broker } from '../../broker/broker.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import type { Topic } from '../../broker/topic.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import { BrokerError } from '../../core/errors.ts';
import { checkTopicConfig, topicConfigTable, topicConfigText } from '../../protocols/kafka/topic-config.ts';
import { topicNameProblem } from '../../protocols/kafka/topic-directory.ts';
import type { Config } from '../config.ts';
import { nearestName } from '../nearest-name.ts';
import type { AdminRequest, QueueDescription, QueueSummary, TopicDescription, TopicSummary } from './admin-protocol.ts';

type Request<Op extends AdminRequest['op']> = Extract<AdminRequest, { op: Op }>;

const queueNameBytesMax = 255;
const partitionsMax = 10_000;
const topicConfigNames = topicConfigTable.map(({ name }) => name);

export const defaultVhost = (broker: Broker): VirtualHost => broker.vhost('/')!;

export const listTopics = (broker: Broker): TopicSummary[] =>
  [...defaultVhost(broker).topics].map(({ name, partitions }) => ({
    name,
    partitions: partitions.length,
    messages: partitions.reduce((sum, { startOffset, durableEnd }) => sum + durableEnd - startOffset, 0),
  }));

export const describeTopic = (broker: Broker, name: string): TopicDescription => {
  const topic = requireTopic(broker, name);
  return {
    name,
    id: topic.id,
    config: Object.fromEntries(topic.config),
    partitions: topic.partitions.map(({ startOffset, durableEnd }, partition) => ({
      partition,
      start: startOffset,
      end: durableEnd,
    })),
  };
};

/** @throws BrokerError 'invalid-name', 'invalid-argument', 'already-exists', 'storage-full' */
export const createTopic = (broker: Broker, config: Config, request: Omit<Request<'topic-create'>, 'op'>): Topic => {
  const { name, partitions = config.integer('kafka.num.partitions'), config: topicConfig = {} } = request;
  const nameProblem = topicNameProblem(name);
  if (nameProblem !== undefined) throw new BrokerError('invalid-name', nameProblem);
  const kept = new Map<string, string>();
  for (const [key, value] of Object.entries(topicConfig)) {
    const problem = checkTopicConfig(key, value);
    if (problem !== undefined) throw new BrokerError('invalid-argument', problem + nearestConfigHint(key));
    kept.set(key, topicConfigText(key, value));
  }
  if (!Number.isSafeInteger(partitions) || partitions < 1 || partitions > partitionsMax) {
    throw new BrokerError('invalid-argument', `a topic has 1 to ${partitionsMax} partitions, not ${partitions}`);
  }
  return broker.createTopic({ vhost: '/', name, partitions, config: kept });
};

const nearestConfigHint = (name: string): string => {
  if (topicConfigNames.includes(name)) return '';
  const nearest = nearestName(name, topicConfigNames);
  return nearest === undefined ? '' : `; did you mean '${nearest}'?`;
};

export const deleteTopic = (broker: Broker, name: string): void => broker.deleteTopic(requireTopic(broker, name));

export const listQueues = (broker: Broker): QueueSummary[] => [...defaultVhost(broker).queues].map(summary);

export const describeQueue = (broker: Broker, name: string): QueueDescription => {
  const queue = requireQueue(broker, name);
  const { durable, exclusive, autoDelete, arguments: args } = queue.properties;
  const shown = [...args].map(([key, value]) => [
    key,
    typeof value === 'object' ? JSON.stringify(value) : String(value),
  ]);
  return { ...summary(queue), durable, exclusive, autoDelete, arguments: Object.fromEntries(shown) };
};

/** Durable; a name that exists is an error. @throws BrokerError */
export const createQueue = (broker: Broker, { name, topic, start }: Omit<Request<'queue-create'>, 'op'>): void => {
  if (start !== undefined && start !== 'first' && start !== 'next') {
    throw new BrokerError('invalid-argument', `a subscription starts at first or next, not '${start}'`);
  }
  if (start !== undefined && topic === undefined) {
    throw new BrokerError('invalid-argument', 'only a subscription has a start: name its topic');
  }
  const vhost = defaultVhost(broker);
  if (vhost.queue(name) !== undefined) throw new BrokerError('already-exists', `queue '${name}' exists already`);
  if (name === '' || Buffer.byteLength(name) > queueNameBytesMax || name.startsWith('amq.')) {
    throw new BrokerError(
      'invalid-name',
      `queue name '${name}': 1 to ${queueNameBytesMax} bytes are allowed, and no name that begins with 'amq.'`,
    );
  }
  const args = new Map<string, string>();
  if (topic !== undefined) args.set('x-topic', topic);
  if (start !== undefined) args.set('x-stream-offset', start);
  vhost.declareQueue(name, { durable: true, exclusive: false, autoDelete: false, arguments: args }, undefined);
};

export const deleteQueue = (broker: Broker, request: Omit<Request<'queue-delete'>, 'op'>): void => {
  const { name, ifUnused = false, ifEmpty = false } = request;
  requireQueue(broker, name);
  defaultVhost(broker).deleteQueue(name, { ifUnused, ifEmpty });
};

export const requireTopic = (broker: Broker, name: string): Topic => {
  const vhost = defaultVhost(broker);
  const topic = vhost.topic(name);
  if (topic !== undefined) return topic;
  if (vhost.queue(name) !== undefined) throw new BrokerError('wrong-kind', `'${name}' is a queue, not a topic`);
  throw new BrokerError('not-found', `there is no topic '${name}'`);
};

const requireQueue = (broker: Broker, name: string): Queue => {
  const vhost = defaultVhost(broker);
  const queue = vhost.queue(name);
  if (queue !== undefined) return queue;
  if (vhost.topic(name) !== undefined) throw new BrokerError('wrong-kind', `'${name}' is a topic, not a queue`);
  throw new BrokerError('not-found', `there is no queue '${name}'`);
};

const summary = (queue: Queue): QueueSummary => ({
  name: queue.name,
  ready: queue.subscription.readyCount,
  unacked: queue.subscription.unackedCount,
  consumers: queue.subscription.consumerCount,
  topic: queue.log === undefined ? queue.topic.name : null,
});
