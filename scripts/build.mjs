// Builds what the npm package holds: dist/rosettamq.js (command line), dist/index.js (in-process API)
// and the type declarations. Code is split, so that a command loads what it needs and nothing else.
import { chmod, rm } from 'node:fs/promises';
import { build } from 'esbuild';
import ts from 'typescript';

const outdir = 'dist';

/** Native packages find their binaries beside themselves. */
const external = ['@node-rs/crc32', 'snappy', 'lz4-napi'];

/** CommonJS packages in an ESM bundle ask for `require`. */
const banner =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

const bundle = () =>
  build({
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

const declarations = () => {
  const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, '.');
  const program = ts.createProgram(['src/server/broker-process.ts'], {
    ...options,
    noEmit: false,
    emitDeclarationOnly: true,
    noCheck: true,
    outDir: `${outdir}/types`,
    rootDir: 'src',
  });
  const { diagnostics } = program.emit();
  if (diagnostics.length === 0) return;
  throw new Error(
    ts.formatDiagnostics(diagnostics, {
      getCanonicalFileName: (name) => name,
      getCurrentDirectory: () => '.',
      getNewLine: () => '\n',
    }),
  );
};

await rm(outdir, { recursive: true, force: true });
const bundled = bundle();
declarations();
await bundled;
await chmod(`${outdir}/rosettamq.js`, 0o755);
