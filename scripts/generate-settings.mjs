// Writes the table of all settings into docs/configuration.md. Run with: npm run docs
import { readFileSync, writeFileSync } from 'node:fs';
import { tsImport } from 'tsx/esm/api';

const { settingsMarkdown } = await tsImport('../src/server/settings-table.ts', import.meta.url);
const path = 'docs/configuration.md';
const begin = '<!-- settings: begin -->';
const end = '<!-- settings: end -->';
const document = readFileSync(path, 'utf8');
const [before, rest] = document.split(begin);
const after = rest.split(end)[1];
writeFileSync(path, `${before}${begin}\n${settingsMarkdown()}\n${end}${after}`);
