// What a process finds when it opens what an earlier one has left, against what that one had promised.
import assert from 'node:assert/strict';
import type { AckSet } from '../../src/log/ack-set.ts';
import { readLog } from '../model/log-contents.ts';
import { identify } from './administrator.ts';
import { Survivors } from './survivors.ts';
import type { World } from './world.ts';

/** `durableTicket`: where the gate of the earlier process stood; `commits`: those that it made. */
export const checkRecovery = async (
  world: World,
  { durableTicket, commits }: { durableTicket: number; commits: World['commits'] },
): Promise<void> => {
  const survivors = new Survivors(durableTicket);
  checkCatalog(world, survivors);
  await checkLogs(world, survivors);
  survivors.check();
  checkParts(world, durableTicket, commits);
};

const checkCatalog = (world: World, survivors: Survivors): void => {
  const { model, broker, groups } = world;
  const { clusterId } = broker;
  assert.ok(model.clusterId === '' || model.clusterId === clusterId, 'the cluster id stays');
  model.recoverNames((name) => identify(world, name), survivors);
  const host = broker.vhost('/')!;
  for (const [name, exists] of model.exchanges) {
    exists.recover(host.exchange(name) !== undefined, survivors, `that exchange ${name} exists`);
  }
  for (const [text, { binding: wanted, isBound }] of model.bindings) {
    const { exchange, key, destination } = wanted;
    const bindings = [...(host.exchange(exchange)?.bindings ?? [])];
    const found = bindings.some((binding) => binding.key === key && binding.destination.name === destination);
    isBound.recover(found, survivors, `that ${text} is bound`);
  }
  for (const [text, committed] of model.committedOffsets) {
    const [group, topicId, partition] = JSON.parse(text) as [string, string, number];
    committed.recover(groups.committed(group, topicId, partition)?.offset, survivors, `the offset ${text}`);
  }
};

const checkLogs = async (world: World, survivors: Survivors): Promise<void> => {
  for (const destination of world.model.destinations) {
    if (destination.kind === 'subscription') continue;
    const logs = world.logsOf(destination);
    assert.equal(logs.length, destination.logs.length, `partitions of ${destination.name}`);
    for (const [index, log] of logs.entries()) {
      const { startOffset, endOffset } = log;
      assert.equal(log.durableEnd, endOffset, 'what recovery finds is durable');
      const messages = await world.until(readLog(log, startOffset, endOffset), `reading ${destination.name}`);
      const model = destination.logs[index]!;
      model.recover({ startOffset, endOffset, messages }, survivors, world.clock.nowMs);
      const acks: AckSet | undefined = destination.kind === 'queue' ? log.subscriptions.get(0) : undefined;
      const { nowMs } = world.clock;
      const isGone = (offset: number): boolean =>
        acks === undefined ? offset < log.startOffset : acks.has(offset) && model.mayGoWhenSettled(offset, nowMs);
      for (let offset = 0; offset < endOffset; offset++) {
        assert.ok(messages.has(offset) || isGone(offset), `${model.name}: message ${offset} is missing`);
      }
    }
  }
};

const checkParts = (world: World, durableTicket: number, commits: World['commits']): void => {
  const found = { commits, durableTicket, nowMs: world.clock.nowMs };
  for (const destination of world.model.destinations) {
    if (destination.kind === 'topic') continue;
    const { parts } = world.queue(destination.name)!.subscription;
    for (const [index, part] of destination.parts.entries()) {
      const { acks, log } = parts[index]!;
      part.recover((offset) => acks.has(offset), log.startOffset, found);
    }
  }
};
