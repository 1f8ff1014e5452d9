/** Messages of any protocol as the command line shows them. */
import type { HeaderValue, Message } from '../../broker/message.ts';
import type { AdminRecord } from './admin-protocol.ts';

const headerBytes = (value: HeaderValue): Buffer | null => {
  if (value === null || Buffer.isBuffer(value)) return value;
  if (typeof value === 'string') return Buffer.from(value);
  if (value instanceof Date) return Buffer.from(value.toISOString());
  const toText = (_name: string, inner: unknown): unknown => (typeof inner === 'bigint' ? String(inner) : inner);
  return Buffer.from(JSON.stringify(value, toText));
};

export const viewMessage = (message: Message, partition: number, offset: number): AdminRecord => ({
  partition,
  offset,
  timestampMs: message.timestampMs ?? null,
  key: message.key?.toString('base64') ?? null,
  value: message.body?.toString('base64') ?? null,
  headers: message.headers.map(({ name, value }) => [name, headerBytes(value)?.toString('base64') ?? null] as const),
});
