/** Worker thread that decompresses batches, so that the event loop never does. */
import { parentPort } from 'node:worker_threads';
import { decompress } from './decompress.ts';

export interface DecompressRequest {
  readonly id: number;
  readonly codec: number;
  readonly data: Uint8Array;
  readonly bytesMax: number;
}

export type DecompressReply =
  | { readonly id: number; readonly data: Uint8Array }
  | { readonly id: number; readonly error: string };

parentPort!.on('message', ({ id, codec, data, bytesMax }: DecompressRequest) => {
  try {
    const result = Uint8Array.from(decompress(codec, Buffer.from(data.buffer, data.byteOffset, data.length), bytesMax));
    parentPort!.postMessage({ id, data: result } satisfies DecompressReply, [result.buffer]);
  } catch (error) {
    parentPort!.postMessage({ id, error: String(error) } satisfies DecompressReply);
  }
});
