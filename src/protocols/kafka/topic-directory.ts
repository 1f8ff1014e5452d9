/**
 * The topics as a Kafka client sees them: those of the virtual host, and its durable queues as topics of one partition.
 * Names that Kafka forbids and queues that belong to a connection are not there.
 */
import type { Broker } from '../../broker/broker.ts';
import type { Queue } from '../../broker/queues/queue.ts';
import type { Topic } from '../../broker/topic.ts';
import type { VirtualHost } from '../../broker/vhost.ts';
import type { KafkaSettings } from './kafka-settings.ts';
import { type TopicRules, topicRules } from './topic-config.ts';

const nameLengthMax = 249;
const legalCharacters = /^[a-zA-Z0-9._-]+$/;

/** Undefined: legal. Else why not, in Kafka's words. */
export const topicNameProblem = (name: string): string | undefined => {
  const start = `Topic name is invalid: `;
  if (name === '') return `${start}the empty string is not allowed`;
  if (name === '.' || name === '..') return `${start}'${name}' is not allowed`;
  if (name.length > nameLengthMax) {
    return `${start}the length of '${name}' is longer than the max allowed length ${nameLengthMax}`;
  }
  if (!legalCharacters.test(name)) {
    return `${start}'${name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'`;
  }
  return undefined;
};

/** Kafka keeps state of its own in them; here they are as other topics, but clients are told to leave them alone. */
const internalTopics: ReadonlySet<string> = new Set([
  '__consumer_offsets',
  '__transaction_state',
  '__share_group_state',
]);

export const isInternalTopic = (name: string): boolean => internalTopics.has(name);

/** The log of Kafka's controllers: no topic may have its name. */
export const clusterMetadataTopic = '__cluster_metadata';

/** Kafka's metrics write both characters alike. */
const unified = (name: string): string => name.replaceAll('.', '_');

/** Topic ids are hexadecimal in the catalog and base64url in Kafka's texts and codecs. */
export const uuidOfTopic = (topic: Topic): string => Buffer.from(topic.id, 'hex').toString('base64url');
const hexOfUuid = (uuid: string): string => Buffer.from(uuid, 'base64url').toString('hex');

export class TopicDirectory {
  readonly #broker: Broker;
  readonly #vhost: VirtualHost;
  readonly #settings: KafkaSettings;
  /** By the map of its configs, which is another one after a change. */
  readonly #rules = new WeakMap<Topic['config'], TopicRules>();

  constructor(broker: Broker, settings: KafkaSettings) {
    this.#broker = broker;
    this.#vhost = broker.vhost('/')!;
    this.#settings = settings;
  }

  find(name: string): Topic | undefined {
    const topic = this.#vhost.topic(name);
    if (topic !== undefined) return topic;
    const queue = this.#vhost.queue(name);
    return queue !== undefined && isListed(queue) ? queue.topic : undefined;
  }

  /** By the base64url text that the codecs use. */
  findById(uuid: string): Topic | undefined {
    return this.findByHexId(hexOfUuid(uuid));
  }

  findByHexId(id: string): Topic | undefined {
    const topic = this.#broker.topicById(id);
    if (topic === undefined || topic.vhost !== this.#vhost.name) return undefined;
    return this.find(topic.name) === topic ? topic : undefined;
  }

  /** True also for names that are taken by something that Kafka does not see. */
  isTaken(name: string): boolean {
    return this.#vhost.topic(name) !== undefined || this.#vhost.queue(name) !== undefined;
  }

  /** Undefined: no topic has a name that differs in nothing but dots and underscores. Else why none of that name is made, in Kafka's words. */
  collision(name: string): string | undefined {
    if (!/[._]/.test(name)) return undefined;
    const wanted = unified(name);
    for (const topic of this.#vhost.topics) {
      if (topic.name.length === name.length && topic.name !== name && unified(topic.name) === wanted) {
        return `Topic '${name}' collides with existing topic: ${topic.name}`;
      }
    }
    return undefined;
  }

  /** In no particular order. */
  list(): Topic[] {
    const topics = [...this.#vhost.topics];
    for (const queue of this.#vhost.queues) if (isListed(queue)) topics.push(queue.topic);
    return topics;
  }

  rules(topic: Topic): TopicRules {
    let rules = this.#rules.get(topic.config);
    if (rules === undefined) {
      rules = topicRules(topic, this.#settings);
      this.#rules.set(topic.config, rules);
    }
    return rules;
  }
}

const isListed = (queue: Queue): boolean =>
  queue.log !== undefined &&
  queue.isKept &&
  !queue.properties.autoDelete &&
  !queue.deleted &&
  topicNameProblem(queue.name) === undefined;
