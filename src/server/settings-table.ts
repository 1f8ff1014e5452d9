/** All settings as text: for the terminal and for docs/configuration.md. */
import { settings } from './config-schema.ts';
import { environmentName, formatValue, type Setting, typeName } from './setting.ts';

const flagOf = ({ flag }: Setting): string => (flag === undefined ? '' : `--${flag.name}`);

/** Name, default and documentation of each, wrapped for a terminal. */
export const settingsText = (widthColumns: number): string =>
  settings
    .map((setting) => {
      const head = [`${setting.name}=${formatValue(setting.default)}`, typeText(setting), flagOf(setting)];
      return [
        head.filter((part) => part !== '').join('   '),
        ...wrap(setting.documentation, widthColumns - 6, '      '),
      ].join('\n');
    })
    .join('\n');

export const settingsMarkdown = (): string => {
  const rows = settings.map((setting) => {
    const { name, default: value, documentation } = setting;
    const flag = flagOf(setting) === '' ? '' : `\`${flagOf(setting)}\``;
    const shown = formatValue(value) === '' ? 'empty' : `\`${formatValue(value)}\``;
    const text = documentation.replaceAll('|', '\\|');
    return `| \`${name}\` | ${flag} | ${typeText(setting).replaceAll('|', '\\|')} | ${shown} | ${text} |`;
  });
  return ['| setting | flag | type | default | |', '|---|---|---|---|---|', ...rows].join('\n');
};

export const settingsJson = (): unknown =>
  settings.map((setting) => ({
    name: setting.name,
    flag: setting.flag === undefined ? null : `--${setting.flag.name}`,
    environment: environmentName(setting.name),
    type: typeText(setting),
    default: setting.default,
    documentation: setting.documentation,
  }));

const typeText = ({ type }: Setting): string => {
  if (type.kind !== 'integer' && type.kind !== 'bytes') return typeName(type);
  const { min, max } = type;
  const hasMax = max !== undefined && max < 2 ** 31 - 1;
  if (hasMax) return `${type.kind} ${min ?? ''}..${max}`;
  return min === undefined || min <= 0 ? type.kind : `${type.kind} >= ${min}`;
};

const wrap = (text: string, columns: number, indent: string): string[] => {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(indent + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, indent + line];
};
