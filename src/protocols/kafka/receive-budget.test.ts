/** Memory for unfinished requests: who waits, who goes on, and that one always does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../broker/groups/fake-clock.ts';
import { kafkaLimits } from './kafka-limits.ts';
import { ReceiveBudget, type Receiver, type ReceiveShare } from './receive-budget.ts';

class Connection implements Receiver {
  readonly share: ReceiveShare;
  readonly #requestBytes: number;
  isReading = true;
  isClosed = false;
  #received = 0;

  constructor(budget: ReceiveBudget, requestBytes: number) {
    this.share = budget.join(this);
    this.#requestBytes = requestBytes;
  }

  receive(bytes: number): void {
    assert.ok(this.isReading);
    this.#received += bytes;
    const isWhole = this.#received === this.#requestBytes;
    if (isWhole) this.#received = 0;
    this.share.note(this.#received, this.#received === 0 ? 0 : this.#requestBytes, isWhole);
  }

  holdBack(): void {
    this.isReading = false;
  }

  goOn(): void {
    this.isReading = true;
  }

  closeStalled(): void {
    this.isReading = false;
    this.isClosed = true;
    this.share.leave();
  }
}

const stand = () => {
  const clock = new FakeClock();
  const budget = new ReceiveBudget(clock, { bytesMax: 1000, smallRequestBytes: 100, smallRequestsBytesMax: 2000 });
  const connect = (requestBytes: number): Connection => new Connection(budget, requestBytes);
  return { clock, budget, connect };
};

const reading = (connections: readonly Connection[]): boolean[] => connections.map(({ isReading }) => isReading);

test('above the limit large requests are read one after the other, small ones as they come', () => {
  const { budget, connect } = stand();
  const large = [connect(900), connect(900), connect(900)];
  for (const each of large) each.receive(500);
  // The third has the turn.
  assert.deepEqual(reading(large), [true, true, true]);
  large[1]!.receive(10);
  large[0]!.receive(10);
  assert.deepEqual(reading(large), [false, false, true]);
  const small = connect(90);
  small.receive(80);
  small.receive(10);
  assert.deepEqual(reading([small]), [true]);
  large[2]!.receive(400);
  assert.equal(budget.bytes, 1020);
  assert.deepEqual(reading(large), [false, true, true]);
  large[1]!.receive(390);
  assert.equal(budget.bytes, 510);
  assert.deepEqual(reading(large), [true, true, true]);
});

test('small requests wait when they are the most, and come to an end in turns', () => {
  const { budget, connect } = stand();
  const small = Array.from({ length: 30 }, () => connect(90));
  for (const each of small) each.receive(80);
  assert.equal(budget.bytes, 2400);
  for (let round = 0; budget.bytes > 0; round++) {
    assert.ok(round < small.length);
    small.find(({ isReading, share }) => isReading && share.bytes > 0)!.receive(10);
  }
  assert.ok(small.every(({ isReading }) => isReading));
});

test('who has the turn and goes gives it to the next', () => {
  const { connect } = stand();
  const large = [connect(5000), connect(5000), connect(5000)];
  for (const each of large) each.receive(1001);
  assert.deepEqual(reading(large), [true, false, false]);
  large[0]!.closeStalled();
  assert.deepEqual(reading(large), [false, true, false]);
});

test('while others wait, who holds memory and sends nothing or too little is closed', () => {
  const { clock, budget, connect } = stand();
  const huge = 2 * kafkaLimits.stalledBytesMin;
  const silent = connect(2 * huge);
  const trickling = connect(2 * huge);
  const waiting = connect(2 * huge);
  silent.isReading = true;
  silent.receive(900);
  clock.advance(2 * kafkaLimits.stalledRequestMs);
  assert.ok(!silent.isClosed, 'nobody waits');
  trickling.receive(huge);
  waiting.receive(huge);
  assert.deepEqual(reading([trickling, waiting]), [true, false]);
  for (let ms = 0; ms < 3 * kafkaLimits.stalledRequestMs && !trickling.isClosed; ms += kafkaLimits.stallCheckMs) {
    trickling.receive(1);
    clock.advance(kafkaLimits.stallCheckMs);
  }
  assert.ok(trickling.isClosed && waiting.isReading);
  assert.ok(!silent.isClosed, 'it holds too little');
  const next = connect(2 * huge);
  next.receive(10);
  assert.ok(!next.isReading);
  for (let ms = 0; ms < 2 * kafkaLimits.stalledRequestMs; ms += kafkaLimits.stallCheckMs) {
    clock.advance(kafkaLimits.stallCheckMs);
  }
  assert.ok(waiting.isClosed && next.isReading);
  assert.equal(budget.bytes, 910);
});
