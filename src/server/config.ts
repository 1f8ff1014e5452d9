/**
 * Where the values come from: flags of `serve`, then --set, then the environment, then the config file, then the default;
 * the first that names a setting decides. A name that does not exist is refused, whatever the source.
 */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { settingByName, settingNames, settings } from './config-schema.ts';
import { nearestInFamily, nearestName } from './nearest-name.ts';
import { ConfigError, environmentName, parseSetting, type Setting, type SettingValue } from './setting.ts';

export { ConfigError } from './setting.ts';

/** The values of all settings. */
export class Config {
  readonly #values: ReadonlyMap<string, SettingValue>;
  /** Set by the user, not by default. */
  readonly #given: ReadonlySet<string>;

  constructor(values: ReadonlyMap<string, SettingValue>, given: ReadonlySet<string>) {
    this.#values = values;
    this.#given = given;
  }

  /** Whether the user set it. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  get(name: string): SettingValue {
    const value = this.#values.get(name);
    if (value === undefined) throw new Error(`there is no setting ${name}`);
    return value;
  }

  text(name: string): string {
    return this.get(name) as string;
  }

  integer(name: string): number {
    return this.get(name) as number;
  }

  boolean(name: string): boolean {
    return this.get(name) as boolean;
  }

  list(name: string): readonly string[] {
    return this.get(name) as readonly string[];
  }

  /** All settings whose names begin with `prefix`, without it. */
  withPrefix(prefix: string): Record<string, SettingValue> {
    const found: Record<string, SettingValue> = {};
    for (const [name, value] of this.#values) {
      if (name.startsWith(prefix)) found[name.slice(prefix.length)] = value;
    }
    return found;
  }
}

export interface ConfigSources {
  /** By name of the setting: a text, or several of a list. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** By name of the setting, from a program. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** `name=value`, later ones win. */
  readonly assignments?: readonly string[];
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Path of a .json file, or of a properties file under any other name. */
  readonly file?: string | undefined;
  /** Told about what is suspicious but no error. */
  readonly warn?: (message: string) => void;
}

const environmentPrefix = 'ROSETTAMQ_';
/** Variables that are no settings; what tests, benches and the command line itself read. */
const otherVariables = /^ROSETTAMQ_(CONFIG$|TEST_|BENCH_)/;

/** @throws ConfigError */
export const resolveConfig = (sources: ConfigSources): Config => {
  const given = new Map<string, SettingValue>();
  const file = sources.file ?? sources.environment?.ROSETTAMQ_CONFIG;
  if (file !== undefined) {
    for (const { name, raw, source } of readConfigFile(file)) {
      given.set(name, parseSetting(requireSetting(name, source), raw, source));
    }
  }
  for (const setting of settings) {
    const raw = sources.environment?.[environmentName(setting.name)];
    if (raw === undefined) continue;
    given.set(setting.name, parseSetting(setting, raw, `environment variable ${environmentName(setting.name)}`));
  }
  for (const assignment of sources.assignments ?? []) {
    const { name, value } = splitAssignment(assignment);
    given.set(name, parseSetting(requireSetting(name, '--set'), value, '--set'));
  }
  for (const [name, raw] of Object.entries(sources.flags ?? {})) {
    const setting = requireSetting(name, 'flag');
    given.set(name, parseSetting(setting, raw, setting.flag === undefined ? 'option' : `--${setting.flag.name}`));
  }
  for (const [name, raw] of Object.entries(sources.options ?? {})) {
    given.set(name, parseSetting(requireSetting(name, 'settings'), raw, 'settings'));
  }
  warnOfUnknownVariables(sources);
  const values = new Map(settings.map(({ name, default: value }) => [name, given.get(name) ?? value]));
  return new Config(values, new Set(given.keys()));
};

const requireSetting = (name: string, source: string): Setting => {
  const setting = settingByName(name);
  if (setting !== undefined) return setting;
  const nearest = nearestName(name, settingNames);
  const hint = nearest === undefined ? hintFromFamily(name) : `did you mean '${nearest}'?`;
  throw new ConfigError(`${source}: unknown setting '${name}'; ${hint}`);
};

const hintFromFamily = (name: string): string => {
  const nearest = nearestInFamily(name, settingNames);
  const list = "'rosettamq settings' lists all";
  return nearest === undefined ? list : `the nearest is '${nearest}', ${list}`;
};

const splitAssignment = (assignment: string): { name: string; value: string } => {
  const at = assignment.indexOf('=');
  if (at <= 0) throw new ConfigError(`--set: expected NAME=VALUE, not '${assignment}'`);
  return { name: assignment.slice(0, at).trim(), value: assignment.slice(at + 1).trim() };
};

/** Not refused: orchestrators inject variables such as ROSETTAMQ_SERVICE_HOST for a service of this name. */
const warnOfUnknownVariables = ({ environment = {}, warn }: ConfigSources): void => {
  if (warn === undefined) return;
  const valid = settingNames.map(environmentName);
  for (const name of Object.keys(environment)) {
    if (!name.startsWith(environmentPrefix) || otherVariables.test(name) || valid.includes(name)) continue;
    const nearest = nearestName(name, valid);
    warn(`environment variable ${name} is no setting${nearest === undefined ? '' : `; did you mean ${nearest}?`}`);
  }
};

interface FileEntry {
  readonly name: string;
  readonly raw: unknown;
  readonly source: string;
}

const readConfigFile = (path: string): FileEntry[] => {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`config file ${path}: ${(error as Error).message}`);
  }
  return extname(path).toLowerCase() === '.json' ? parseJson(text, path) : parseProperties(text, path);
};

/** Nested objects are the same as dotted names: {"kafka": {"num.partitions": 4}}. */
const parseJson = (text: string, path: string): FileEntry[] => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`config file ${path}: ${(error as Error).message}`);
  }
  const entries: FileEntry[] = [];
  const add = (value: unknown, name: string): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      if (name === '') throw new ConfigError(`config file ${path}: expected an object`);
      entries.push({ name, raw: value, source: `config file ${path}` });
      return;
    }
    for (const [key, inner] of Object.entries(value)) add(inner, name === '' ? key : `${name}.${key}`);
  };
  add(parsed, '');
  return entries;
};

/** Lines of `name=value`; empty ones and those that begin with # or ! are comments. */
const parseProperties = (text: string, path: string): FileEntry[] => {
  const entries: FileEntry[] = [];
  text.split(/\r?\n/).forEach((line, index) => {
    if (/^\s*([#!]|$)/.test(line)) return;
    const source = `config file ${path}, line ${index + 1}`;
    const at = line.indexOf('=');
    if (at < 0) throw new ConfigError(`${source}: expected name=value`);
    entries.push({ name: line.slice(0, at).trim(), raw: line.slice(at + 1).trim(), source });
  });
  return entries;
};
