import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../core/clock.ts';
import { Deadline } from './deadline.ts';
import { FakeClock } from './fake-clock.ts';

test('a deadline that is moved back again and again needs one timer a period, not one a move', () => {
  const clock = new FakeClock();
  let timers = 0;
  const counting: Clock = {
    now: () => clock.now(),
    after: (delayMs, callback) => {
      timers++;
      return clock.after(delayMs, callback);
    },
  };
  let reached = 0;
  const deadline = new Deadline(counting, () => reached++);
  for (let i = 0; i < 1000; i++) {
    deadline.set(1000);
    clock.advance(10);
  }
  assert.equal(reached, 0);
  assert.ok(timers <= 12, `${timers} timers`);
  clock.advance(989);
  assert.equal(reached, 0);
  clock.advance(1);
  assert.equal(reached, 1);
});

test('a nearer deadline holds at once, a cancelled one never', () => {
  const clock = new FakeClock();
  let reached = 0;
  const deadline = new Deadline(clock, () => reached++);
  deadline.set(60_000);
  deadline.set(1000);
  clock.advance(1000);
  assert.equal(reached, 1);
  deadline.set(1000);
  deadline.cancel();
  clock.advance(5000);
  assert.equal(reached, 1);
});

test('when the process stood still, the period begins anew', () => {
  let nowMs = 0;
  let fire = (): void => {};
  const clock: Clock = {
    now: () => nowMs,
    after: (_delayMs, callback) => {
      fire = callback;
      return { cancel: () => {} };
    },
  };
  let reached = 0;
  new Deadline(clock, () => reached++).set(10_000);
  nowMs = 45_000;
  fire();
  assert.equal(reached, 0);
  nowMs = 55_000;
  fire();
  assert.equal(reached, 1);
});
