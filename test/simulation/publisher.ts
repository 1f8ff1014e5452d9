// A publisher with confirms: several messages in one commit, persistent and transient, through exchanges to queues and topics.
import assert from 'node:assert/strict';
import { plainForm } from '../../src/broker/test-form.ts';
import type { Log } from '../../src/log/log.ts';
import type { LogModel, SentMessage } from './log-model.ts';
import { exchangeTypes } from './model.ts';
import type { World } from './world.ts';

const largeShare = 0.04;
const largeBytes = 3_000;
const smallBytes = 400;

export const routingKeys = ['a', 'a.b', 'b'];

export class Publisher {
  readonly #world: World;
  #lastBody = 0;
  confirmedCount = 0;

  constructor(world: World) {
    this.#world = world;
  }

  publish(): void {
    const { dice, broker, model, clock } = this.#world;
    if (!broker.hasRoom) return;
    const host = broker.vhost('/')!;
    const builder = broker.blockBuilder(host);
    builder.begin(plainForm.id, clock.nowMs);
    const appended = new Map<Log, SentMessage[]>();
    const isLarge = dice.chance(largeShare);
    for (let left = isLarge ? 1 : dice.between(1, 5); left > 0; left--) {
      const message = {
        body: `m${++this.#lastBody}:`.padEnd(isLarge ? dice.below(largeBytes) : dice.below(smallBytes), 'm'),
        timestampMs: clock.nowMs,
        transient: dice.chance(0.2),
      };
      const { exchange, key } = this.#target();
      if (exchange !== '' && model.exchanges.get(exchange as 'fan')?.value !== true) continue;
      const route = host.route(exchange, key, () => undefined);
      const names = [...route.queues, ...route.topics].map(({ name }) => name);
      assert.deepEqual([...names].sort(), model.route(exchange, key), `where ${exchange} sends ${key}`);
      const logs = [
        ...route.queues.map(({ log }) => log!),
        ...route.topics.map((topic) => topic.partitionFor(undefined, key)),
      ];
      builder.beginMessage();
      const bytes = Buffer.from(message.body);
      builder.piece(bytes, 0, bytes.length);
      const index = builder.endMessage();
      for (const log of logs) {
        builder.deliver(log, index, message.transient);
        appended.set(log, [...(appended.get(log) ?? []), message]);
      }
    }
    const models = new Map([...appended.keys()].map((log) => [log, this.#world.modelOf(log)]));
    const tickets = this.#world.commitsOf(() => builder.commit());
    this.#world.trace.note(`publish ${[...appended].map(([log, { length }]) => `${length} to ${log.id}`)}`);
    const reached: LogModel[] = [];
    for (const [log, messages] of appended) {
      const ticket = tickets.get(log.store.shard.index);
      if (ticket === undefined) continue;
      const logModel = models.get(log)!;
      logModel.append(messages, ticket);
      reached.push(logModel);
      if (this.#world.failure === undefined)
        assert.equal(log.endOffset, logModel.end, `the end of ${logModel.name} after a publish`);
    }
    if (this.#world.failure !== undefined) return;
    const ends = reached.map((log) => [log, log.end] as const);
    this.#world.whenTold(() => {
      this.confirmedCount++;
      for (const [log, end] of ends) log.noteToldEnd(end);
    });
  }

  #target(): { exchange: string; key: string } {
    const { dice, model } = this.#world;
    if (dice.chance(0.4)) return { exchange: '', key: dice.pick(model.destinations)?.name ?? 'nowhere' };
    return { exchange: dice.pick(Object.keys(exchangeTypes))!, key: dice.pick(routingKeys)! };
  }
}
