/**
 * Byte for byte what Apache Kafka writes. golden.json holds, for each message and version, two bodies as the Java classes of
 * kafka-clients 4.3.0 serialise them (base64): one with every field set, one with null wherever that is allowed. The values
 * follow from the path of the field by the rule below, the same on both sides, so a field in a wrong place shows.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Reader } from '../../../wire/cursor.ts';
import { Writer } from '../../../wire/writer.ts';
import { messageCodecs } from './message-codecs.ts';
import type { Primitive } from './parse-schema.ts';
import { type SampleSource, type SampleValue, sampleMessage } from './sample-message.ts';

type Golden = Record<string, Record<string, Record<string, [full: string, sparse: string]>>>;
const golden = JSON.parse(readFileSync(new URL('../generated/golden.json', import.meta.url), 'utf8')) as Golden;

/** The lowest version that the Java classes still write, where it is not the lowest of ours. */
const JAVA_VERSION_MIN: Record<string, number> = { Produce: 3, RequestHeader: 1 };

/** FNV-1a over the path. */
const hash = (path: string): number => {
  let value = 0x811c9dc5;
  for (let index = 0; index < path.length; index++) value = Math.imul(value ^ path.charCodeAt(index), 0x01000193);
  return value >>> 0;
};

const primitive = (kind: Primitive, path: string): SampleValue => {
  const value = hash(path);
  switch (kind) {
    case 'bool':
      return value % 2 === 1;
    case 'int8':
      return value & 0x7f;
    case 'int16':
      return value & 0x7fff;
    case 'int32':
      return value & 0x7fffffff;
    case 'int64':
      return value * 4096 + 7;
    case 'id64':
      return BigInt(value) * 4096n + 7n;
    case 'string':
      return `s${(value % 1296).toString(36)}`;
    case 'uuid': {
      const bytes = Buffer.alloc(16);
      bytes.writeBigInt64BE(BigInt(value) * 4096n + 7n, 0);
      bytes.writeBigInt64BE(BigInt(value) + 1n, 8);
      return bytes.toString('base64url');
    }
    case 'bytes':
    case 'records':
      return Buffer.from([value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff]);
  }
};

const full: SampleSource = { primitive, isNull: () => false, arrayLength: () => 2 };
const sparse: SampleSource = { primitive, isNull: (_path, kind) => kind === 'nullable', arrayLength: () => 1 };

describe('generated codecs write and read what Apache Kafka writes', () => {
  for (const { api, message, decode, encode } of messageCodecs()) {
    it(message.root.name, () => {
      const vectors = golden[api]?.[message.kind] ?? {};
      for (let version = JAVA_VERSION_MIN[api] ?? message.versions.min; version <= message.versions.max; version++) {
        for (const [index, source] of [full, sparse].entries()) {
          const what = `version ${version}, ${index === 0 ? 'full' : 'sparse'}`;
          const expected = Buffer.from(vectors[version]?.[index] ?? assert.fail(`golden.json lacks ${what}`), 'base64');
          const body = sampleMessage(message, version, source);
          const writer = new Writer();
          encode(writer, version, body);
          assert.equal(Buffer.concat(writer.finish()).toString('hex'), expected.toString('hex'), what);
          assert.deepStrictEqual(decode(new Reader(expected), version), body, what);
        }
      }
    });
  }
});
