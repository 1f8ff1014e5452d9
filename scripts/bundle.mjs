// The command line (rosettamq.js, which runs program.cjs) and the in-process API (index.js) as JavaScript.
import { execFile } from 'node:child_process';
import { chmod, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const run = promisify(execFile);
const codeCache = fileURLToPath(new URL('code-cache.mjs', import.meta.url));

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  /** Native packages find their binaries beside themselves. */
  external: ['@node-rs/crc32', 'snappy', 'lz4-napi'],
  legalComments: 'linked',
  logLevel: 'warning',
};

/** CommonJS packages in an ESM bundle ask for `require`. */
const requireBanner =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

/** @param {string} outdir replaced by what is made @returns {Promise<string>} path of the command line */
export const bundle = async (outdir) => {
  await rm(outdir, { recursive: true, force: true });
  const program = `${outdir}/program.cjs`;
  const launcher = `${outdir}/rosettamq.js`;
  await Promise.all([
    // Code is split, so that only what is needed is loaded.
    build({
      ...common,
      entryPoints: { index: 'src/server/broker-process.ts' },
      outdir,
      splitting: true,
      format: 'esm',
      banner: { js: requireBanner },
    }),
    build({ ...common, entryPoints: ['src/server/launcher.ts'], outfile: launcher, format: 'esm' }),
    // A function that the launcher calls.
    build({
      ...common,
      entryPoints: ['src/server/main.ts'],
      outfile: program,
      format: 'cjs',
      define: { 'import.meta.url': 'moduleUrl' },
      banner: { js: '(function (require, moduleUrl) {' },
      footer: { js: '})' },
    }),
  ]);
  await Promise.all([chmod(launcher, 0o755), run(process.execPath, [codeCache, program])]);
  return launcher;
};
