import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slice, Sweep, type Swept } from './sweep.ts';

const mib = 1024 * 1024;

interface Entity extends Swept {
  readonly key: number;
}

const sweepOf = (entities: Map<number, Entity>, keyBytes: number): Sweep<number, Entity> =>
  new Sweep({
    find: (key) => entities.get(key),
    all: () => entities.values(),
    capture: () => {},
    keyBytes: () => keyBytes,
  });

const create = (entities: Map<number, Entity>, sweep: Sweep<number, Entity>, key: number): void => {
  const entity = { key, changedIn: 0, savedIn: 0 };
  entities.set(key, entity);
  sweep.created(key, entity);
};

const sweptKeys = (sweep: Sweep<number, Entity>): number[] => {
  const keys: number[] = [];
  const slice = new Slice(1_000);
  for (let entity = sweep.next(slice); entity !== undefined; entity = sweep.next(slice)) keys.push(entity.key);
  sweep.end();
  return keys;
};

test('what came and went between two checkpoints is forgotten beyond a bound, and the next one has everything', () => {
  const entities = new Map<number, Entity>();
  const sweep = sweepOf(entities, mib);
  create(entities, sweep, 1);
  sweep.begin(true);
  assert.deepEqual(sweptKeys(sweep), [1]);

  create(entities, sweep, 2);
  assert.equal(sweep.needsBase, false);
  for (const key of [3, 4]) {
    create(entities, sweep, key);
    entities.delete(key);
  }
  assert.equal(sweep.needsBase, true);
  sweep.begin(true);
  assert.deepEqual(sweptKeys(sweep), [1, 2]);

  assert.equal(sweep.needsBase, false);
  sweep.changing(2, entities.get(2)!);
  sweep.begin(false);
  assert.deepEqual(sweptKeys(sweep), [2]);
});
