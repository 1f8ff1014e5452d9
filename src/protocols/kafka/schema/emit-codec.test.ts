/** The committed code is what the generator makes of the descriptions. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { it } from 'node:test';
import { emitCodec } from './emit-codec.ts';
import { loadSchema } from './load-schema.ts';
import { parseSchema } from './parse-schema.ts';

it('generated code is up to date', () => {
  const folder = new URL('../generated/', import.meta.url);
  const { apis, headers } = loadSchema();
  const files = emitCodec(apis, headers);
  for (const [name, text] of files) assert.equal(readFileSync(new URL(name, folder), 'utf8'), text, name);
  const committed = readdirSync(folder).filter((name) => name.endsWith('.ts'));
  assert.deepEqual(committed.sort(), [...files.keys()].sort());
});

it('names the line of a mistake in a description', () => {
  const head = 'api X key 1 versions 0-1 flexible none\nrequest\n';
  assert.throws(() => parseSchema(`${head}  a int32 nulable\nresponse\n`), /line 3 .*unexpected nulable/);
  assert.throws(() => parseSchema(`${head}  a []Unknown\nresponse\n`), /line 3 .*unknown type/);
});
