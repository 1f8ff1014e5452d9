// One run of the simulation: random work with random faults on a whole broker, as the seed has it, and at the end a time of peace
// in which everything must come out and be given back.
import assert from 'node:assert/strict';
import { Dice } from '../model/dice.ts';
import { Administrator } from './administrator.ts';
import { Consumers } from './consumers.ts';
import { Ending } from './ending.ts';
import { GroupMembers } from './group-members.ts';
import { IdempotentProducer } from './idempotent-producer.ts';
import { Publisher } from './publisher.ts';
import { Readers } from './readers.ts';
import { checkRecovery } from './recovery-check.ts';
import { World } from './world.ts';

const actionCount = 120;
/** Ends of storage operations between two actions. */
const stepsBetweenMax = 6;
const timePassesMaxMs = 60;
/** Until the disk is full. */
const freeFilesMax = 3;

const actions = {
  publish: 24,
  produce: 14,
  resend: 2,
  attach: 5,
  credit: 10,
  ack: 14,
  flush: 2,
  requeue: 5,
  vanish: 3,
  read: 8,
  group: 10,
  bind: 2,
  change: 2,
  purge: 1,
  deleteRecords: 2,
  wait: 12,
  rush: 3,
} as const;

const troubles = {
  crash: 8,
  killProcess: 4,
  crashWhileOpening: 3,
  error: 8,
  fullDisk: 3,
  roomAgain: 5,
  restart: 3,
} as const;
const troubleShare = 0.04;

/** How much of what the simulation is for has happened. */
export interface Tally {
  deliveries: number;
  confirms: number;
  reads: number;
  joins: number;
  folds: number;
  timesFull: number;
  crashes: number;
  failures: number;
}

export class Simulation {
  readonly #dice: Dice;
  readonly #world: World;
  readonly #publisher: Publisher;
  readonly #producers: readonly IdempotentProducer[];
  readonly #consumers: Consumers;
  readonly #readers: Readers;
  readonly #members: GroupMembers;
  readonly #administrator: Administrator;
  readonly tally: Tally = {
    deliveries: 0,
    confirms: 0,
    reads: 0,
    joins: 0,
    folds: 0,
    timesFull: 0,
    crashes: 0,
    failures: 0,
  };

  constructor(seed: number) {
    this.#dice = new Dice(seed);
    this.#world = new World(this.#dice);
    this.#publisher = new Publisher(this.#world);
    this.#producers = ['p1', 'p2'].map((name) => new IdempotentProducer(this.#world, name));
    this.#consumers = new Consumers(this.#world);
    this.#readers = new Readers(this.#world);
    this.#members = new GroupMembers(this.#world);
    this.#administrator = new Administrator(this.#world);
  }

  get trace(): World['trace'] {
    return this.#world.trace;
  }

  async run(): Promise<void> {
    const world = this.#world;
    await world.until(world.open(), 'the first start');
    this.#administrator.createAll();
    await world.until(world.broker.gate.durableNow(), 'the first commits');
    world.model.clusterId = world.broker.clusterId;
    for (let count = 0; count < actionCount; count++) {
      if (this.#dice.chance(troubleShare)) await this.#trouble();
      else await this.#act();
      for (let steps = this.#dice.below(stepsBetweenMax); steps > 0; steps--) await world.step();
      if (world.failure !== undefined) await this.#reopenAfterFailure();
    }
    await this.#end();
  }

  async #act(): Promise<void> {
    const world = this.#world;
    const action = this.#dice.weighted(actions);
    switch (action) {
      case 'publish':
        this.#publisher.publish();
        return;
      case 'produce':
        this.#dice.pick(this.#producers)!.produce();
        return;
      case 'resend':
        this.#dice.pick(this.#producers)!.resend();
        return;
      case 'attach':
        this.#consumers.attach();
        return;
      case 'credit':
        this.#consumers.giveCredit();
        return;
      case 'ack':
        this.#consumers.ack();
        return;
      case 'flush':
        this.#consumers.flush();
        return;
      case 'requeue':
        this.#consumers.requeue();
        return;
      case 'vanish':
        this.#consumers.vanish();
        return;
      case 'read':
        this.#readers.read();
        return;
      case 'group':
        this.#members.act();
        return;
      case 'bind':
        this.#administrator.bind();
        return;
      case 'change':
        this.#administrator.change();
        return;
      case 'purge':
        this.#administrator.purge();
        return;
      case 'deleteRecords':
        this.#administrator.deleteRecords();
        return;
      case 'wait':
        world.clock.advance(this.#dice.below(timePassesMaxMs));
        return;
      case 'rush':
        for (let steps = this.#dice.below(100); steps > 0; steps--) await world.step();
        return;
    }
  }

  async #trouble(): Promise<void> {
    const { disk, trace, walFileBytes } = this.#world;
    const trouble = this.#dice.weighted(troubles);
    trace.note(trouble);
    switch (trouble) {
      case 'crash':
        await this.#crash('machine', false);
        return;
      case 'killProcess':
        await this.#crash('process', false);
        return;
      case 'crashWhileOpening':
        await this.#crash('machine', true);
        return;
      case 'error':
        disk.injectError();
        return;
      case 'fullDisk':
        disk.limitFreeBytes(this.#dice.below(freeFilesMax * walFileBytes));
        return;
      case 'roomAgain':
        disk.heal();
        return;
      case 'restart':
        await this.#restart();
        return;
    }
  }

  async #crash(kind: 'machine' | 'process', alsoWhileOpening: boolean): Promise<void> {
    const world = this.#world;
    const left = this.#leave();
    this.tally.crashes++;
    world.disk.crash(world.durability === 'os' ? 'process' : kind);
    world.disk.heal();
    if (alsoWhileOpening) {
      for (let times = this.#dice.between(1, 3); times > 0; times--) {
        void world.open().catch(() => {});
        for (let steps = this.#dice.below(60); steps > 0; steps--) await world.step();
        world.disk.crash(world.durability === 'sync' && this.#dice.chance(0.7) ? 'machine' : 'process');
      }
    }
    await this.#comeBack(left);
  }

  /** What the next process is measured by. */
  #leave(): { durableTicket: number; commits: World['commits'] } {
    const { broker, commits } = this.#world;
    this.#world.groups.close();
    return { durableTicket: broker.gate.durable, commits };
  }

  async #comeBack(left: { durableTicket: number; commits: World['commits'] }): Promise<void> {
    const world = this.#world;
    await world.until(world.open(), 'opening');
    this.#consumers.restarted();
    this.#readers.restarted();
    this.#members.restarted();
    for (const producer of this.#producers) producer.restarted();
    await checkRecovery(world, left);
  }

  /** The owner of a broker whose storage has failed closes it and opens another one, until it succeeds. */
  async #reopenAfterFailure(): Promise<void> {
    const world = this.#world;
    this.tally.failures++;
    world.trace.note(`failed: ${world.failure!.message}`);
    const left = this.#leave();
    await this.#close('closing after a failure');
    if (this.#dice.chance(0.5)) await this.#failToOpen();
    world.disk.heal();
    await this.#comeBack(left);
  }

  async #failToOpen(): Promise<void> {
    const world = this.#world;
    const opening = world.open();
    world.disk.injectError();
    try {
      await world.until(opening, 'opening with an error');
      world.groups.close();
      await this.#close('closing again');
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_ASSERTION') throw error;
      world.trace.note(`cannot open: ${(error as Error).message}`);
      assert.ok(world.disk.isIdle, 'a broker that cannot be opened leaves nothing at work');
    }
  }

  async #close(what: string): Promise<void> {
    const world = this.#world;
    await world.until(world.broker.close(), what);
    assert.ok(world.disk.isIdle, 'a closed broker leaves nothing at work');
  }

  /** In order: all that was asked for is there afterwards. False if the storage fails before. */
  async #restart(): Promise<boolean> {
    const world = this.#world;
    world.disk.heal();
    this.#consumers.flush();
    // What fails by now has failed before the close.
    const { commits, broker } = world;
    const isWritten = (): boolean => broker.gate.durable === broker.gate.current;
    await world.untilTrue(() => isWritten() || world.failure !== undefined, 'the end of all writes');
    if (world.failure !== undefined) return false;
    world.groups.close();
    await this.#close('closing');
    const { gate } = world.broker;
    assert.equal(gate.durable, gate.current, 'all is durable after a close');
    await this.#comeBack({ durableTicket: gate.durable, commits });
    return true;
  }

  /** Without faults, everything comes out before long, and what is deleted is given back. */
  async #end(): Promise<void> {
    const world = this.#world;
    world.disk.heal();
    world.trace.note('peace');
    // Files that could not be removed stay until the next process.
    const isRestarted = this.#dice.chance(0.5) && (await this.#restart());
    if (!isRestarted) await this.#crash('machine', false);
    await new Ending(world, {
      administrator: this.#administrator,
      consumers: this.#consumers,
      producers: this.#producers,
      readers: this.#readers,
      members: this.#members,
    }).run();
    await this.#close('the last close');
    this.tally.deliveries = this.#consumers.deliveredCount;
    this.tally.confirms = this.#publisher.confirmedCount;
    this.tally.reads = this.#readers.readCount;
    this.tally.joins = this.#members.stableCount;
    this.tally.folds = world.foldCount;
    this.tally.timesFull = world.fullCount;
  }
}
