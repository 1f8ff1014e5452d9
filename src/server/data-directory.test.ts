// What rosettamq.json says is what was written, or damage.
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { checkDataDirectory, descriptionName } from './data-directory.ts';
import { dumpDirectory } from './inspect/dump.ts';

let path = '';
let file = '';

before(async () => {
  path = await mkdtemp(join(tmpdir(), 'rosettamq-directory-'));
  file = join(path, descriptionName);
  await checkDataDirectory(path, 1);
  await mkdir(join(path, 'shard-0'));
});

after(() => rm(path, { recursive: true }));

const dumpsDamage = async (): Promise<boolean> => {
  let isDamaged = false;
  for await (const { kind, file: name } of dumpDirectory({ path, records: false })) {
    isDamaged ||= kind === 'damage' && name === descriptionName;
  }
  return isDamaged;
};

test('every bit that flips is damage, at start and in a dump', async () => {
  const whole = await readFile(file);
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const bytes = Buffer.from(whole);
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
    await writeFile(file, bytes);
    const what = JSON.stringify(bytes.toString('latin1'));
    const message = new RegExp(`${descriptionName} is damaged`);
    await assert.rejects(checkDataDirectory(path, 1), { kind: 'corrupt', message }, what);
    assert.ok(await dumpsDamage(), what);
  }
  await writeFile(file, whole);
  await checkDataDirectory(path, 1);
  assert.ok(!(await dumpsDamage()));
});

test('another number of shards and another format are no damage; a checksum may be missing', async () => {
  await assert.rejects(checkDataDirectory(path, 2), /was made with shards=1, which cannot be changed to 2/);
  await writeFile(file, '{"format":1,"shards":1}\n');
  await checkDataDirectory(path, 1);
  await writeFile(file, '{"format":7,"shards":1}\n');
  await assert.rejects(checkDataDirectory(path, 1), /has format 7; this version reads 1/);
});
