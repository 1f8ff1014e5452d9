/** Methods from and to frames, with one reader and one writer for all connections: both are used within one call only. */
import { AmqpError } from './amqp-errors.ts';
import { frameHeaderBytes } from './frames.ts';
import { decodeMethod, encodeMethod, type Method } from './generated/methods.ts';
import { MethodReader } from './method-reader.ts';
import { MethodWriter } from './method-writer.ts';

const reader = new MethodReader();
const writer = new MethodWriter();

/** Class and method in the frame that starts at `at`, as one number; 0 if it is too short for them. */
export const methodCodeAt = (buffer: Buffer, at: number, payloadBytes: number): number =>
  payloadBytes < 4 ? 0 : buffer.readUInt32BE(at + frameHeaderBytes);

/** The method in the frame that starts at `at`, whose code is known. @throws AmqpError if it is unknown or malformed */
export const decodeMethodFrame = (code: number, buffer: Buffer, at: number, payloadBytes: number): Method => {
  const start = at + frameHeaderBytes;
  reader.reset(buffer, start + 4, start + payloadBytes);
  const method = decodeMethod(code, reader);
  if (method === undefined) {
    throw new AmqpError(503, `unknown method: class ${code >>> 16}, method ${code & 0xffff}`);
  }
  reader.finish();
  return method;
};

/** A frame with this method; a view, valid until the next one. */
export const encodeMethodFrame = (channel: number, method: Method): Buffer => {
  writer.reset();
  const frame = writer.beginMethodFrame(channel);
  encodeMethod(writer, method);
  writer.endFrame(frame);
  return writer.bytes();
};
