/** All descriptions of this folder as one model, apis in the order of their keys. For the generator and the tests. */
import { readdirSync, readFileSync } from 'node:fs';
import { parseSchema, type Schema } from './parse-schema.ts';

export const loadSchema = (): Schema => {
  const folder = new URL('.', import.meta.url);
  const schema: Schema = { apis: [], headers: [] };
  for (const name of readdirSync(folder).sort()) {
    if (!name.endsWith('.schema')) continue;
    const part = parseSchema(readFileSync(new URL(name, folder), 'utf8'));
    schema.apis.push(...part.apis);
    schema.headers.push(...part.headers);
  }
  schema.apis.sort((a, b) => a.key - b.key);
  return schema;
};
