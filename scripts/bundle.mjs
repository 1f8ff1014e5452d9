// The command line (rosettamq.js) and the in-process API (index.js) as JavaScript. Code is split, so that a command loads what
// it needs and nothing else.
import { chmod, rm } from 'node:fs/promises';
import { build } from 'esbuild';

/** Native packages find their binaries beside themselves. */
const external = ['@node-rs/crc32', 'snappy', 'lz4-napi'];

/** CommonJS packages in an ESM bundle ask for `require`. */
const banner =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

/** @param {string} outdir replaced by what is made @returns {Promise<string>} path of the command line */
export const bundle = async (outdir) => {
  await rm(outdir, { recursive: true, force: true });
  await build({
    entryPoints: {
      rosettamq: 'src/server/main.ts',
      index: 'src/server/broker-process.ts',
    },
    outdir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external,
    banner: { js: banner },
    legalComments: 'linked',
    logLevel: 'warning',
  });
  const program = `${outdir}/rosettamq.js`;
  await chmod(program, 0o755);
  return program;
};
