/** `rosettamq consume`: messages to standard output. Of a queue, those that were written are taken off it. */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import type { AdminRecord, ConsumeReply, ConsumeRequest } from '../admin/admin-protocol.ts';
import type { AdminClient } from './admin-client.ts';
import { compileFormat } from './record-format.ts';

export interface ConsumeOptions {
  readonly request: ConsumeRequest;
  readonly format: string;
  readonly json: boolean;
  /** Ends the consumption in order. */
  readonly signal: AbortSignal;
}

const jsonLine = (record: AdminRecord): Buffer => {
  const text = (value: string | null): string | null =>
    value === null ? null : Buffer.from(value, 'base64').toString();
  const { partition, offset, timestampMs, key, value, headers } = record;
  const shown = { partition, offset, timestampMs, key: text(key), value: text(value) };
  return Buffer.from(`${JSON.stringify({ ...shown, headers: headers.map(([name, one]) => [name, text(one)]) })}\n`);
};

/** Tells the broker what was written, many at a time. */
class Settler {
  readonly #client: AdminClient;
  #count = 0;

  constructor(client: AdminClient) {
    this.#client = client;
  }

  settle(): void {
    if (this.#count++ > 0) return;
    setImmediate(() => {
      void this.#client.send({ ack: this.#count });
      this.#count = 0;
    });
  }
}

/** Resolves when there is nothing more to come. */
export const consume = async (client: AdminClient, output: Writable, options: ConsumeOptions): Promise<void> => {
  const { request, json, signal } = options;
  const format = json ? jsonLine : compileFormat(options.format, request.name);
  const stop = (): void => void client.send({ stop: true });
  // Nobody reads any more, as after `| head`.
  output.on('error', stop);
  await client.send(request);
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  const settler = new Settler(client);
  for (;;) {
    const reply = (await client.next()) as Exclude<ConsumeReply, { error: unknown }>;
    if (!('record' in reply)) return;
    if (signal.aborted || output.destroyed) continue;
    const hasRoom = output.write(format(reply.record), (error) => {
      if (error == null) settler.settle();
    });
    if (!hasRoom) await once(output, 'drain').catch(() => {});
  }
};
