/** Bodies made from the descriptions, for tests: complete ones, as a decoder returns them. */
import { ZERO_UUID } from '../../../wire/cursor.ts';
import { absentValue, contains, type Field, type Message, type Primitive, type Struct } from './parse-schema.ts';

export type SampleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | readonly SampleValue[]
  | { [name: string]: SampleValue };

/** Decides what stands at a path such as `.topicData.0.name`. */
export interface SampleSource {
  primitive(primitive: Primitive, path: string): SampleValue;
  /** Asked only where null is allowed, and for tagged structs. */
  isNull(path: string, kind: 'nullable' | 'tagged-struct'): boolean;
  arrayLength(path: string): number;
}

const absentSample = (field: Field): SampleValue => {
  const value = absentValue(field);
  if (value === 'empty-array') return [];
  if (value === 'empty-bytes') return Buffer.alloc(0);
  return value === 'zero-uuid' ? ZERO_UUID : value;
};

const sampleField = (field: Field, version: number, source: SampleSource, path: string): SampleValue => {
  if (!contains(field.range, version)) return absentSample(field);
  if (field.nullable !== null && contains(field.nullable, version) && source.isNull(path, 'nullable')) return null;
  const { element } = field;
  const one = (at: string): SampleValue =>
    element.kind === 'struct'
      ? sampleStruct(element.struct, version, source, at)
      : source.primitive(element.primitive, at);
  if (field.array) return Array.from({ length: source.arrayLength(path) }, (_, index) => one(`${path}.${index}`));
  if (element.kind === 'struct' && field.tag !== null && source.isNull(path, 'tagged-struct')) return null;
  return one(path);
};

const sampleStruct = (
  struct: Struct,
  version: number,
  source: SampleSource,
  path: string,
): Record<string, SampleValue> =>
  Object.fromEntries(
    struct.fields.map((field) => [field.name, sampleField(field, version, source, `${path}.${field.name}`)]),
  );

export const sampleMessage = (message: Message, version: number, source: SampleSource): Record<string, SampleValue> =>
  sampleStruct(message.root, version, source, '');
