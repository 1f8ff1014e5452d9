/**
 * Consumer groups of Kafka clients for the command line, from their durable state: members as of the last completed
 * rebalance, and committed offsets.
 */
import type { Broker } from '../../broker/broker.ts';
import type { OffsetChange, StoredGroup } from '../../broker/groups/stored-group.ts';
import { BrokerError } from '../../core/errors.ts';
import type { AdminRequest, GroupDescription, GroupSummary } from './admin-protocol.ts';
import { requireTopic } from './catalog-operations.ts';

const membersOf = ({ membership }: StoredGroup): GroupDescription['members'] =>
  (membership?.members ?? []).map(({ memberId, clientId, clientHost }) => ({ memberId, clientId, clientHost }));

const offsetsOf = (broker: Broker, { offsets }: StoredGroup): GroupDescription['offsets'] => {
  const rows: GroupDescription['offsets'][number][] = [];
  for (const [topicId, byPartition] of offsets) {
    const topic = broker.topicById(topicId);
    if (topic === undefined) continue;
    for (const [partition, { offset, metadata }] of byPartition) {
      const end = topic.partitions[partition]?.durableEnd;
      rows.push({
        topic: topic.name,
        partition,
        offset,
        lag: end === undefined ? null : Math.max(0, end - offset),
        metadata,
      });
    }
  }
  return rows.toSorted((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1));
};

export const listGroups = (broker: Broker): GroupSummary[] =>
  [...broker.groupStore.groups].map((group) => ({
    name: group.id,
    members: membersOf(group).length,
    lag: offsetsOf(broker, group).reduce((sum, { lag }) => sum + (lag ?? 0), 0),
  }));

export const describeGroup = (broker: Broker, name: string): GroupDescription => {
  const group = requireGroup(broker, name);
  const { membership } = group;
  return {
    name,
    protocol: membership?.protocolName ?? null,
    generation: membership?.generation ?? 0,
    members: membersOf(group),
    offsets: offsetsOf(broker, group),
  };
};

/** A group without members that has committed the beginning or the end of a topic. @throws BrokerError */
export const createGroup = (broker: Broker, request: Extract<AdminRequest, { op: 'group-create' }>): void => {
  const { name, topic: topicName, start } = request;
  if (start !== undefined && start !== 'first' && start !== 'next') {
    throw new BrokerError('invalid-argument', `a group starts at first or next, not '${start}'`);
  }
  if (name === '') throw new BrokerError('invalid-name', 'a group needs a name');
  if (broker.groupStore.group(name) !== undefined) {
    throw new BrokerError('already-exists', `group '${name}' exists already`);
  }
  const topic = requireTopic(broker, topicName);
  const changes = topic.partitions.map(
    (log, partition): OffsetChange => ({
      topicId: topic.id,
      partition,
      offset: start === 'next' ? log.durableEnd : log.startOffset,
      leaderEpoch: -1,
      metadata: '',
      committedMs: broker.clock.now(),
      expiresMs: -1,
    }),
  );
  broker.groupStore.commitOffsets(name, changes);
};

/** @throws BrokerError 'not-found', 'in-use' when it has members */
export const deleteGroup = (broker: Broker, name: string): void => {
  if (membersOf(requireGroup(broker, name)).length > 0) throw new BrokerError('in-use', `group '${name}' has members`);
  broker.groupStore.removeGroup(name);
};

const requireGroup = (broker: Broker, name: string): StoredGroup => {
  const group = broker.groupStore.group(name);
  if (group === undefined) throw new BrokerError('not-found', `there is no group '${name}'`);
  return group;
};
