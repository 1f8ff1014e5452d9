/** The answer lines of one `consume`. */
import type { Socket } from 'node:net';
import type { AdminError, AdminRecord, ConsumeReply } from './admin-protocol.ts';
import { drained, writeJsonLine } from './json-lines.ts';

export class ConsumeOutput {
  readonly #socket: Socket;
  #ended = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The client reads more slowly than we write. */
  get isCongested(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** Resolves when there is room for the next. */
  record(record: AdminRecord): Promise<void> {
    return writeJsonLine(this.#socket, { record } satisfies ConsumeReply) ? Promise.resolve() : drained(this.#socket);
  }

  whenDrained(): Promise<void> {
    return drained(this.#socket);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    writeJsonLine(this.#socket, { end: true } satisfies ConsumeReply);
  }

  fail(error: AdminError): void {
    if (this.#ended) return;
    this.#ended = true;
    writeJsonLine(this.#socket, { error } satisfies ConsumeReply);
  }
}
