/**
 * What an encoder writes, its decoder reads back, for every message, version and random body; and a message cut short or
 * followed by garbage is refused with MalformedError and nothing else. Set SEED to replay.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MalformedError, Reader } from '../../../wire/cursor.ts';
import { Writer } from '../../../wire/writer.ts';
import { type MessageCodec, messageCodecs } from './message-codecs.ts';
import type { Primitive } from './parse-schema.ts';
import { type SampleSource, type SampleValue, sampleMessage } from './sample-message.ts';

const BODIES_PER_VERSION = 8;
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 32);

/** Mulberry32: in [0, 1). */
const randomFrom = (start: number): (() => number) => {
  let state = start >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

class RandomSource implements SampleSource {
  readonly #random: () => number;
  readonly #recordsMax: number;

  constructor(random: () => number, recordsMax: number) {
    this.#random = random;
    this.#recordsMax = recordsMax;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.#below(256)));
  }

  #signed(bits: number): number {
    const edges = [0, -1, 1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))];
    return this.#below(3) === 0 ? edges[this.#below(edges.length)]! : this.#below(2 ** bits) - 2 ** (bits - 1);
  }

  #int64(): number {
    const edges = [0, -1, 2 ** 31, 2 ** 32, 2 ** 32 - 1, -(2 ** 32), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
    if (this.#below(3) === 0) return edges[this.#below(edges.length)]!;
    return Math.floor((this.#random() - 0.5) * 2 ** (1 + this.#below(53)));
  }

  #string(): string {
    const alphabet = this.#below(4) === 0 ? 'aß→𝄞\u0000' : 'abc-_.09';
    const letters = [...alphabet];
    const length = [0, 1, 5, 23, 24, 25, 47, 48, 49, 126, 127, 128, 300][this.#below(13)]!;
    return Array.from({ length }, () => letters[this.#below(letters.length)]!).join('');
  }

  primitive(kind: Primitive, _path: string): SampleValue {
    switch (kind) {
      case 'bool':
        return this.#below(2) === 1;
      case 'int8':
        return this.#signed(8);
      case 'int16':
        return this.#signed(16);
      case 'int32':
        return this.#signed(32);
      case 'int64':
        return this.#int64();
      case 'id64':
        return this.#bytes(8).readBigInt64BE();
      case 'string':
        return this.#string();
      case 'uuid':
        return this.#bytes(16).toString('base64url');
      case 'bytes':
        return this.#bytes(this.#below(200));
      case 'records':
        return this.#bytes(this.#below(3) === 0 ? this.#below(this.#recordsMax) : this.#below(100));
    }
  }

  isNull(): boolean {
    return this.#below(4) === 0;
  }

  arrayLength(): number {
    return this.#below(4);
  }
}

const encodeOne = (codec: MessageCodec, version: number, body: unknown): Buffer => {
  const writer = new Writer();
  codec.encode(writer, version, body);
  const size = writer.position;
  const bytes = Buffer.concat(writer.finish());
  assert.equal(bytes.length, size);
  return bytes;
};

const eachVersion = (codec: MessageCodec, visit: (version: number) => void): void => {
  for (let version = codec.message.versions.min; version <= codec.message.versions.max; version++) visit(version);
};

describe(`generated codecs, SEED=${seed}`, () => {
  for (const [index, codec] of messageCodecs().entries()) {
    const name = codec.message.root.name;
    const random = randomFrom(seed + index);

    it(`${name} round trip`, () => {
      const source = new RandomSource(random, 20_000);
      eachVersion(codec, (version) => {
        for (let count = 0; count < BODIES_PER_VERSION; count++) {
          const body = sampleMessage(codec.message, version, source);
          const bytes = encodeOne(codec, version, body);
          assert.deepStrictEqual(codec.decode(new Reader(bytes), version), body, `version ${version}`);
        }
      });
    });

    it(`${name} cut at every byte`, () => {
      const source = new RandomSource(random, 100);
      eachVersion(codec, (version) => {
        const bytes = encodeOne(codec, version, sampleMessage(codec.message, version, source)).subarray(0, 3000);
        for (let length = 0; length < bytes.length; length++) {
          // The bytes after the window are there: the end of the window must count, not that of the buffer.
          assert.throws(
            () => codec.decode(new Reader(bytes, 0, length), version),
            MalformedError,
            `version ${version}`,
          );
        }
      });
    });

    it(`${name} with other bytes`, () => {
      const source = new RandomSource(random, 100);
      eachVersion(codec, (version) => {
        const bytes = encodeOne(codec, version, sampleMessage(codec.message, version, source));
        const decodeLonger = () => codec.decode(new Reader(Buffer.concat([bytes, Buffer.alloc(1)])), version);
        if (codec.message.kind === 'response') assert.throws(decodeLonger, MalformedError, `version ${version}`);
        else decodeLonger();
        for (let count = 0; count < 30 && bytes.length > 0; count++) {
          const damaged = Buffer.from(bytes);
          for (let left = 1 + Math.floor(random() * 4); left > 0; left--) {
            damaged[Math.floor(random() * damaged.length)] = random() < 0.5 ? 0xff : Math.floor(random() * 256);
          }
          try {
            codec.decode(new Reader(damaged), version);
          } catch (error) {
            assert.ok(error instanceof MalformedError, `version ${version}: ${error}`);
          }
        }
      });
    });
  }
});
