/** All settings as text, for the terminal and for docs/configuration.md; topic configs for docs/kafka.md. */
import { type TopicConfigList, topicConfigTable } from '../protocols/kafka/topic-config.ts';
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
    return [`\`${name}\``, flag, typeText(setting), shown, documentation];
  });
  return markdownTable([['setting', 'flag', 'type', 'default', ''], ...rows]);
};

/** One of the three lists of topic configs. */
export const topicConfigsMarkdown = (wanted: TopicConfigList): string => {
  const rows = topicConfigTable
    .filter(({ list }) => list === wanted)
    .map(({ name, type, default: value, brokerSetting, documentation }) => {
      const shown = value === '' ? 'empty' : `\`${value}\``;
      const source = brokerSetting === undefined ? shown : `\`kafka.${brokerSetting}\``;
      return [`\`${name}\``, type, source, documentation];
    });
  return markdownTable([['config', 'type', 'default', ''], ...rows]);
};

/** With aligned columns, as the formatter of this repository wants it: a formatted document stays what was generated. */
const markdownTable = ([head = [], ...rows]: readonly (readonly string[])[]): string => {
  const escaped = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...escaped.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  const [first = [], ...others] = escaped;
  return [line(first), line(widths.map((width) => '-'.repeat(width))), ...others.map(line)].join('\n');
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
