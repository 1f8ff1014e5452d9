/**
 * One setting: its name, type, default and text; and how text from a command line, the environment or a file becomes its
 * value. Everything that lists or reads settings works from these.
 */
export type SettingValue = string | number | boolean | readonly string[];

export type SettingType =
  | { readonly kind: 'string' }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'integer'; readonly min?: number; readonly max?: number }
  /** Bytes; text may end in KiB, MiB or GiB. */
  | { readonly kind: 'bytes'; readonly min?: number; readonly max?: number }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  /** Comma-separated in text. */
  | { readonly kind: 'list' };

export interface Setting {
  readonly name: string;
  readonly type: SettingType;
  readonly default: SettingValue;
  readonly documentation: string;
  /** A flag of `serve` of its own, `--set NAME=VALUE` apart. */
  readonly flag?: { readonly name: string; readonly placeholder: string };
}

/** Something the user configured cannot be used. The message is for the user. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

const byteUnits: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

export const typeName = (type: SettingType): string => {
  switch (type.kind) {
    case 'choice':
      return type.choices.join(' | ');
    case 'list':
      return 'list';
    default:
      return type.kind;
  }
};

/** What the environment calls it: ROSETTAMQ_KAFKA_NUM_PARTITIONS for kafka.num.partitions. */
export const environmentName = (name: string): string =>
  `ROSETTAMQ_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;

export const formatValue = (value: SettingValue): string => (Array.isArray(value) ? value.join(',') : String(value));

/**
 * @param raw text, or a value of JSON
 * @param source where it stands, for the error
 * @throws ConfigError
 */
export const parseSetting = (setting: Setting, raw: unknown, source: string): SettingValue => {
  const { type } = setting;
  const refuse = (expected: string): never => {
    throw new ConfigError(`${source}: ${setting.name} must be ${expected}, not ${JSON.stringify(raw)}`);
  };
  switch (type.kind) {
    case 'string':
      return typeof raw === 'string' || typeof raw === 'number' ? String(raw) : refuse('a text');
    case 'boolean':
      if (typeof raw === 'boolean') return raw;
      return raw === 'true' ? true : raw === 'false' ? false : refuse('true or false');
    case 'choice':
      return typeof raw === 'string' && type.choices.includes(raw) ? raw : refuse(`one of ${type.choices.join(', ')}`);
    case 'list':
      return parseList(raw) ?? refuse('a list (comma-separated, or an array in JSON)');
    case 'integer':
    case 'bytes': {
      const value = type.kind === 'bytes' ? parseBytes(raw) : parseInteger(raw);
      const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = type;
      const noun = type.kind === 'bytes' ? 'a number of bytes (KiB, MiB, GiB may follow)' : 'an integer';
      return value !== undefined && value >= min && value <= max ? value : refuse(noun + boundsText(type));
    }
  }
};

const boundsText = ({ min, max }: { readonly min?: number; readonly max?: number }): string => {
  if (max !== undefined && max !== Number.MAX_SAFE_INTEGER) return ` between ${min ?? 'any'} and ${max}`;
  return min === undefined ? '' : ` not below ${min}`;
};

/** How Kafka's users write "no bound". */
const int64Max = '9223372036854775807';

const parseInteger = (raw: unknown): number | undefined => {
  if (raw === int64Max) return Number.MAX_SAFE_INTEGER;
  const value = typeof raw === 'string' && /^[+-]?\d+$/.test(raw) ? Number(raw) : raw;
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
};

const parseBytes = (raw: unknown): number | undefined => {
  const parts = typeof raw === 'string' ? /^(\d+)\s*([kmgt]?)(?:i?b)?$/i.exec(raw) : null;
  if (parts === null) return parseInteger(raw);
  return parseInteger(Number(parts[1]) * byteUnits[parts[2]!.toLowerCase()]!);
};

const parseList = (raw: unknown): readonly string[] | undefined => {
  const texts = typeof raw === 'string' ? raw.split(',') : raw;
  if (!Array.isArray(texts) || !texts.every((text) => typeof text === 'string')) return undefined;
  return texts.map((text) => text.trim()).filter((text) => text !== '');
};
