// docs/configuration.md holds the table of all settings as the schema has it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { settingsMarkdown } from '../../src/server/settings-table.ts';
import { version } from '../../src/server/version.ts';

const root = join(import.meta.dirname, '../..');

test('the documented settings are those of the schema (npm run docs writes them)', () => {
  const document = readFileSync(join(root, 'docs/configuration.md'), 'utf8');
  assert.ok(document.includes(settingsMarkdown()), 'docs/configuration.md is behind the schema: npm run docs');
});

test('the version is that of package.json', () => {
  const { version: packaged } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  assert.equal(version, packaged);
});
