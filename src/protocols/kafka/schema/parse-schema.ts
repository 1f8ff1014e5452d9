/**
 * Reads the message descriptions (*.schema) into a model. Two spaces of indentation are one level.
 *
 *     api <Name> key <n> versions <min>-<max> flexible <n>+ | none
 *     request | response
 *       <field> <type> [<versions>] [nullable [<versions>]] [tag <n>] [classic] [= <default>]
 *
 * - versions: `3+`, `0-12` or `4`; left out, the field exists wherever its parent does.
 * - type: bool int8 int16 int32 int64 id64 uuid string bytes records, the name of a struct, or `[]` before one of them. id64
 *   is an int64 that is read as a bigint. The fields of a struct are indented below its first use; later uses only name it.
 * - nullable: with versions if null is allowed in some of them only.
 * - tag: a tagged field of the flexible versions; left out on the wire if it has its default. A tagged struct is null then.
 * - classic: a string with an int16 length even in flexible versions.
 * - default (a number, true, false, null, "" or []): what a decoder fills in where the field does not exist. With an explicit one an encoder's caller may leave
 *   the field out.
 *
 * `header <Name> versions … flexible …` describes a header, its fields follow one level deep.
 * Names, types and versions are facts of the protocol; they were taken from the message definitions of Apache Kafka 4.3.
 */

export const PRIMITIVES = [
  'bool',
  'int8',
  'int16',
  'int32',
  'int64',
  'id64',
  'uuid',
  'string',
  'bytes',
  'records',
] as const;
export type Primitive = (typeof PRIMITIVES)[number];

/** Both ends included. */
export interface VersionRange {
  min: number;
  max: number;
}

export type Literal = number | bigint | string | boolean | null;

export interface Field {
  name: string;
  array: boolean;
  /** Of the element, if it is an array. */
  element: { kind: 'primitive'; primitive: Primitive } | { kind: 'struct'; struct: Struct };
  /** Where it exists, given that its parent does. */
  range: VersionRange;
  nullable: VersionRange | null;
  tag: number | null;
  classic: boolean;
  /** Only if the description gives one. */
  explicitDefault: Literal | undefined;
  /** Callers of an encoder may leave it out. */
  optional: boolean;
}

export interface Struct {
  name: string;
  fields: Field[];
  /** Everywhere it is used; the hull, if it is used in two places. */
  range: VersionRange;
}

/** A body or a header. */
export interface Message {
  kind: 'request' | 'response' | 'header';
  versions: VersionRange;
  /** First flexible version. */
  flexible: number | null;
  root: Struct;
  /** Each one after those it contains, the root last. */
  structs: Struct[];
}

export interface Api {
  name: string;
  key: number;
  versions: VersionRange;
  flexible: number | null;
  request: Message;
  response: Message;
}

export interface Schema {
  apis: Api[];
  headers: Message[];
}

interface Line {
  number: number;
  level: number;
  words: string[];
}

const fail = (line: Line, why: string): never => {
  throw new Error(`schema line ${line.number} (${line.words.join(' ')}): ${why}`);
};

const isVersions = (word: string | undefined): word is string => word !== undefined && /^\d+(\+|-\d+)?$/.test(word);

const parseVersions = (word: string, within: VersionRange): VersionRange => {
  const min = Number.parseInt(word, 10);
  if (word.endsWith('+')) return { min, max: within.max };
  const dash = word.indexOf('-');
  return { min, max: dash < 0 ? min : Number(word.slice(dash + 1)) };
};

const parseLiteral = (text: string, primitive: Primitive | null): Literal => {
  if (text === 'null') return null;
  if (text === 'true' || text === 'false') return text === 'true';
  if (text.startsWith('"')) return JSON.parse(text) as string;
  return primitive === 'id64' ? BigInt(text) : Number(text);
};

/** What follows the field's type. */
const parseAttributes = (line: Line, parent: VersionRange, primitive: Primitive | null) => {
  const words = line.words.slice(2);
  let range = parent;
  let nullable: VersionRange | null = null;
  let tag: number | null = null;
  let classic = false;
  let explicitDefault: Literal | undefined;
  let optional = false;
  if (isVersions(words[0])) range = parseVersions(words.shift()!, parent);
  while (words.length > 0) {
    const word = words.shift();
    if (word === 'nullable') nullable = isVersions(words[0]) ? parseVersions(words.shift()!, range) : range;
    else if (word === 'tag') tag = Number(words.shift());
    else if (word === 'classic') classic = true;
    else if (word === '=') {
      optional = true;
      const literal = words.shift() ?? fail(line, 'no default');
      if (literal !== '[]') explicitDefault = parseLiteral(literal, primitive);
    } else fail(line, `unexpected ${word}`);
  }
  return { range, nullable, tag, classic, explicitDefault, optional: optional || tag !== null };
};

const sameRange = (a: VersionRange, b: VersionRange): boolean => a.min === b.min && a.max === b.max;

/** A struct that is used twice exists wherever one of its uses does, and so does what it contains without versions of its own. */
const widen = (struct: Struct, range: VersionRange): void => {
  const before = struct.range;
  struct.range = range;
  for (const field of struct.fields) {
    if (field.nullable !== null && sameRange(field.nullable, before)) field.nullable = range;
    if (!sameRange(field.range, before)) continue;
    field.range = range;
    if (field.element.kind === 'struct') widen(field.element.struct, range);
  }
};

class MessageParser {
  readonly #lines: Line[];
  readonly #structs = new Map<string, Struct>();
  /** Finished structs, contained ones first. */
  readonly #order: Struct[] = [];

  constructor(lines: Line[]) {
    this.#lines = lines;
  }

  parse(name: string, range: VersionRange): { root: Struct; structs: Struct[] } {
    const root = this.#struct(name, 1, range);
    return { root, structs: this.#order };
  }

  /** Consumes the lines of this level. */
  #struct(name: string, level: number, range: VersionRange): Struct {
    const struct: Struct = { name, fields: [], range };
    this.#structs.set(name, struct);
    while (this.#lines[0] !== undefined && this.#lines[0].level === level)
      struct.fields.push(this.#field(level, range));
    if (this.#lines[0] !== undefined && this.#lines[0].level > level) fail(this.#lines[0], 'indented too far');
    this.#order.push(struct);
    return struct;
  }

  #field(level: number, parent: VersionRange): Field {
    const line = this.#lines.shift()!;
    const [name, type] = line.words;
    if (name === undefined || type === undefined) return fail(line, 'a field needs a name and a type');
    const array = type.startsWith('[]');
    const base = array ? type.slice(2) : type;
    const primitive = PRIMITIVES.find((known) => known === base) ?? null;
    const attributes = parseAttributes(line, parent, primitive);
    if (primitive !== null) return { name, array, element: { kind: 'primitive', primitive }, ...attributes };
    return {
      name,
      array,
      element: { kind: 'struct', struct: this.#use(base, line, level, attributes.range) },
      ...attributes,
    };
  }

  /** A struct at its first or a later use. */
  #use(name: string, line: Line, level: number, range: VersionRange): Struct {
    const known = this.#structs.get(name);
    const hasBody = this.#lines[0]?.level === level + 1;
    if (known === undefined) return hasBody ? this.#struct(name, level + 1, range) : fail(line, 'unknown type');
    if (hasBody) fail(line, 'described twice');
    const hull = { min: Math.min(known.range.min, range.min), max: Math.max(known.range.max, range.max) };
    widen(known, hull);
    return known;
  }
}

const readLines = (text: string): Line[] =>
  text.split('\n').flatMap((raw, index) => {
    const trimmed = raw.trim();
    if (trimmed === '' || trimmed.startsWith('#')) return [];
    const level = (raw.length - raw.trimStart().length) / 2;
    return [{ number: index + 1, level, words: trimmed.split(/\s+/) }];
  });

const parseHead = (line: Line) => {
  const after = (word: string): string => line.words[line.words.indexOf(word) + 1] ?? fail(line, `${word} missing`);
  const versions = parseVersions(after('versions'), { min: 0, max: 0 });
  const flexible = after('flexible') === 'none' ? null : Number.parseInt(after('flexible'), 10);
  return { name: line.words[1] ?? fail(line, 'name missing'), versions, flexible, after };
};

const parseBody = (lines: Line[], kind: Message['kind'], name: string, head: ReturnType<typeof parseHead>): Message => {
  const { versions, flexible } = head;
  return { kind, versions, flexible, ...new MessageParser(lines).parse(name, versions) };
};

export const parseSchema = (text: string): Schema => {
  const schema: Schema = { apis: [], headers: [] };
  const lines = readLines(text);
  while (lines.length > 0) {
    const line = lines.shift()!;
    const head = parseHead(line);
    if (line.words[0] === 'header') {
      schema.headers.push(parseBody(lines, 'header', head.name, head));
      continue;
    }
    if (line.words[0] !== 'api') fail(line, 'api or header expected');
    if (lines.shift()?.words[0] !== 'request') fail(line, 'request expected');
    const request = parseBody(lines, 'request', `${head.name}Request`, head);
    if (lines.shift()?.words[0] !== 'response') fail(line, 'response expected');
    const response = parseBody(lines, 'response', `${head.name}Response`, head);
    const { name, versions, flexible } = head;
    schema.apis.push({ name, key: Number(head.after('key')), versions, flexible, request, response });
  }
  return schema;
};

export const contains = (range: VersionRange, version: number): boolean => version >= range.min && version <= range.max;

/** What a decoder fills in for a field that is not there. Arrays: null or empty; structs are null (only tagged ones may be absent). */
export const absentValue = (field: Field): Literal | 'empty-array' | 'empty-bytes' | 'zero-uuid' => {
  if (field.explicitDefault !== undefined) return field.explicitDefault;
  if (field.array) return 'empty-array';
  if (field.element.kind === 'struct') return null;
  switch (field.element.primitive) {
    case 'bool':
      return false;
    case 'id64':
      return 0n;
    case 'string':
      return '';
    case 'uuid':
      return 'zero-uuid';
    case 'bytes':
      return 'empty-bytes';
    case 'records':
      return null;
    default:
      return 0;
  }
};
