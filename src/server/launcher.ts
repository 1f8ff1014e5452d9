#!/usr/bin/env node
/**
 * dist/rosettamq.js: runs the program beside it, with the bytecode that the build has stored (scripts/code-cache.mjs). Otherwise a
 * third of the time to start a broker goes into compiling. Another version of Node than that of the build does not accept the bytecode
 * and compiles, as it does when the file is missing.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Script, type ScriptOptions } from 'node:vm';

const program = fileURLToPath(new URL('program.cjs', import.meta.url));

const readIfThere = (path: string): Buffer | undefined => {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
};

const options: ScriptOptions = { filename: program };
const cachedData = readIfThere(`${program}.cache`);
if (cachedData !== undefined) options.cachedData = cachedData;
// Nothing but ASCII is in it. Its value is a function: see scripts/bundle.mjs.
const script = new Script(readFileSync(program, 'latin1'), options);
script.runInThisContext()(createRequire(import.meta.url), import.meta.url);
