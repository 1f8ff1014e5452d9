// Java class paths fetched with Maven, once, into the cache.
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDir } from './cache.ts';
import { runToEnd } from './process.ts';

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
const INSTALL_TIMEOUT_MS = 10 * 60_000;

const pom = (artifacts: readonly string[]): string => {
  const dependencies = artifacts.map((artifact) => {
    const [group, id, version] = artifact.split(':');
    return `<dependency><groupId>${group}</groupId><artifactId>${id}</artifactId><version>${version}</version></dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>bench</groupId><artifactId>bench</artifactId><version>1</version>
<dependencies>${dependencies.join('\n')}</dependencies></project>`;
};

/** The class path of the artifacts (`group:id:version`) and all they need. `name` names its folder in the cache. */
export const javaClassPath = async (name: string, artifacts: readonly string[]): Promise<string> => {
  const dir = join(cacheDir, 'java', name);
  const libs = join(dir, 'libs');
  if (!existsSync(libs)) {
    console.error(`Installing ${artifacts.join(', ')} ...`);
    const partial = join(dir, 'partial');
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    const pomFile = join(dir, 'pom.xml');
    writeFileSync(pomFile, pom(artifacts));
    const args = ['-q', '-B', '-f', pomFile, COPY_DEPENDENCIES, `-DoutputDirectory=${partial}`];
    await runToEnd({ command: 'mvn', args }, INSTALL_TIMEOUT_MS);
    renameSync(partial, libs);
  }
  return join(libs, '*');
};
