/** Values of topic configs: what Apache Kafka accepts, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkTopicConfig } from './topic-config.ts';

test('whole numbers are of their type, whatever the number of digits', () => {
  const accepted: readonly [string, string][] = [
    ['segment.ms', '9223372036854775807'],
    ['segment.ms', '+00000000000000000000001'],
    ['retention.bytes', '-9223372036854775808'],
    ['max.message.bytes', '2147483647'],
  ];
  for (const [name, value] of accepted) assert.equal(checkTopicConfig(name, value), undefined, value);
  const refused: readonly [string, string][] = [
    ['segment.ms', '9223372036854775808'],
    ['retention.bytes', '-9223372036854775809'],
    ['segment.ms', '99999999999999999999'],
    ['segment.ms', '1e3'],
    ['segment.ms', ''],
    ['segment.ms', '0x10'],
    ['max.message.bytes', '2147483648'],
  ];
  for (const [name, value] of refused) assert.match(checkTopicConfig(name, value) ?? '', /Not a number of type/, value);
});

test('fractions may have an exponent', () => {
  const check = (value: string): string | undefined => checkTopicConfig('min.cleanable.dirty.ratio', value);
  for (const value of ['1e-1', '0.5', '.5', '1.', '5E-1d', '0.25f', '+0']) assert.equal(check(value), undefined, value);
  for (const value of ['e1', '1e', '0x1p-1', 'half', ''])
    assert.match(check(value) ?? '', /Not a number of type DOUBLE/, value);
  assert.match(check('1e1') ?? '', /no more than 1/);
  assert.match(check('-1e-1') ?? '', /at least 0/);
});
