/** The walls of the map in ARCHITECTURE.md. Each rule says what to do when it is hit. */
const layers = ['core', 'wire', 'storage', 'shard', 'log', 'broker', 'protocols', 'server'];

/** What each folder may import from `src`, besides itself. */
const mayImport = {
  core: [],
  wire: ['core'],
  storage: ['core'],
  shard: ['core', 'wire', 'storage'],
  log: ['core', 'wire', 'shard'],
  broker: ['core', 'wire', 'log', 'shard', 'storage'],
  protocols: ['core', 'wire', 'broker', 'log', 'shard'],
  server: ['core', 'wire', 'storage', 'shard', 'log', 'broker', 'protocols'],
};

/** Tests and what only tests use may reach anywhere. */
const testCode = '\\.test\\.ts$|/(test|fake|in-process)-[^/]*\\.ts$';

const comments = {
  core: 'core imports nothing: move what you need into it, or pass it in.',
  wire: 'wire is pure framing and checksums: what you import knows too much.',
  storage: 'storage is the port to files: it knows no log and no record.',
  shard: 'the shard orders and stores commits: it knows neither messages nor topics.',
  log: 'the log knows offsets, not names: what you need belongs into the broker.',
  broker: 'the broker knows no protocol: let the head register what it needs (MessageForm, Sink, StateOwner).',
  protocols: 'heads enter and leave by the broker: storage and server are none of their business.',
  server: 'server wires everything together.',
};

module.exports = {
  forbidden: [
    ...layers.map((layer) => ({
      name: `walls-of-${layer}`,
      comment: comments[layer],
      severity: 'error',
      from: { path: `^src/${layer}/`, pathNot: testCode },
      to: { path: '^src/', pathNot: [layer, ...mayImport[layer]].map((other) => `^src/${other}/`) },
    })),
    {
      name: 'heads-are-strangers',
      comment: 'One protocol head must not know another: cross over through the neutral Message of the broker.',
      severity: 'error',
      from: { path: '^src/protocols/([^/]+)/', pathNot: '\\.test\\.ts$' },
      to: { path: '^src/protocols/([^/]+)/', pathNot: '^src/protocols/$1/' },
    },
    {
      name: 'only-storage-touches-files',
      comment: 'Files are reached through the Storage port only (server: configuration and the lock).',
      severity: 'error',
      from: { path: '^src/(core|wire|shard|log|broker|protocols)/', pathNot: '\\.test\\.ts$|/schema/' },
      to: { path: '^(node:)?fs(/promises)?$' },
    },
    {
      name: 'no-circles-between-files',
      comment: 'Types may refer to one another; values must flow one way.',
      severity: 'error',
      from: { path: '^src/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-test-code-in-the-product',
      comment: 'Sources do not import tests.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$|-contract\\.ts$' },
      to: { path: '\\.test\\.ts$|-contract\\.ts$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: 'specify',
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types'] },
  },
};
