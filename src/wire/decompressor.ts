/** Decompresses batches in a worker thread, started with the first batch. */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { DecompressReply, DecompressRequest } from './decompress-worker.ts';

interface Waiting {
  readonly resolve: (data: Buffer) => void;
  readonly reject: (error: Error) => void;
}

export class Decompressor {
  readonly #bytesMax: number;
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  /** @param bytesMax a batch that decompresses to more is refused */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The data is copied before this returns. Rejects when it is damaged or too large. */
  decompress(codec: number, data: Buffer): Promise<Buffer> {
    const worker = (this.#worker ??= this.#start());
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const request: DecompressRequest = { id, codec, data: Uint8Array.from(data), bytesMax: this.#bytesMax };
      worker.postMessage(request, [request.data.buffer as ArrayBuffer]);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    // The same file extension as this module: sources in development, JavaScript when built.
    const worker = new Worker(new URL(`./decompress-worker${extname(import.meta.url)}`, import.meta.url));
    worker.unref();
    worker.on('message', (reply: DecompressReply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('data' in reply) waiting?.resolve(Buffer.from(reply.data.buffer, reply.data.byteOffset, reply.data.length));
      else waiting?.reject(new Error(reply.error));
    });
    worker.on('error', (error) => this.#failAll(error));
    worker.on('exit', () => this.#failAll(new Error('the decompression worker ended')));
    return worker;
  }

  #failAll(error: Error): void {
    this.#worker = undefined;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
