/**
 * How `consume` prints a record, in kcat's words: %s value, %S its length (-1 without), %k key, %K its length, %t topic,
 * %p partition, %o offset, %T timestamp, %h headers, %% a percent sign; \n \t \r \\ \xHH.
 */
import type { AdminRecord } from '../admin/admin-protocol.ts';
import { ConfigError } from '../setting.ts';

type Part = (record: AdminRecord) => Buffer;

const bytesOf = (text: string | null): Buffer => Buffer.from(text ?? '', 'base64');
const lengthOf = (text: string | null): Buffer => Buffer.from(text === null ? '-1' : String(bytesOf(text).length));

const headersText = (headers: AdminRecord['headers']): Buffer =>
  Buffer.from(headers.map(([name, value]) => `${name}=${value === null ? 'NULL' : bytesOf(value)}`).join(','));

const fields = (name: string): Readonly<Record<string, Part>> => ({
  s: ({ value }) => bytesOf(value),
  S: ({ value }) => lengthOf(value),
  k: ({ key }) => bytesOf(key),
  K: ({ key }) => lengthOf(key),
  t: () => Buffer.from(name),
  p: ({ partition }) => Buffer.from(String(partition)),
  o: ({ offset }) => Buffer.from(String(offset)),
  T: ({ timestampMs }) => Buffer.from(String(timestampMs ?? -1)),
  h: ({ headers }) => headersText(headers),
  '%': () => Buffer.from('%'),
});

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', '\\': '\\' };

export const unescapeText = (text: string): string =>
  text.replaceAll(/\\(?:x([0-9a-fA-F]{2})|(.))/g, (_, hex: string | undefined, letter: string | undefined) =>
    hex === undefined ? (escapes[letter!] ?? letter!) : String.fromCharCode(Number.parseInt(hex, 16)),
  );

/** @throws ConfigError on an unknown field */
export const compileFormat = (format: string, name: string): ((record: AdminRecord) => Buffer) => {
  const known = fields(name);
  const parts: Part[] = [];
  for (const piece of format.match(/%.?|[^%]+/gs) ?? []) {
    if (!piece.startsWith('%')) {
      const text = Buffer.from(unescapeText(piece));
      parts.push(() => text);
      continue;
    }
    const part = known[piece.slice(1)];
    if (part === undefined) throw new ConfigError(`--format: unknown field '${piece}'`);
    parts.push(part);
  }
  return (record) => Buffer.concat(parts.map((part) => part(record)));
};
