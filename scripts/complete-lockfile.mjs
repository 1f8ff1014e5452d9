// Adds to package-lock.json the packages of other platforms that npm left out.
//
// npm writes a lockfile from what the registry it asked answers for. A mirror that lacks some platform's package
// (`@biomejs/cli-android-arm64`, say) makes npm drop it silently, and `npm ci` then refuses the lockfile as out of
// step. An entry with version, os and cpu is all that `npm ci` needs to skip a package that is for another platform;
// on that platform npm fetches it, without a hash to check, as it would after `npm install`.
//
// Run after every change of the dependencies: npm install && node scripts/complete-lockfile.mjs

import { readFileSync, writeFileSync } from 'node:fs';

const systems = ['android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32', 'aix'];
const processors = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64', 'wasm32'];

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const missing = Object.values(lock.packages).flatMap((parent) =>
  Object.entries(parent.optionalDependencies ?? {})
    .filter(([name]) => lock.packages[`node_modules/${name}`] === undefined)
    .map(([name, version]) => [`node_modules/${name}`, entry(parent, name, version)]),
);
lock.packages = Object.fromEntries(
  [...Object.entries(lock.packages), ...missing].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
);
writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`);
for (const [path] of missing) console.log(`added ${path}`);

function entry(parent, name, version) {
  const words = name.split(/[/-]/);
  const os = systems.find((system) => words.includes(system));
  const cpu = processors.find((processor) => words.some((word) => word === processor || word === `${processor}le`));
  if (cpu === undefined && os === undefined) throw new Error(`for which platform is ${name}?`);
  return {
    version,
    ...(cpu !== undefined && { cpu: [cpu] }),
    ...(parent.dev && { dev: true }),
    ...(words.includes('musl') && { libc: ['musl'] }),
    optional: true,
    ...(os !== undefined && { os: [os] }),
  };
}
