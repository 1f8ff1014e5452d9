/** Every message with its generated functions, loosely typed: for tests that go over all of them. */
import type { Reader } from '../../../wire/cursor.ts';
import type { Writer } from '../../../wire/writer.ts';
import { codecs } from '../generated/codecs.ts';
import {
  decodeRequestHeader,
  decodeResponseHeader,
  encodeRequestHeader,
  encodeResponseHeader,
} from '../generated/headers.ts';
import { loadSchema } from './load-schema.ts';
import type { Message } from './parse-schema.ts';

export interface MessageCodec {
  api: string;
  message: Message;
  decode(reader: Reader, version: number): unknown;
  encode(writer: Writer, version: number, body: unknown): void;
}

type Loose = Record<'decodeRequest' | 'decodeResponse', MessageCodec['decode']> &
  Record<'encodeRequest' | 'encodeResponse', MessageCodec['encode']>;

export const messageCodecs = (): MessageCodec[] => {
  const { apis, headers } = loadSchema();
  const bodies = apis.flatMap((api) => {
    const codec = codecs[api.name as keyof typeof codecs] as unknown as Loose;
    return [
      { api: api.name, message: api.request, decode: codec.decodeRequest, encode: codec.encodeRequest },
      { api: api.name, message: api.response, decode: codec.decodeResponse, encode: codec.encodeResponse },
    ];
  });
  const loose = {
    RequestHeader: [decodeRequestHeader, encodeRequestHeader],
    ResponseHeader: [decodeResponseHeader, encodeResponseHeader],
  };
  for (const message of headers) {
    const [decode, encode] = loose[message.root.name as keyof typeof loose] as unknown as [
      MessageCodec['decode'],
      MessageCodec['encode'],
    ];
    bodies.push({ api: message.root.name, message, decode, encode });
  }
  return bodies;
};
