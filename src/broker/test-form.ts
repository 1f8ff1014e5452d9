/** For tests: a head's form whose stored bytes are the body. */
import type { Message, MessageForm } from './message.ts';

export const plainForm: MessageForm = {
  id: 200,
  decode: (buffer, start, end, timestampMs): Message => ({
    key: null,
    body: Buffer.from(buffer.subarray(start, end)),
    headers: [],
    timestampMs,
  }),
};
