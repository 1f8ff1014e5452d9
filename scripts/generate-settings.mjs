// Writes the tables that follow from the code into the documents: all settings, and the topic configs. Run with: npm run docs
import { readFileSync, writeFileSync } from 'node:fs';
import { tsImport } from 'tsx/esm/api';

const { settingsMarkdown, topicConfigsMarkdown } = await tsImport('../src/server/settings-table.ts', import.meta.url);

/** Between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. */
const write = (path, name, table) => {
  const document = readFileSync(path, 'utf8');
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const [before, rest] = document.split(begin);
  if (rest === undefined || !rest.includes(end)) throw new Error(`${path}: no place for ${name}`);
  writeFileSync(path, `${before}${begin}\n\n${table}\n\n${end}${rest.split(end)[1]}`);
};

write('docs/configuration.md', 'settings', settingsMarkdown());
for (const list of ['effective', 'stored', 'refused']) {
  write('docs/kafka.md', `${list} topic configs`, topicConfigsMarkdown(list));
}
