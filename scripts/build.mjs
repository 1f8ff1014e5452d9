// Builds what the npm package holds: dist/rosettamq.js (command line), dist/index.js (in-process API)
// and the type declarations.
import ts from 'typescript';
import { bundle } from './bundle.mjs';

const outdir = 'dist';

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

await bundle(outdir);
declarations();
