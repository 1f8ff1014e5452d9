/** `rosettamq produce`: one message a line of standard input, as bytes. */
import type { Readable } from 'node:stream';
import type { ProduceRecord } from '../admin/admin-protocol.ts';
import { ConfigError } from '../setting.ts';
import type { AdminClient } from './admin-client.ts';
import { unescapeText } from './record-format.ts';

export interface ProduceOptions {
  readonly name: string;
  readonly partition?: number;
  /** Separates key and value of a line. */
  readonly keyDelimiter?: string;
  /** NAME=VALUE, for every message. */
  readonly headers: readonly string[];
}

const newline = 10;

/** Lines without their end; a last one without an end counts too. */
async function* readLines(input: Readable): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  for await (const chunk of input as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      yield Buffer.concat([...parts, chunk.subarray(start, end)]);
      parts = [];
      start = end + 1;
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

const parseHeader = (text: string): readonly [string, string] => {
  const at = text.indexOf('=');
  if (at <= 0) throw new ConfigError(`--header: expected NAME=VALUE, not '${text}'`);
  return [text.slice(0, at), Buffer.from(text.slice(at + 1)).toString('base64')];
};

/** Returns how many messages are durable. */
export const produce = async (client: AdminClient, input: Readable, options: ProduceOptions): Promise<number> => {
  const { name, partition, keyDelimiter } = options;
  const headers = options.headers.map(parseHeader);
  const delimiter = keyDelimiter === undefined ? undefined : Buffer.from(unescapeText(keyDelimiter));
  const toRecord = (line: Buffer): ProduceRecord => {
    const at = delimiter === undefined ? -1 : line.indexOf(delimiter);
    if (at < 0) return { value: line.toString('base64'), headers };
    const value = line.subarray(at + delimiter!.length);
    return { key: line.toString('base64', 0, at), value: value.toString('base64'), headers };
  };
  await client.send({ op: 'produce', name, ...(partition === undefined ? {} : { partition }) });
  // A refusal may come while lines are still being waited for.
  let isAnswered = false;
  const result = client.result<{ count: number }>().finally(() => {
    isAnswered = true;
    input.destroy();
  });
  result.catch(() => {});
  try {
    for await (const line of readLines(input)) {
      if (isAnswered) break;
      await client.send(toRecord(line));
    }
  } catch (error) {
    if (!isAnswered) throw error;
  }
  if (!isAnswered) await client.send({ end: true });
  return (await result).count;
};
