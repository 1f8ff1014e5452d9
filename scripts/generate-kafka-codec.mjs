// Writes src/protocols/kafka/generated/*.ts from the descriptions in src/protocols/kafka/schema.
// With --check it writes nothing and exits with 1 if a file differs.
import { existsSync, mkdirSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { register } from 'tsx/esm/api';

register();
const { loadSchema } = await import('../src/protocols/kafka/schema/load-schema.ts');
const { emitCodec } = await import('../src/protocols/kafka/schema/emit-codec.ts');

const folder = new URL('../src/protocols/kafka/generated/', import.meta.url);
const { apis, headers } = loadSchema();
/** @type {Map<string, string>} */
const files = emitCodec(apis, headers);
mkdirSync(folder, { recursive: true });
const stale = readdirSync(folder).filter((name) => name.endsWith('.ts') && !files.has(name));
const changed = [...files].filter(([name, text]) => {
  const path = new URL(name, folder);
  return !existsSync(path) || readFileSync(path, 'utf8') !== text;
});

if (process.argv.includes('--check')) {
  for (const name of [...stale, ...changed.map(([name]) => name)]) console.error(`differs: ${name}`);
  process.exitCode = stale.length + changed.length > 0 ? 1 : 0;
} else {
  for (const name of stale) unlinkSync(new URL(name, folder));
  for (const [name, text] of changed) writeFileSync(new URL(name, folder), text);
  console.log(`${files.size} files, ${changed.length} changed`);
}
